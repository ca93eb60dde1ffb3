"""Die table of a channel: which sequence the bus does next.

Whenever the bus is free, the first of these that is possible is done:

1. the operation at the head of ``ops``, if its die is free: a die that senses a page works for
   tR, so filling idle dies goes before anything that only needs the bus;
2. the status of a die that has finished a program, an erase or a reset (it frees the die);
3. the data of the page opened first, if its die is ready.

A die holds at most one opened page, so step 1 can delay data by at most one command sequence per
die. Decisions are made when the bus is free, not earlier: a die whose data just moved is free again
and gets its next command before the next data phase.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from flash_model.timing import cycles

from .operations import TAG_BITS, NandOp, operation_layout
from .ready import ReadyFilter
from .ring import Ring
from .sequencer import Sequence, sequence_layout

__all__ = ["Scheduler"]


class Scheduler(wiring.Component):
    """Die table and choice of the next sequence.

    Parameters
    ----------
    profile : Profile
    clock_hz : int
        Core clock.
    depth : int
        Most pages opened and not yet read out (a die has one page register, so at most one each).

    Members
    -------
    ops : In(stream(operation_layout(dies)))
        Operations, started in order.
    o : Out(stream(sequence_layout(dies)))
        Next sequence for an idle sequencer. The choice may change until it is taken.
    ready : In(dies)
        R/B# of the dies.
    settling, settling_die : In
        tWB of this die is running.
    w_valid : In(1)
        Data to program are there.
    done_free : In(1)
        A completion can be stored.
    data_done, status_done : In(1)
        The data phase of ``finished_die`` has ended; its status was read.
    finished_die : In
        Die of the sequence in progress.
    op, tag : Out
        Operation and tag of the status being read.
    checking : Out(1)
        That status completes PROGRAM, ERASE or RESET.
    pending : Out(1)
        Some die holds an opened page or has work not yet completed.
    stable : Out(1)
        R/B# of all dies has been steady for tRR.
    """

    def __init__(self, profile, clock_hz, depth):
        if not 1 <= depth <= 256:
            raise ValueError(f"depth = {depth} is not possible: choose 1..256 opened pages")
        self._dies = dies = profile.geometry.dies
        self._t_rr = cycles(profile.timing.t_rr_ns, clock_hz)
        self._opened_max = min(depth, dies)
        die = max(1, ceil_log2(dies))
        super().__init__(
            {
                "ops": In(stream.Signature(operation_layout(dies))),
                "o": Out(stream.Signature(sequence_layout(dies))),
                "ready": In(dies),
                "settling": In(1),
                "settling_die": In(die),
                "w_valid": In(1),
                "done_free": In(1),
                "data_done": In(1),
                "status_done": In(1),
                "finished_die": In(die),
                "op": Out(NandOp),
                "tag": Out(TAG_BITS),
                "checking": Out(1),
                "pending": Out(1),
                "stable": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        dies = self._dies
        opened = Signal(dies)  # page sensed or being sensed, data not yet moved
        working = Signal(dies)  # program, erase or reset, status not yet read
        in_status = Signal(dies)  # the die's output shows its status

        m.submodules.rb = rb = ReadyFilter(dies, self._t_rr)
        settled = rb.settled
        m.d.comb += [
            rb.ready.eq(self.ready),
            rb.settling.eq(self.settling),
            rb.settling_die.eq(self.settling_die),
            self.stable.eq(rb.stable),
            self.pending.eq((opened | working).any()),
        ]

        m.submodules.order = order = Ring(
            data.StructLayout({"die": len(self.finished_die), "words": 12}),
            depth=max(2, self._opened_max),
        )
        m.submodules.works = works = memory.Memory(
            shape=data.StructLayout({"op": NandOp, "tag": TAG_BITS}), depth=max(2, dies), init=[]
        )
        begun = works.write_port()
        ending = works.read_port(domain="comb")

        # 1. The head of ops.
        head = self.ops.payload
        free = Signal(dies)
        die_free = Signal()
        start = Signal()
        m.d.comb += [
            free.eq(settled & ~opened & ~working),
            die_free.eq(free.bit_select(head.die, 1)),
        ]
        with m.Switch(head.op):
            with m.Case(NandOp.READ):
                m.d.comb += start.eq(die_free & (order.level < self._opened_max))
            with m.Case(NandOp.PROGRAM):
                m.d.comb += start.eq(die_free & self.w_valid)
            with m.Case(NandOp.ERASE, NandOp.RESET):
                m.d.comb += start.eq(die_free)
            with m.Case(NandOp.READ_ID):
                m.d.comb += start.eq(die_free & (order.level == 0))
            with m.Case(NandOp.STATUS):
                m.d.comb += start.eq(self.done_free & ~rb.blind.bit_select(head.die, 1))

        # 2. A die whose status is due, 3. the page opened first.
        due = Signal(dies)
        due_die = Signal(len(self.finished_die))
        check = Signal()
        move = Signal()
        first = order.o.payload
        m.d.comb += [
            due.eq(working & settled),
            check.eq(due.any() & self.done_free),
            move.eq(order.o.valid & settled.bit_select(first.die, 1)),
        ]
        for index in reversed(range(dies)):
            with m.If(due[index]):
                m.d.comb += due_die.eq(index)

        choice = self.o.payload
        starts = self.ops.valid & start
        m.d.comb += [
            self.o.valid.eq(starts | check | move),
            self.ops.ready.eq(start & self.o.ready),
            choice.row.eq(head.row),
            order.i.payload.die.eq(head.die),
            order.i.payload.words.eq(head.words),
            order.o.ready.eq(self.data_done),
            begun.addr.eq(head.die),
            begun.data.op.eq(head.op),
            begun.data.tag.eq(head.tag),
            ending.addr.eq(due_die),
        ]
        taken = Signal()
        m.d.comb += taken.eq(self.o.valid & self.o.ready)
        this_die = Signal(dies)  # one-hot die of the choice
        m.d.comb += this_die.eq(1 << choice.die)
        with m.If(starts):
            m.d.comb += [choice.die.eq(head.die), choice.words.eq(head.words)]
            with m.Switch(head.op):
                for op, sequence in _STARTS.items():
                    with m.Case(op):
                        m.d.comb += choice.sequence.eq(sequence)
            with m.If(taken):
                with m.Switch(head.op):
                    with m.Case(NandOp.READ):
                        m.d.comb += order.i.valid.eq(1)
                        m.d.sync += [
                            opened.eq(opened | this_die),
                            in_status.eq(in_status & ~this_die),
                        ]
                    with m.Case(NandOp.PROGRAM, NandOp.ERASE, NandOp.RESET):
                        m.d.sync += working.eq(working | this_die)
                        m.d.comb += begun.en.eq(1)
                    with m.Case(NandOp.READ_ID):
                        m.d.sync += in_status.eq(in_status & ~this_die)
                    with m.Case(NandOp.STATUS):
                        m.d.sync += [
                            in_status.eq(in_status | this_die),
                            self.checking.eq(0),
                            self.op.eq(NandOp.STATUS),
                            self.tag.eq(head.tag),
                        ]
        with m.Elif(check):
            m.d.comb += [choice.die.eq(due_die), choice.sequence.eq(Sequence.STATUS)]
            with m.If(taken):
                m.d.sync += [
                    in_status.eq(in_status | this_die),
                    self.checking.eq(1),
                    self.op.eq(ending.data.op),
                    self.tag.eq(ending.data.tag),
                ]
        with m.Else():
            m.d.comb += [
                choice.die.eq(first.die),
                choice.words.eq(first.words),
                choice.sequence.eq(Sequence.DATA),
            ]
            with m.If(in_status.bit_select(first.die, 1)):
                m.d.comb += choice.sequence.eq(Sequence.DATA_AFTER_STATUS)
            with m.If(taken):
                m.d.sync += in_status.eq(in_status & ~this_die)

        finished = Signal(dies)
        m.d.comb += finished.eq(1 << self.finished_die)
        with m.If(self.data_done):
            m.d.sync += opened.eq(opened & ~finished)
        with m.If(self.status_done & self.checking):
            m.d.sync += working.eq(working & ~finished)
        return m


_STARTS = {
    NandOp.READ: Sequence.READ,
    NandOp.PROGRAM: Sequence.PROGRAM,
    NandOp.ERASE: Sequence.ERASE,
    NandOp.RESET: Sequence.RESET,
    NandOp.READ_ID: Sequence.READ_ID,
    NandOp.STATUS: Sequence.STATUS,
}
