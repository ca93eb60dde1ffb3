"""From status bytes to completions: whose status is read, and what it completes.

What was refused, and what a dead die has left, completes without a status byte.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS

from .operations import TAG_BITS, Cause, NandOp, done_layout

__all__ = ["Completions"]


class Completions(wiring.Component):
    """Keeps operations until their status is read. One status is read at a time.

    Parameters
    ----------
    dies : int
    planes : Planes, optional
        Operations of several planes are given together.

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
        Nothing here changes at the coming clock edge, if nothing is chosen, no status comes and no
        completion goes.
    row, continues : In
        With ``planes``: of the operation that begins; it belongs to the command before it.
    several, check_row : Out
        With ``planes``: ``check_die`` has done several operations, each has a status of its own:
        that of this row is to be read.
    """

    def __init__(self, dies, planes=None):
        self._planes = planes
        die = max(1, ceil_log2(dies))
        several = {
            "row": In(ROW_BITS),
            "continues": In(1),
            "several": Out(1),
            "check_row": Out(ROW_BITS),
        }
        super().__init__(
            (several if planes else {})
            | {
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
        kept = {"op": NandOp, "tag": TAG_BITS}
        depth = max(2, dies)
        if self._planes:
            kept["row"] = ROW_BITS
            depth <<= self._planes.plane_bits
        m.submodules.works = works = memory.Memory(
            shape=data.StructLayout(kept), depth=depth, init=[]
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
        answered, buried = self.status_valid & checking, ends
        if self._planes:
            last, is_last = self._several(m, begun, ending, ends)
            answered, buried = answered & is_last, buried & last
        else:
            m.d.comb += [begun.addr.eq(self.die), ending.addr.eq(self.check_die)]
        m.d.comb += [
            begun.data.op.eq(self.op),
            begun.data.tag.eq(self.tag),
            begun.en.eq(self.begins & (self.op != NandOp.STATUS)),
            buries.eq(picked & self.dead.bit_select(self.check_die, 1)),
            ends.eq(buries & ~self.chosen),
            self.check.eq(picked & ~buries),
            self.free.eq(~reading & ~done.valid & ~buries),
            check.eq(self.due.any() & ~reading & ~done.valid & ~ends),
            self.quiet.eq(picked == check),
            self.complete.eq(answered | buried),
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

    def _several(self, m, begun, ending, ends):
        """Operations of one command, answered one after another.

        Returns
        -------
        last, is_last : Value
            The next to be answered is the last of its die; the one being answered is.
        """
        bits = self._planes.plane_bits
        shape = {"shape": bits, "depth": max(2, len(self.due)), "init": []}
        m.submodules.lasts = lasts = memory.Memory(**shape)  # number of those begun, less one
        m.submodules.nexts = nexts = memory.Memory(**shape)  # the next to be answered
        begins, before = lasts.write_port(), lasts.read_port(domain="comb")
        of_check = lasts.read_port(domain="comb")
        answers, number = nexts.write_port(), nexts.read_port(domain="comb")
        last = Signal()
        is_last = Signal()
        m.d.comb += [
            before.addr.eq(self.die),
            begins.addr.eq(self.die),
            begins.data.eq(Mux(self.continues, before.data + 1, 0)),
            begins.en.eq(begun.en),
            begun.addr.eq(Cat(begins.data, self.die)),
            begun.data.row.eq(self.row),
            of_check.addr.eq(self.check_die),
            number.addr.eq(self.check_die),
            answers.addr.eq(self.check_die),
            answers.data.eq(Mux(last, 0, number.data + 1)),
            answers.en.eq(self.checks | ends),
            ending.addr.eq(Cat(number.data, self.check_die)),
            last.eq(number.data == of_check.data),
            self.several.eq(of_check.data != 0),
            self.check_row.eq(ending.data.row),
        ]
        with m.If(self.checks):
            m.d.sync += is_last.eq(last)
        return last, is_last
