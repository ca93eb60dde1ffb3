"""Invariants of a page source: where the followed request, word and read stand inside it.

::

    youngest                                                             oldest
    requests in a queue  ->  the one at hand: token, beat  ->  kept  ->  o
                             (still in the queue)              2 beats of a skid buffer
"""

from amaranth.hdl import Assert, Cat, Mux, Signal
from amaranth.lib import data

from hls_attention.beats import BEATS_BITS, beat_layout
from rtl.pages.requests import Source
from tests.formal import contents
from tests.formal.contents import Contents, count, ranks
from tests.formal.followed_request import Place, bears

__all__ = ["MOST_BEATS", "beats_in_line", "page_reads"]

MOST_BEATS = 1 << BEATS_BITS
"""Of a token, or of a column: a codeword's words."""


def page_reads(probe):
    """The page reads that wait: die, row, operation, column, words."""
    ops = probe.inside("ops")
    layout, reads = ops.component.o.payload.shape(), contents.queue(ops)

    def at(place):
        read = data.View(layout, reads.at(place))
        return Cat(read.die, read.row, read.op, read.column, read.words)

    return Contents(reads.level, at, reads.sound)


def beats_in_line(m, probe, request, words, from_tail):
    """Connect what is followed with requests in the queue and beats in the skid buffer.

    Parameters
    ----------
    probe : Probe
        Of the page source.
    request : FollowedRequest
    words : Passage
    from_tail : Value
        The followed word came from the tail.
    """
    units, skid = probe.inside("units"), probe.inside("beats")
    queue, layout = contents.queue(units), request.request.shape()
    depth = units.component._depth
    waiting = [data.View(layout, queue.at(place)) for place in range(depth)]
    oldest = skid.component.o
    kept = data.View(beat_layout(), skid["kept"])
    beats = [(oldest.valid, oldest.payload), (skid["held"], kept)]
    m.d.comb += [
        *map(Assert, queue.sound),
        Assert(~skid["held"] | oldest.valid),
        Assert(request.inside == queue.level),
        Assert(~probe["missed"]),
        *[
            Assert((place >= queue.level) | (_possible(unit) & ~unit.sparse))
            for place, unit in enumerate(waiting)
        ],
    ]
    # pages: each request in the queue leaves one, and each last beat ends one
    leaves_page = [unit.source != Source.READBACK for unit in waiting]
    ends = [valid & beat.last_of_page for valid, beat in beats]

    def pages(requests):
        return count(ends) + count(
            [(place < requests) & leaves for place, leaves in enumerate(leaves_page)]
        )

    m.d.comb += Assert(request.pages == pages(queue.level))
    _one_at_hand(m, probe, units.component.o, beats, ends)
    theirs = _followed_in_line(m, probe, request, queue, beats, ends, pages)

    holds_word = [valid & (beat.lanes != 0) for valid, beat in beats]
    seen = [(holds, Cat(beat.data[0], beat.error)) for holds, (_, beat) in zip(holds_word, beats)]
    words.agrees(m, ranks(seen))
    with m.If(words.chosen):
        for n, mine in enumerate(theirs):
            here = holds_word[n] & (words.ahead == count(holds_word[:n]))
            m.d.comb += Assert(
                ~(here & mine) | (from_tail == (request.request.source == Source.TAIL))
            )


def _possible(unit):
    """A request has beats, their number is one that is counted, and its place is known."""
    placed = ~unit.error | (unit.source == Source.NULL)
    return (unit.tokens != 0) & (unit.beats != 0) & (unit.beats <= MOST_BEATS) & placed


def _one_at_hand(m, probe, unit, beats, ends):
    """Some of its beats are gone or wait, unless it is at its start."""
    begun = (probe["beat"] != 0) | (probe["token"] != 0)
    null = unit.payload.source == Source.NULL
    (first_valid, _), (second_valid, _) = beats
    youngest_ends = Mux(second_valid, ends[1], ends[0])
    leaves_page = unit.payload.source != Source.READBACK
    within = (probe["token"] < unit.payload.tokens) & (probe["beat"] < unit.payload.beats)
    m.d.comb += [
        Assert(~begun | (unit.valid & ~null & within)),
        Assert(~first_valid | youngest_ends | (begun & leaves_page)),
    ]


def _followed_in_line(m, probe, request, queue, beats, ends, pages):
    """The followed request is where its counters say. Returns which waiting beats are its own."""
    unit, followed = request.request, request.followed
    leaves_page = followed & (unit.source != Source.READBACK)
    (first_valid, first), (second_valid, second) = beats
    mine = Signal(2)
    m.d.comb += [
        mine[0].eq(leaves_page & first_valid & (request.pages_ahead == 0)),
        mine[1].eq(
            leaves_page & second_valid & (request.pages_ahead == ends[0]) & ~(mine[0] & ends[0])
        ),
    ]
    # places of its beats: next to leave, the one after, and so on to the next to come
    place, following = (request.token, request.beat_number), []
    for n, (_, beat) in enumerate(beats):
        here = Place(unit, *place)
        m.d.comb += Assert(~mine[n] | bears(beat, here.tags))
        place = tuple(Mux(mine[n], new, old) for new, old in zip(here.next(), place))
        following.append(mine[n] & here.last)
    all_waiting = count(following) != 0
    token, beat = place
    m.d.comb += [
        Assert(~request.queued | followed),
        Assert(~followed | ((request.token < unit.tokens) & (request.beat_number < unit.beats))),
        Assert(~followed | _possible(unit)),
    ]
    with m.If(request.queued):
        m.d.comb += [
            Assert(request.ahead < queue.level),
            Assert(queue.at(request.ahead) == unit.as_value()),
            Assert(~all_waiting),
        ]
        with m.If(request.ahead == 0):
            m.d.comb += Assert((probe["token"] == token) & (probe["beat"] == beat))
        with m.Else():
            m.d.comb += Assert((request.token == 0) & (request.beat_number == 0) & ~mine.any())
        with m.If(leaves_page):
            m.d.comb += Assert(request.pages_ahead == pages(request.ahead))
    with m.Elif(followed):
        m.d.comb += Assert(leaves_page & all_waiting)
        m.d.comb += Assert(request.pages_ahead + 1 <= count(ends))
    with m.If(leaves_page & (request.pages_ahead != 0)):
        m.d.comb += Assert((request.token == 0) & (request.beat_number == 0))
    return mine
