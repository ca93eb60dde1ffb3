"""The contract of a page source: page requests in, their words out as tagged beats.

::

    i --+--> o_ops: a page read for each request from flash, in order
        +--> requests in order --.
    i_words, i_tail --------------+--> o: beats        (o_readback: words of READBACK)

- One request is followed. Its beats leave after those of earlier ones: ``tokens`` units of
  ``beats`` beats, or one null beat, each with the tags that its place gives.
- One word is followed. It leaves once, in order, unchanged, in a beat of a request whose words come
  from where it came from.
- A READBACK request passes exactly ``tokens * beats`` words to ``o_readback``, in the clock in
  which they are taken.
- One page read is followed: it leaves once, in order, with its die, its row and the words that
  are wanted of its page.
- It moves on: with words at hand, a beat shows within 3 clocks; an empty one takes a request.

Assumed: ``tokens`` and ``beats`` are 1 or more, ``beats`` those of a codeword at most; requests are
not sparse, and those from flash have a place (the others are simulated, in
tests.rtl.pages.test_source).
"""

from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.nand.operations import WORD_BITS, NandOp
from rtl.pages.requests import Source
from tests.formal.followed_request import FollowedRequest
from tests.formal.observers import Passage, Patience, assert_held, assume_held, taken
from tests.formal.page_source_inside import MOST_BEATS, beats_in_line, page_reads
from tests.formal.probe import Probe

__all__ = ["PageSourceContract"]

BEATS = 2
"""Beats that may wait at the output."""


class PageSourceContract(wiring.Component):
    """A page source and the assertions around it.

    Parameters
    ----------
    component : rtl.pages.source.PageSource
    depth : int
        Of the component.
    inside : bool
        Add the invariants.

    Members
    -------
    i, o_ops, o
        Of the component.
    i_words, i_tail, o_readback
        With one bit of data and the error mark above it.
    choose_request, choose_word, choose_read : In(1)
        Choose what is followed.
    """

    def __init__(self, component, *, depth, inside=True):
        self._component = component
        self._depth = depth
        self._inside = inside
        super().__init__(
            {
                "i": In(component.i.signature.flip()),
                "o_ops": Out(component.o_ops.signature),
                "i_words": In(stream.Signature(2)),
                "i_tail": In(stream.Signature(2)),
                "o": Out(component.o.signature),
                "o_readback": Out(stream.Signature(2)),
                "choose_request": In(1),
                "choose_word": In(1),
                "choose_read": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        component = self._component
        probe = Probe(component)
        m.submodules.component = probe.fragment
        self._connect(m, component)
        for port in (self.i, self.i_words, self.i_tail):
            assume_held(m, port)
        for port in (self.o_ops, self.o, self.o_readback):
            assert_held(m, port)
        wanted = self.i.payload
        m.d.comb += [
            Assume(~self.i.valid | ((wanted.tokens != 0) & (wanted.beats != 0))),
            Assume(wanted.beats <= MOST_BEATS),
            Assume(~wanted.sparse),
            Assume(~wanted.error | (wanted.source == Source.NULL)),
        ]

        reads = self._reads(m, probe)
        request = self._request(m, probe)
        words, from_tail = self._words(m, request)
        m.d.comb += Assert(self.i.ready | (request.inside != 0) | (reads.inside != 0))
        m.submodules.speaks = speaks = Patience(2)
        m.d.comb += speaks.waits.eq(
            (request.pages != 0)
            & ~self.o.valid
            & self.i_words.valid
            & self.i_tail.valid
            & ~self.o_readback.valid
        )
        if self._inside:
            reads.agrees(m, page_reads(probe))
            beats_in_line(m, probe, request, words, from_tail)
        return m

    def _connect(self, m, component):
        wiring.connect(m, wiring.flipped(self.i), component.i)
        wiring.connect(m, component.o_ops, wiring.flipped(self.o_ops))
        wiring.connect(m, component.o, wiring.flipped(self.o))
        m.d.comb += [
            component.i_words.valid.eq(self.i_words.valid),
            component.i_words.payload.data.eq(self.i_words.payload[0]),
            component.i_words.payload.error.eq(self.i_words.payload[1]),
            self.i_words.ready.eq(component.i_words.ready),
            component.i_tail.valid.eq(self.i_tail.valid),
            component.i_tail.payload.data.eq(self.i_tail.payload[0]),
            component.i_tail.payload.error.eq(self.i_tail.payload[1]),
            self.i_tail.ready.eq(component.i_tail.ready),
            self.o_readback.valid.eq(component.o_readback.valid),
            self.o_readback.payload.eq(
                Cat(component.o_readback.payload.data[0], component.o_readback.payload.error)
            ),
            component.o_readback.ready.eq(self.o_readback.ready),
        ]

    def _reads(self, m, probe):
        """A page read for each request from flash."""
        wanted, op = self.i.payload, self.o_ops.payload
        from_flash = (wanted.source == Source.FLASH) | (wanted.source == Source.READBACK)
        column, words = Signal(WORD_BITS), Signal(WORD_BITS)
        m.d.comb += [
            column.eq(wanted.skip * wanted.beats),
            words.eq(wanted.tokens * wanted.beats),
        ]
        read = Cat(wanted.die, wanted.row, Const(NandOp.READ.value, 3), column, words)
        m.submodules.reads = reads = Passage(len(read), capacity=self._depth)
        m.d.comb += [
            reads.choose.eq(self.choose_read),
            reads.enters.eq(taken(self.i) & from_flash),
            reads.i_payload.eq(read),
            reads.o_valid.eq(self.o_ops.valid),
            reads.leaves.eq(taken(self.o_ops)),
            reads.o_payload.eq(Cat(op.die, op.row, op.op, op.column, op.words)),
        ]
        return reads

    def _request(self, m, probe):
        """The followed request and its beats."""
        served = probe.inside("units").component.o
        m.submodules.request = request = FollowedRequest(
            self.i.payload.shape(), capacity=self._depth + BEATS
        )
        m.d.comb += [
            request.choose.eq(self.choose_request),
            request.enters.eq(taken(self.i)),
            request.entering.eq(self.i.payload),
            request.beat.eq(self.o.payload),
            request.beat_valid.eq(self.o.valid),
            request.beat_leaves.eq(taken(self.o)),
            request.word_leaves.eq(taken(self.o_readback)),
            request.served.eq(taken(served)),
        ]
        return request

    def _words(self, m, request):
        """The followed word and whether it came from the tail."""
        read_back = taken(self.o_readback)
        m.d.comb += [
            Assert(~self.o_readback.valid | self.i_words.valid),
            Assert(~read_back | taken(self.i_words)),
            Assert(~read_back | (self.o_readback.payload == self.i_words.payload)),
            Assert(~taken(self.i_words) | ~taken(self.i_tail)),
        ]
        from_page = taken(self.i_words) & ~read_back
        holds_word = self.o.payload.lanes != 0
        m.submodules.words = words = Passage(2, capacity=BEATS)
        m.d.comb += [
            words.choose.eq(self.choose_word),
            words.enters.eq(from_page | taken(self.i_tail)),
            words.i_payload.eq(Mux(from_page, self.i_words.payload, self.i_tail.payload)),
            words.o_valid.eq(self.o.valid & holds_word),
            words.leaves.eq(taken(self.o) & holds_word),
            words.o_payload.eq(Cat(self.o.payload.data[0], self.o.payload.error)),
        ]
        from_tail = Signal()
        with m.If(~words.chosen):
            m.d.sync += from_tail.eq(taken(self.i_tail))
        shown = words.chosen & (words.ahead == 0) & self.o.valid & holds_word
        with m.If(shown & request.followed & (request.pages_ahead == 0)):
            with m.If(request.request.source != Source.READBACK):
                m.d.comb += Assert(from_tail == (request.request.source == Source.TAIL))
        return words, from_tail
