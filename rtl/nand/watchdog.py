"""Dies that do not get ready: found, reset, and given up.

::

    R/B# low too long --> late: RESET (FFh) --> R/B# rises: the die goes on
                                            \\-> low too long again, as after any RESET: dead

One counter serves all dies. Its bit k flips every 2^k clocks, and with it a sweep goes along the
dies, one a clock. A die is late at the second sweep that finds its R/B# low, counting those sweeps
that belong to the pace of what it does: every 2^k clocks, ``margin`` times the operation's time or
up to twice that. So a die is late after ``margin`` to 4 ``margin`` times the time it should take.
The counter stands while no R/B# is low. A die that is low for no reason known has the time of an
erase.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from flash_model.timing import cycles

from .planes import planes_of
from .steps import Sequence

__all__ = ["MARGIN", "Watchdog"]

MARGIN = 2
"""Times of an operation after which its die may be late, at the earliest."""


class _Pace(enum.Enum, shape=2):
    """How long R/B# may be low."""

    ERASE = 0
    PROGRAM = 1
    READ = 2  # and suspend
    RESET = 3  # as long as READ


_PACES = {
    Sequence.READ: _Pace.READ,
    Sequence.READ_CACHE: _Pace.READ,
    Sequence.READ_CACHE_END: _Pace.READ,
    Sequence.PROGRAM: _Pace.PROGRAM,
    Sequence.ERASE: _Pace.ERASE,
    Sequence.READ_RETRY: _Pace.READ,
    Sequence.SUSPEND_PROGRAM: _Pace.READ,
    Sequence.SUSPEND_ERASE: _Pace.READ,
    Sequence.RESUME_PROGRAM: _Pace.PROGRAM,
    Sequence.RESUME_ERASE: _Pace.ERASE,
    Sequence.RESET: _Pace.RESET,
    Sequence.RECOVER: _Pace.RESET,
}

_PLANE_PACES = {
    Sequence.READ_PLANE: _Pace.READ,
    Sequence.PROGRAM_PLANE: _Pace.READ,
    Sequence.ERASE_PLANE: _Pace.READ,
}
"""tDBSY is shorter than tR."""


class Watchdog(wiring.Component):
    """Watches R/B# of the dies of a channel; one bit for each die in all ``dies`` wide members.

    Parameters
    ----------
    profile : Profile
    clock_hz : int
        Core clock.
    margin : int
        Times of an operation after which its die may be late, at the earliest; 1..64.

    Members
    -------
    settled : In(dies)
        R/B# is high for long enough.
    sent : In(dies)
        A sequence was chosen that the bus has not done yet.
    chosen, choice, die : In
        This sequence was chosen.
    recover, recover_die : Out
        This die is late: it is to be reset, and until then no other is looked at.
    dead : Out(dies)
    skip : In(32)
        The counter advances by ``skip + 1`` in this clock. At most ``next_event - 1``.
    next_event : Out(32)
        Clocks until the next sweep; all ones if no R/B# is low.
    quiet : Out(1)
        Nothing but the counter changes before ``next_event``.
    """

    def __init__(self, profile, clock_hz, margin=MARGIN):
        if not 1 <= margin <= 64:
            raise ValueError(
                f"margin = {margin} is not possible: choose 1..64 times an operation's time"
            )
        timing, dies = profile.timing, profile.geometry.dies

        def bits(*times_ns):
            return bits_for(margin * cycles(timing.t_wb_ns + max(times_ns), clock_hz) - 1)

        t_susp_ns = timing.suspend.t_susp_ns if timing.suspend else 0
        read = bits(timing.t_r_ns + timing.t_rcbsy_ns, timing.t_rst_ns, t_susp_ns)
        self._paces = _PACES | (_PLANE_PACES if planes_of(profile) else {})
        self._bits = {
            _Pace.READ: read,
            _Pace.PROGRAM: max(read, bits(timing.t_prog_ns)),
            _Pace.ERASE: max(read, bits(timing.t_bers_ns)),
        }
        die = max(1, ceil_log2(dies))
        super().__init__(
            {
                "settled": In(dies),
                "sent": In(dies),
                "chosen": In(1),
                "choice": In(Sequence),
                "die": In(die),
                "recover": Out(1),
                "recover_die": Out(die),
                "dead": Out(dies),
                "skip": In(32),
                "next_event": Out(32),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        count = len(self.settled)
        bits, fastest = self._bits, self._bits[_Pace.READ]
        m.submodules.records = records = memory.Memory(
            shape=data.StructLayout({"pace": _Pace, "seen": 1}), depth=max(2, count), init=[]
        )
        write = records.write_port()
        read = records.read_port(domain="comb")

        low = Signal(count)
        time = Signal(max(bits.values()) + 1)
        after = Signal(len(time))
        flips = Signal(len(_Pace))  # which paces the sweep belongs to
        sweeps = Signal()
        die = self.recover_die
        m.d.comb += [
            low.eq(~(self.settled | self.sent | self.dead)),
            after.eq(time + self.skip[: len(time)] + 1),
            self.next_event.eq(Mux(low.any(), (1 << fastest) - time[:fastest], 0xFFFF_FFFF)),
            self.quiet.eq(~sweeps | self.recover),
        ]
        with m.If(low.any()):
            m.d.sync += time.eq(after)
            with m.If((time[fastest] != after[fastest]) & ~sweeps):
                m.d.sync += sweeps.eq(1)
                for pace in _Pace:
                    bit = bits.get(pace, fastest)
                    m.d.sync += flips[pace.value].eq(time[bit] != after[bit])

        starts = Signal()  # R/B# of `self.die` is to fall
        hit = Signal()  # the sweep finds a die low, at its pace
        expires = Signal()
        m.d.comb += [
            read.addr.eq(die),
            hit.eq(
                sweeps
                & ~self.recover
                & low.bit_select(die, 1)
                & flips.bit_select(read.data.pace.as_value(), 1)
            ),
            expires.eq(hit & read.data.seen),
            write.en.eq(starts | hit),
            write.addr.eq(die),
            write.data.pace.eq(read.data.pace),
            write.data.seen.eq(1),
        ]
        with m.If(self.chosen), m.Switch(self.choice):
            for sequence, pace in self._paces.items():
                with m.Case(sequence):
                    m.d.comb += [starts.eq(1), write.data.pace.eq(pace)]
        with m.If(starts):
            m.d.comb += [write.addr.eq(self.die), write.data.seen.eq(0)]
        with m.If(sweeps & ~starts & ~self.recover):
            with m.If(expires & (read.data.pace != _Pace.RESET)):
                m.d.sync += self.recover.eq(1)
            with m.Else():
                with m.If(expires):
                    m.d.sync += self.dead.bit_select(die, 1).eq(1)
                m.d.sync += die.eq(die + 1)
                with m.If(die == count - 1):
                    m.d.sync += [die.eq(0), sweeps.eq(0)]
        with m.If(self.chosen & (self.choice == Sequence.RECOVER)):
            m.d.sync += self.recover.eq(0)
        return m
