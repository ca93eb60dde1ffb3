"""Program slots: where a page stays in device DRAM until its die says that it holds it.

::

    o <-- free slots <--+-- done, succeeded
                        +-- release (firmware)
    failed <------------+-- done, failed: the slot stays taken until the firmware releases it

The append path takes a slot before it is dealt a page and puts the page there; the feeder of its
channel (`rtl.program_feeder`) takes it from there and gives the slot's number to the program as the
tag. While the firmware has ``hold`` set, or a failure waits for it, no slot is handed out: once
``used`` has come down to the slots that failed, no program is under way and no page is dealt.

A slot in device DRAM is a `rtl.tables.SLOT_HEADER` and the user bytes of the page.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hls_attention.streams import Queue, moves

from .nand.operations import TAG_BITS, done_layout
from .tables import program_slots

__all__ = ["PROGRAM_TAG", "ProgramSlots"]

PROGRAM_TAG = 1 << TAG_BITS - 1
"""Bit of the tag that tells page programs of the append path; the others are the slot."""


class ProgramSlots(wiring.Component):
    """Hands out slots and takes them back.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    ask : In(1)
        A slot is wanted: it is taken in the clock in which it is there.
    o : Out(stream), a free slot
    i_done : In(stream), `rtl.nand.operations.done_layout`
        Completions of programs.
    failed : Out(stream), a slot
    release, released : In
        The firmware is done with this failed slot.
    hold : In(1)
    used : Out(range(slots + 1))
        Slots handed out and not taken back.
    quiet : Out(1)
        Nothing in here changes until an input does.
    """

    def __init__(self, geometry):
        self._slots = program_slots(geometry)
        slot = ceil_log2(self._slots)
        super().__init__(
            {
                "ask": In(1),
                "o": Out(stream.Signature(slot)),
                "i_done": In(stream.Signature(done_layout(geometry.dies))),
                "failed": Out(stream.Signature(slot)),
                "release": In(1),
                "released": In(slot),
                "hold": In(1),
                "used": Out(range(self._slots + 1)),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = len(self.released)
        m.submodules.free = free = Queue(width, depth=self._slots)
        m.submodules.failures = failures = Queue(width, depth=self._slots)
        connect(m, failures.o, flipped(self.failed))
        fresh = Signal(range(self._slots + 1))  # slots that were never handed out come first
        done, slot = self.i_done, self.i_done.payload.tag[:width]
        back = Signal()
        m.d.comb += [
            self.i_done.ready.eq(~self.release),
            failures.i.valid.eq(done.valid & done.ready & done.payload.failed),
            failures.i.payload.eq(slot),
            back.eq(self.release | (moves(done) & ~done.payload.failed)),
            free.i.valid.eq(back | (fresh != self._slots)),
            free.i.payload.eq(fresh),
            self.o.payload.eq(free.o.payload),
            self.quiet.eq(
                ~moves(free.i) & ~moves(free.o) & ~moves(failures.i) & ~moves(failures.o)
            ),
        ]
        with m.If(self.release):
            m.d.comb += free.i.payload.eq(self.released)
        with m.Elif(back):
            m.d.comb += free.i.payload.eq(slot)
        with m.Else(), m.If(fresh != self._slots):
            m.d.sync += fresh.eq(fresh + 1)

        m.d.comb += [
            self.o.valid.eq(self.ask & free.o.valid & ~self.hold & ~failures.o.valid),
            free.o.ready.eq(moves(self.o)),
        ]
        m.d.sync += self.used.eq(self.used + moves(self.o) - back)
        return m
