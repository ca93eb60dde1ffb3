"""READs of pages as bursts: many in flight, so that a channel's words come one a clock.

::

    i --> tasks --+--> Places --> BurstReader ==> ar, r
                  |                   '--> words --+--> o
                  +--> owed (in order) ------------+

A word that the memory gives with an error comes as a zero that bears `Cause.MEMORY`; so does each
word of a READ that was refused, with its own cause, and the memory is not asked.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.streams import Queue, moves

from ..memory import BurstReader
from ..memory_port import ADDRESS_BITS, MemoryPortSignature
from ..nand.operations import WORD_BITS, Cause, read_layout
from .door import task_layout
from .places import Places

__all__ = ["OWED", "PageReads"]

IN_FLIGHT = 512
"""Words asked of the memory and not yet taken by the channel."""

BURST = 64
"""Words of a burst. A word goes each clock if a burst comes within 448 clocks."""

OWED = 16
"""READs asked of the memory whose last word was not yet taken."""


class PageReads(wiring.Component):
    """Carries out READs in their order.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    depth : int
        READs taken ahead, besides those asked of the memory.

    Members
    -------
    i : In(stream), ``task_layout()``
    base : In(48)
        See `rtl.page_memory.places.Places`.
    port : Out(MemoryPortSignature), only ``ar`` and ``r`` are used
    o : Out(stream), ``read_layout()``
    ends : Out(1), ends_die : Out
        The last word of a READ is taken, and it was not refused.
    waits : Out(1)
        The word that comes next is still to come from the memory.
    quiet : Out(1)
    """

    def __init__(self, geometry, depth):
        self._geometry = geometry
        self._depth = depth
        task = task_layout(geometry.dies)
        super().__init__(
            {
                "i": In(stream.Signature(task)),
                "base": In(ADDRESS_BITS),
                "port": Out(MemoryPortSignature()),
                "o": Out(stream.Signature(read_layout())),
                "ends": Out(1),
                "ends_die": Out(task["die"].shape),
                "waits": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        task = task_layout(self._geometry.dies)
        m.submodules.tasks = tasks = Queue(task, depth=max(2, self._depth))
        m.submodules.places = places = Places(self._geometry)
        m.submodules.reader = reader = BurstReader(depth=IN_FLIGHT, burst=BURST)
        m.submodules.owed = owed = Queue(
            data.StructLayout({name: task[name].shape for name in ("die", "words", "cause")}),
            depth=OWED,
        )
        connect(m, flipped(self.i), tasks.i)
        connect(m, places.o, reader.i)
        connect(m, reader.port.ar, flipped(self.port.ar))
        connect(m, flipped(self.port.r), reader.port.r)
        next_one, asks = tasks.o.payload, Signal()
        m.d.comb += [
            asks.eq(next_one.cause == Cause.NONE),
            places.base.eq(self.base),
            places.i.payload.eq(next_one),
            places.i.valid.eq(tasks.o.valid & owed.i.ready & asks),
            *(owed.i.payload[name].eq(next_one[name]) for name, _ in owed.i.payload.shape()),
            owed.i.valid.eq(tasks.o.valid & (places.i.ready | ~asks)),
            tasks.o.ready.eq(owed.i.ready & (places.i.ready | ~asks)),
        ]

        read, asked = owed.o.payload, Signal()
        place = Signal(WORD_BITS)  # of the word that comes next in its READ
        word = self.o.payload
        m.d.comb += [
            asked.eq(read.cause == Cause.NONE),
            word.last.eq(place == read.words - 1),
            word.cause.eq(read.cause),
            self.o.valid.eq(owed.o.valid & (reader.o.valid | ~asked)),
            reader.o.ready.eq(owed.o.valid & asked & self.o.ready),
            owed.o.ready.eq(moves(self.o) & word.last),
            self.ends.eq(owed.o.ready & asked),
            self.ends_die.eq(read.die),
            self.waits.eq(owed.o.valid & asked & ~reader.o.valid),
            self.quiet.eq(
                reader.quiet & ~moves(self.i) & ~moves(tasks.o) & places.i.ready & ~moves(self.o)
            ),
        ]
        with m.If(asked):
            m.d.comb += word.data.eq(Mux(reader.o.payload.error, 0, reader.o.payload.data))
            with m.If(reader.o.payload.error):
                m.d.comb += word.cause.eq(Cause.MEMORY)
        with m.If(moves(self.o)):
            m.d.sync += place.eq(Mux(word.last, 0, place + 1))
        return m
