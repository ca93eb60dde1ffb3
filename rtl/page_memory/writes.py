"""Programs and erases as bursts, one operation after the other; what changes nothing just ends.

PROGRAM writes its words over what lies there. ERASE writes FFh to every page of its block, spare
bytes included, as erased cells read: firmware finds the end of what was programmed by it. An
operation has ended when the memory has answered all of its bursts.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.streams import Queue, moves

from ..memory import BurstWriter
from ..memory_port import ADDRESS_BITS, MemoryPortSignature
from ..nand.operations import WORD_BITS, Cause, NandOp, done_layout
from ..read_counts import block_of
from .door import task_layout
from .places import Places

__all__ = ["PageWrites", "WRITES_AHEAD"]

WRITES_AHEAD = 4
"""Operations that wait for the one in progress; READs behind more of them wait, too."""

ERASED = 0xFFFF_FFFF_FFFF_FFFF
"""A word of an erased page."""

READY = 0xE0
"""Status byte of a die that is ready and not write-protected; bit 0: what it did has failed."""


class PageWrites(wiring.Component):
    """Carries out all operations but reads, in their order.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    i : In(stream), ``task_layout()``
    base : In(48)
        See `rtl.page_memory.places.Places`.
    reading : In(dies)
        Dies whose pages must not change yet.
    w_data : In(stream(64))
    port : Out(MemoryPortSignature), only ``aw``, ``w`` and ``b`` are used
    done : Out(stream), ``done_layout()``
    ends : Out(1), ends_die : Out
        A completion is taken, of an operation that was not refused.
    page_programmed, block_erased : Out(1)
        It was such a one.
    waits : Out(1)
        An answer of the memory is still to come.
    quiet : Out(1)
    """

    def __init__(self, geometry):
        self._geometry = geometry
        task = task_layout(geometry.dies)
        super().__init__(
            {
                "i": In(stream.Signature(task)),
                "base": In(ADDRESS_BITS),
                "reading": In(geometry.dies),
                "w_data": In(stream.Signature(64)),
                "port": Out(MemoryPortSignature()),
                "done": Out(stream.Signature(done_layout(geometry.dies))),
                "ends": Out(1),
                "ends_die": Out(task["die"].shape),
                "page_programmed": Out(1),
                "block_erased": Out(1),
                "waits": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self._geometry
        m.submodules.tasks = tasks = Queue(task_layout(g.dies), depth=WRITES_AHEAD)
        m.submodules.places = places = Places(g)
        m.submodules.writer = writer = BurstWriter()
        connect(m, flipped(self.i), tasks.i)
        for name in ("aw", "w"):
            connect(m, getattr(writer.port, name), flipped(getattr(self.port, name)))
        connect(m, flipped(self.port.b), writer.port.b)
        task, done = tasks.o.payload, self.done.payload
        refused, programs, erases = Signal(), Signal(), Signal()
        address = Signal(ADDRESS_BITS)
        page = Signal(range(g.pages))  # of the block that is erased
        left = Signal(WORD_BITS)  # words that are dropped
        failed = Signal()
        still = Signal()
        m.d.comb += [
            refused.eq(task.cause != Cause.NONE),
            programs.eq(task.op == NandOp.PROGRAM),
            erases.eq(task.op == NandOp.ERASE),
            places.base.eq(self.base),
            places.i.payload.eq(task),
            writer.i.payload.address.eq(address),
            writer.i.payload.words.eq(Mux(erases, g.page_words, task.words)),
            writer.i.payload.strobe.eq(0xFF),
            writer.i_data.payload.eq(Mux(erases, ERASED, self.w_data.payload)),
            done.op.eq(task.op),
            done.die.eq(task.die),
            done.tag.eq(task.tag),
            done.cause.eq(Mux(failed, Cause.MEMORY, task.cause)),
            done.failed.eq(failed | refused),
            done.status.eq(Mux(refused, 0, READY | failed)),
            tasks.o.ready.eq(moves(self.done)),
            self.ends.eq(moves(self.done) & ~refused),
            self.ends_die.eq(task.die),
            self.page_programmed.eq(self.ends & programs),
            self.block_erased.eq(self.ends & erases),
            self.quiet.eq(still & ~moves(self.i)),
        ]
        with m.If(erases):
            m.d.comb += [
                places.i.payload.row.eq(block_of(task.row, g) * g.pages),
                places.i.payload.column.eq(0),
            ]
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.sync += [failed.eq(0), page.eq(0), left.eq(task.words)]
                m.d.comb += still.eq(~tasks.o.valid)
                with m.If(tasks.o.valid):
                    with m.If(refused):
                        m.next = "DONE"
                        with m.If(programs & (task.words != 0)):
                            m.next = "DROP"
                    with m.Elif(~(programs | erases)):
                        m.next = "DONE"
                    with m.Elif(self.reading.bit_select(task.die, 1)):
                        m.d.comb += still.eq(1)
                    with m.Else():
                        m.d.comb += places.i.valid.eq(1)
                        m.next = "PLACE"
            with m.State("PLACE"):
                m.d.comb += places.o.ready.eq(1)
                m.d.sync += address.eq(places.o.payload.address)
                with m.If(places.o.valid):
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += writer.i.valid.eq(1)
                with m.If(writer.i.ready):
                    m.next = "WORDS"
            with m.State("WORDS"):
                m.d.comb += [
                    writer.i_data.valid.eq(erases | self.w_data.valid),
                    self.w_data.ready.eq(programs & writer.i_data.ready),
                    writer.done.ready.eq(1),
                    self.waits.eq(erases | self.w_data.valid | ~writer.quiet),
                    still.eq(writer.quiet & ~writer.done.valid),
                ]
                with m.If(writer.done.valid):
                    m.d.sync += [failed.eq(failed | writer.done.payload.error), page.eq(page + 1)]
                    m.next = "DONE"
                    with m.If(erases & (page != g.pages - 1)):
                        m.d.sync += address.eq(address + g.page_total)
                        m.next = "ASK"
            with m.State("DROP"):
                m.d.comb += [self.w_data.ready.eq(1), still.eq(~self.w_data.valid)]
                with m.If(self.w_data.valid):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += [self.done.valid.eq(1), still.eq(~self.done.ready)]
                with m.If(self.done.ready):
                    m.next = "IDLE"
        return m
