"""One page request, followed from where it enters a page source to its last beat or word."""

from amaranth.hdl import Assert, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hls_attention.beats import LANES_FP16, beat_layout
from rtl.pages.requests import Source

__all__ = ["FollowedRequest", "Place", "bears"]


class Place:
    """A beat of a request, counted by token and beat of the token.

    Attributes
    ----------
    last : Value
        It is the request's last.
    tags : dict of str to Value
        What its beat must bear.
    """

    def __init__(self, request, token, beat):
        null = request.source == Source.NULL
        last_beat = null | (beat == request.beats - 1)
        self._request, self._token, self._beat, self._last_beat = request, token, beat, last_beat
        self.last = last_beat & (null | (token == request.tokens - 1))
        self.tags = {
            "lanes": Mux(null, 0, (1 << LANES_FP16) - 1),
            "kind": request.kind,
            "format": request.format,
            "job": request.job,
            "token": (request.token + token)[: len(request.token)],
            "first_of_unit": null | (beat == 0),
            "last_of_unit": last_beat,
            "last_of_page": self.last,
            "last_of_pass": self.last & request.last,
        }

    def next(self):
        """Token and beat of the one after; 0, 0 after the last."""
        beat = Mux(self._last_beat, 0, self._beat + 1)
        return Mux(self.last, 0, self._token + self._last_beat), beat


def bears(beat, tags):
    """A beat bears the tags."""
    return Cat(Value.cast(beat[name]) == Value.cast(tag) for name, tag in tags.items()).all()


class FollowedRequest(wiring.Component):
    """Follows one request and checks the beats or words that leave for it.

    Beats of earlier requests end with one that has ``last_of_page``; whichever request is followed
    proves to have just one such beat, its last. Requests of READBACK leave words instead.

    Parameters
    ----------
    layout : data.StructLayout
        `rtl.pages.requests.page_request_layout`.
    capacity : int
        Most requests inside.

    Members
    -------
    choose, enters, entering : In
        A request enters; it is the one to follow.
    beat, beat_valid, beat_leaves : In
        The output of the page source.
    word_leaves : In(1)
        A word leaves for READBACK.
    served : In(1)
        The page source is done with the oldest request it holds.
    followed, request : Out
        One is followed.
    queued, ahead : Out
        It is not served yet, and how many are served before it.
    inside : Out
        Requests that are not served.
    pages, pages_ahead : Out
        Requests whose last beat has not left: all, and those before the followed one.
    token, beat_number : Out
        Place of its next beat or word.
    """

    def __init__(self, layout, *, capacity):
        numbers = range(2 * capacity)
        super().__init__(
            {
                "choose": In(1),
                "enters": In(1),
                "entering": In(layout),
                "beat": In(beat_layout()),
                "beat_valid": In(1),
                "beat_leaves": In(1),
                "word_leaves": In(1),
                "served": In(1),
                "followed": Out(1),
                "request": Out(layout),
                "queued": Out(1),
                "ahead": Out(numbers),
                "inside": Out(numbers),
                "pages": Out(numbers),
                "pages_ahead": Out(numbers),
                "token": Out(layout["tokens"].shape),
                "beat_number": Out(layout["beats"].shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        page_ends = self.beat_leaves & self.beat.last_of_page
        leaves_beats = self.entering.source != Source.READBACK
        m.d.sync += [
            self.inside.eq(self.inside + self.enters - self.served),
            self.pages.eq(self.pages + (self.enters & leaves_beats) - page_ends),
        ]
        m.d.comb += Assert(~self.beat_valid | (self.pages != 0))
        with m.If(~self.followed & self.enters & self.choose):
            m.d.sync += [
                self.followed.eq(1),
                self.request.eq(self.entering),
                self.queued.eq(1),
                self.ahead.eq(self.inside - self.served),
                self.pages_ahead.eq(self.pages - page_ends),
                self.token.eq(0),
                self.beat_number.eq(0),
            ]
        with m.If(self.queued & self.served):
            m.d.sync += [self.queued.eq(self.ahead != 0), self.ahead.eq(self.ahead - 1)]

        place = Place(self.request, self.token, self.beat_number)
        moves = Signal()
        with m.If(moves):
            token, beat_number = place.next()
            m.d.sync += [self.token.eq(token), self.beat_number.eq(beat_number)]
            m.d.sync += self.followed.eq(~place.last)
        at_hand = self.queued & (self.ahead == 0)
        with m.If(self.followed & (self.request.source == Source.READBACK)):
            m.d.comb += moves.eq(at_hand & self.word_leaves)
            m.d.comb += Assert(~at_hand | (self.served == (moves & place.last)))
            m.d.comb += Cover(moves & place.last)
        with m.Elif(self.followed):
            m.d.comb += Assert(~at_hand | ~self.word_leaves)
            with m.If(self.pages_ahead != 0):
                m.d.sync += self.pages_ahead.eq(self.pages_ahead - page_ends)
            with m.Else():
                m.d.comb += moves.eq(self.beat_leaves)
                m.d.comb += Assert(~self.beat_valid | bears(self.beat, place.tags))
                m.d.comb += Cover(moves & place.last)
        return m
