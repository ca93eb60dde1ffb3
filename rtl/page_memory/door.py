"""Where operations come in: marked if they cannot be done, in the order of their die if they can.

::

    ops --+--> o_reads      once no other operation of the die is inside
          +--> o_writes     which wait inside for the READs of their die: `reading`

So READs pass programs and erases of other dies, and a READ sees what was programmed before it.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from hls_attention.streams import moves

from ..nand.operations import Cause, NandOp, operation_layout
from ..nand.refusals import Refusals

__all__ = ["DieCounts", "Door", "task_layout"]


def task_layout(dies):
    """An operation, and why it is not to be done; NONE: it is."""
    return data.StructLayout({**operation_layout(dies).members, "cause": Cause})


class Door(wiring.Component):
    """Lets operations in.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    reads, writes : int
        Most operations that are inside.

    Members
    -------
    ops : In(stream), ``operation_layout()``
    o_reads : Out(stream), ``task_layout()``
        READs, and READ_IDs, which nothing here can answer.
    o_writes : Out(stream), ``task_layout()``
        All others.
    read_ends, write_ends : In(1); read_die, write_die : In
        One that was not refused has ended, of this die.
    reading : Out(dies)
        Dies with READs inside.
    """

    def __init__(self, geometry, *, reads, writes):
        self._geometry = geometry
        self._reads, self._writes = reads, writes
        dies = geometry.dies
        task, die = task_layout(dies), operation_layout(dies)["die"].shape
        super().__init__(
            {
                "ops": In(stream.Signature(operation_layout(dies))),
                "o_reads": Out(stream.Signature(task)),
                "o_writes": Out(stream.Signature(task)),
                "read_ends": In(1),
                "read_die": In(die),
                "write_ends": In(1),
                "write_die": In(die),
                "reading": Out(dies),
            }
        )

    def elaborate(self, platform):
        m = Module()
        dies = self._geometry.dies
        m.submodules.refusals = refusals = Refusals(self._geometry)
        m.submodules.reads = reads = DieCounts(dies, most=self._reads)
        m.submodules.writes = writes = DieCounts(dies, most=self._writes)
        op, is_id = self.ops.payload, self.ops.payload.op == NandOp.READ_ID
        cause, refused, is_read, waits = Signal(Cause), Signal(), Signal(), Signal()
        m.d.comb += [
            refusals.op.eq(op),
            cause.eq(Mux(is_id, Cause.NOT_ALLOWED, refusals.cause)),
            refused.eq(cause != Cause.NONE),
            is_read.eq((op.op == NandOp.READ) | is_id),
            waits.eq(~refused & writes.busy.bit_select(op.die, 1)),
            self.ops.ready.eq(
                Mux(is_read, self.o_reads.ready & ~waits, self.o_writes.ready),
            ),
            self.o_reads.valid.eq(self.ops.valid & is_read & ~waits),
            self.o_writes.valid.eq(self.ops.valid & ~is_read),
            self.reading.eq(reads.busy),
        ]
        for out in (flipped(self.o_reads), flipped(self.o_writes)):
            m.d.comb += [
                *(out.payload[name].eq(op[name]) for name, _ in op.shape()),
                out.payload.cause.eq(cause),
            ]
        with m.If(is_id | (op.words == 0)):
            m.d.comb += self.o_reads.payload.words.eq(1)  # a word has to bear the cause
        for counts, out, ends, die in (
            (reads, self.o_reads, self.read_ends, self.read_die),
            (writes, self.o_writes, self.write_ends, self.write_die),
        ):
            m.d.comb += [
                counts.enters.eq(moves(out) & ~refused),
                counts.enter_die.eq(op.die),
                counts.leaves.eq(ends),
                counts.leave_die.eq(die),
            ]
        return m


class DieCounts(wiring.Component):
    """Which dies have operations inside.

    Parameters
    ----------
    dies : int
    most : int
        Most operations of a die.

    Members
    -------
    enters, leaves : In(1); enter_die, leave_die : In
    busy : Out(dies)
        One clock later.
    """

    def __init__(self, dies, *, most):
        self._most = most
        die = operation_layout(dies)["die"].shape
        super().__init__(
            {
                "enters": In(1),
                "enter_die": In(die),
                "leaves": In(1),
                "leave_die": In(die),
                "busy": Out(dies),
            }
        )

    def elaborate(self, platform):
        m = Module()
        counts = [Signal(range(self._most + 1), name=f"of_{n}") for n in range(len(self.busy))]
        for number, count in enumerate(counts):
            enters = self.enters & (self.enter_die == number)
            leaves = self.leaves & (self.leave_die == number)
            m.d.sync += count.eq(count + enters - leaves)
        m.d.comb += self.busy.eq(Cat(count != 0 for count in counts))
        return m
