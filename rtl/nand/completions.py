"""From status bytes to completions: whose status is read, and what it completes.

What was refused, and what a dead die has left, completes without a status byte.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .operations import TAG_BITS, Cause, NandOp, done_layout

__all__ = ["Completions"]


class Completions(wiring.Component):
    """Keeps operations until their status is read. One status is read at a time.

    Parameters
    ----------
    dies : int

    Members
    -------
    begins, op, die, tag : In
        PROGRAM, ERASE, RESET or STATUS begins; a STATUS is read by that itself.
    refuses, cause : In
        The operation is refused. Only when ``free``.
    due : In(dies)
        Dies that have finished.
    recovered, dead : In(dies)
        Dies that were late with what they have finished; that give no status.
    free : Out(1)
        A status can be read: none is on its way, no completion waits.
    check, check_die : Out
        The status of this die is to be read. Registered.
    chosen : In(1)
        A sequence was chosen: what is to be read may change.
    checks : In(1)
        It is the status read of ``check_die``.
    status_valid, status : In
        The status byte.
    complete, complete_die : Out
        A program, an erase or a reset of this die is complete.
    done : Out(stream(done_layout(dies)))
    quiet : Out(1)
        Nothing here changes at the coming clock edge, if no status comes and no completion goes.
    """

    def __init__(self, dies):
        die = max(1, ceil_log2(dies))
        super().__init__(
            {
                "begins": In(1),
                "op": In(NandOp),
                "die": In(die),
                "tag": In(TAG_BITS),
                "refuses": In(1),
                "cause": In(Cause),
                "due": In(dies),
                "recovered": In(dies),
                "dead": In(dies),
                "free": Out(1),
                "check": Out(1),
                "check_die": Out(die),
                "chosen": In(1),
                "checks": In(1),
                "status_valid": In(1),
                "status": In(8),
                "complete": Out(1),
                "complete_die": Out(die),
                "done": Out(stream.Signature(done_layout(dies))),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        dies = len(self.due)
        done = self.done
        m.submodules.works = works = memory.Memory(
            shape=data.StructLayout({"op": NandOp, "tag": TAG_BITS}), depth=max(2, dies), init=[]
        )
        begun = works.write_port()
        ending = works.read_port(domain="comb")
        reading = Signal()  # a status is on its way,
        checking = Signal()  # which completes an operation
        check = Signal()
        picked = Signal()  # `check_die` has finished
        buries = Signal()  # it is dead ...
        ends = Signal()  # ... and what it did completes
        protected = Signal()
        cause = Signal(Cause)
        m.d.comb += [
            begun.addr.eq(self.die),
            begun.data.op.eq(self.op),
            begun.data.tag.eq(self.tag),
            begun.en.eq(self.begins & (self.op != NandOp.STATUS)),
            ending.addr.eq(self.check_die),
            buries.eq(picked & self.dead.bit_select(self.check_die, 1)),
            ends.eq(buries & ~self.chosen),
            self.check.eq(picked & ~buries),
            self.free.eq(~reading & ~done.valid & ~buries),
            check.eq(self.due.any() & ~reading & ~done.valid & ~ends),
            self.quiet.eq(~self.chosen & (picked == check)),
            self.complete.eq((self.status_valid & checking) | ends),
            self.complete_die.eq(Mux(ends, self.check_die, done.payload.die)),
            protected.eq(
                ~self.status[7]
                & ((done.payload.op == NandOp.PROGRAM) | (done.payload.op == NandOp.ERASE))
            ),
        ]
        m.d.sync += picked.eq(check & ~self.chosen)
        with m.If(checking):
            with m.If(self.recovered.bit_select(done.payload.die, 1)):
                m.d.comb += cause.eq(Cause.TIMEOUT)
            with m.Elif(protected):
                m.d.comb += cause.eq(Cause.PROTECTED)
            with m.Elif(self.status[0]):
                m.d.comb += cause.eq(Cause.CELLS)
        for die in reversed(range(dies)):
            with m.If(self.due[die]):
                m.d.sync += self.check_die.eq(die)

        with m.If(done.valid & done.ready):
            m.d.sync += done.valid.eq(0)
        with m.If(self.status_valid):
            m.d.sync += [
                reading.eq(0),
                done.valid.eq(1),
                done.payload.status.eq(self.status),
                done.payload.cause.eq(cause),
                done.payload.failed.eq(cause != Cause.NONE),
            ]
        with m.If(self.checks | ends):
            m.d.sync += [
                reading.eq(~ends),
                checking.eq(1),
                done.valid.eq(ends),
                done.payload.cause.eq(Cause.DEAD),
                done.payload.failed.eq(1),
                done.payload.status.eq(0),
                done.payload.op.eq(ending.data.op),
                done.payload.die.eq(self.check_die),
                done.payload.tag.eq(ending.data.tag),
            ]
        with m.Elif((self.begins & (self.op == NandOp.STATUS)) | self.refuses):
            m.d.sync += [
                reading.eq(~self.refuses),
                checking.eq(0),
                done.valid.eq(self.refuses),
                done.payload.cause.eq(self.cause),
                done.payload.failed.eq(1),
                done.payload.status.eq(0),
                done.payload.op.eq(self.op),
                done.payload.die.eq(self.die),
                done.payload.tag.eq(self.tag),
            ]
        return m
