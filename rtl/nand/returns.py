"""Read data on their way back from the PHY: what each word belongs to, and room for all of them.

The PHY answers each word asked for some clocks later, in order; the bus may be on with another
data phase by then. So a mark goes along with each word, in a ring of its own. Page data are only
asked for if the ring in front of the reader has a place for them. A word with a cause is none of
the PHY's: it is made here when its turn comes, and a zero at the end.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .operations import Cause, read_layout
from .ring import Ring

__all__ = ["READ_RING", "Returns"]

READ_RING = 16
"""Words between PHY and reader; keeps the full rate up to a PHY latency of 14 clocks."""


class Returns(wiring.Component):
    """Sorts read words into page data and status.

    Members
    -------
    asked, is_status, last : In(1)
        A word is asked for: the status or page data, the last of its data phase.
    cause : In(Cause)
        NONE: of the PHY.
    room : Out(1)
        It may be.
    r_valid, r_data : In
        Words from the PHY, in the order they were asked for.
    o : Out(stream(read_layout()))
        Page data.
    status_valid, status : Out
        The status byte.
    quiet : Out(1)
        No word is on its way or being taken.
    """

    is_status: In(1)
    asked: In(1)
    last: In(1)
    cause: In(Cause)
    room: Out(1)
    r_valid: In(1)
    r_data: In(64)
    o: Out(stream.Signature(read_layout()))
    status_valid: Out(1)
    status: Out(8)
    quiet: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.marks = marks = Ring(
            data.StructLayout({"is_status": 1, "last": 1, "cause": Cause}), depth=READ_RING
        )
        m.submodules.words = words = Ring(read_layout(), depth=READ_RING)
        places = Signal(range(READ_RING + 1), init=READ_RING)
        mark = marks.o.payload
        popped = self.o.valid & self.o.ready
        made = Signal()
        m.d.comb += [
            self.room.eq(marks.i.ready & (self.is_status | (places != 0))),
            marks.i.valid.eq(self.asked),
            marks.i.payload.is_status.eq(self.is_status),
            marks.i.payload.last.eq(self.last),
            marks.i.payload.cause.eq(self.cause),
            made.eq(marks.o.valid & (mark.cause != Cause.NONE)),
            marks.o.ready.eq(self.r_valid | made),
            words.i.valid.eq((self.r_valid & ~mark.is_status) | made),
            words.i.payload.data.eq(self.r_data),
            words.i.payload.last.eq(mark.last),
            words.i.payload.cause.eq(mark.cause),
            self.status_valid.eq(self.r_valid & mark.is_status),
            self.status.eq(self.r_data[:8]),
            self.quiet.eq((marks.level == 0) & ~popped),
        ]
        connect(m, words.o, flipped(self.o))
        with m.If(words.o.payload.cause != Cause.NONE):
            m.d.comb += self.o.payload.data.eq(0)
        m.d.sync += places.eq(places - (self.asked & ~self.is_status) + popped)
        return m
