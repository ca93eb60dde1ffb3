"""Programs and erases that step aside for reads of their die, if the part can do that.

::

    at work, a read waits --suspend--> suspended: reads --resume--> at work
                                       until none waits, or enough were given

An operation steps aside for so many reads at most (`flash_model.suspend`), then it keeps its die.
It does so at once if the next read lies in its own block: what that holds is not known before it
ends. A die may end its work while the suspend command is on its way; then it ignores that and the
resume command, and nothing is lost.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from flash_model.array_port import ROW_BITS

from .steps import Sequence

__all__ = ["Suspension", "suspension_signature"]


def suspension_signature(dies):
    """Members of `Suspension`."""
    die = max(1, ceil_log2(dies))
    return wiring.Signature(
        {
            **{name: In(dies) for name in ("waiting", "working", "busy", "usable", "holds")},
            "chosen": In(1),
            "choice": In(Sequence),
            "die": In(die),
            "row": In(ROW_BITS),
            "asked": In(1),
            "asked_die": In(die),
            "asked_row": In(ROW_BITS),
            **{name: Out(dies) for name in ("interrupts", "suspended", "open", "erases")},
            "conflict": Out(1),
            "resume": Out(1),
            "resume_die": Out(die),
            "quiet": Out(1),
        }
    )


class Suspension(wiring.Component):
    """Which dies are interrupted and which go on; one bit for each die in ``dies`` wide members.

    Parameters
    ----------
    profile : Profile
        Its ``timing.suspend`` is not None.

    Members
    -------
    waiting, working, busy, usable, holds : In(dies)
        Dies with reads not started, with a program, erase or reset not complete; R/B# low, ready
        for commands, and with a page that was not moved yet.
    chosen, choice, die, row : In
        This sequence was chosen.
    asked, asked_die, asked_row : In
        The next read of a die that is among ``interrupts``, or may be read.
    interrupts : Out(dies)
        Dies to be suspended.
    suspended, open : Out(dies)
        Dies that are; those of them that may be given a read.
    conflict : Out(1)
        The read asked for cannot be given: its block is at work.
    erases : Out(dies)
        It is an erase that was begun last.
    resume, resume_die : Out
        This die is to go on. Registered.
    quiet : Out(1)
        Nothing here changes at the coming clock edge, if nothing is chosen.
    """

    def __init__(self, profile):
        self._suspend = profile.timing.suspend
        self._page_bits = ceil_log2(profile.geometry.pages)
        super().__init__(suspension_signature(profile.geometry.dies))

    def elaborate(self, platform):
        m = Module()
        most = (self._suspend.program_most, self._suspend.erase_most)
        count = len(self.waiting)
        yields = Signal(count)  # the operation may still be interrupted
        m.submodules.blocks = blocks = memory.Memory(
            shape=ROW_BITS - self._page_bits, depth=max(2, count), init=[]
        )
        m.submodules.given = given = memory.Memory(
            shape=bits_for(max(most)), depth=max(2, count), init=[]
        )
        begun, block = blocks.write_port(), blocks.read_port(domain="comb")
        counted, so_far = given.write_port(), given.read_port(domain="comb")

        keeps = Signal()  # the read asked for closes its die
        resumes = Signal(count)
        resume = Signal()
        m.d.comb += [
            self.interrupts.eq(self.waiting & self.working & self.busy & yields & ~self.suspended),
            self.open.eq(self.suspended & yields),
            block.addr.eq(self.asked_die),
            self.conflict.eq(
                self.working.bit_select(self.asked_die, 1)
                & (block.data == self.asked_row[self._page_bits :])
            ),
            keeps.eq(self.asked & self.conflict & yields.bit_select(self.asked_die, 1)),
            resumes.eq(self.suspended & self.usable & ~self.holds & ~(self.waiting & yields)),
            resume.eq(resumes.any() & ~self.chosen),
            self.quiet.eq(~keeps & (self.resume == resumes.any())),
            begun.addr.eq(self.die),
            begun.data.eq(self.row[self._page_bits :]),
            so_far.addr.eq(self.die),
            counted.addr.eq(self.die),
        ]
        m.d.sync += self.resume.eq(resume)
        for die in reversed(range(count)):
            with m.If(resumes[die]):
                m.d.sync += self.resume_die.eq(die)

        def put(value, vector, die=self.die):
            return vector.bit_select(die, 1).eq(value)

        with m.If(keeps):
            m.d.sync += put(0, yields, self.asked_die)
        with m.If(self.chosen), m.Switch(self.choice):
            for sequence, limit in ((Sequence.PROGRAM, most[0]), (Sequence.ERASE, most[1])):
                with m.Case(sequence):
                    m.d.sync += put(limit > 0, yields)
                    m.d.sync += put(sequence == Sequence.ERASE, self.erases)
                    m.d.comb += [begun.en.eq(1), counted.en.eq(1), counted.data.eq(0)]
            with m.Case(Sequence.RESET, Sequence.RECOVER):
                m.d.sync += [put(0, yields), put(0, self.suspended)]
            with m.Case(Sequence.SUSPEND_PROGRAM, Sequence.SUSPEND_ERASE):
                m.d.sync += put(1, self.suspended)
            with m.Case(Sequence.RESUME_PROGRAM, Sequence.RESUME_ERASE):
                m.d.sync += put(0, self.suspended)
            with m.Case(Sequence.READ, Sequence.READ_CACHE):
                with m.If(self.suspended.bit_select(self.die, 1)):
                    last = Mux(self.erases.bit_select(self.die, 1), most[1] - 1, most[0] - 1)
                    m.d.comb += [counted.en.eq(1), counted.data.eq(so_far.data + 1)]
                    with m.If(so_far.data == last):
                        m.d.sync += put(0, yields)
        return m
