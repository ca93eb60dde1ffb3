"""All dies of one channel behind one bus: chip enables, shared data lines, one array port."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .array_port import ArrayPortSignature
from .die import Die
from .die_state import behind_bits, die_state, timer_bits
from .onfi import BusCycle

__all__ = ["ChannelDies"]


class _BusSignature(wiring.Signature):
    """The bus as the controller sees it (member for member the PHY signature of the controller)."""

    def __init__(self, dies):
        super().__init__(
            {
                "die": Out(max(1, ceil_log2(dies))),
                "cycle": Out(BusCycle),
                "strobe": Out(1),
                "w_data": Out(64),
                "r_valid": In(1),
                "r_data": In(64),
                "ready": In(dies),
            }
        )

    def __eq__(self, other):
        return type(self) is type(other) and self.members == other.members


class ChannelDies(wiring.Component):
    """The dies of one channel. Read data come one clock after their strobe.

    Parameters
    ----------
    profile : Profile
    clock_hz : int
        Core clock.
    wrap : callable, optional
        ``wrap(name, factory)`` returns the component to place for the dies' behaviour; the default
        calls ``factory()``. A build can have the module written once for all channels.

    Members
    -------
    phy : In(PHY signature)
        The bus, as seen from the controller.
    array : Out(ArrayPortSignature)
        Registers and cells.
    write_protect : In(1)
        WP#, 1 = low: no die programs or erases.
    hang : In(dies)
        A fault: time stands still for these dies, so one that is busy stays busy.
    skip : In(32)
        In this clock, all timers advance by ``skip + 1``. At most ``next_event - 1``.
    next_event : Out(32)
        Clocks until R/B# of a die rises next; all ones if none will. That an array comes to rest
        behind a ready die is no event: it shows in nothing but the status byte.
    """

    def __init__(self, profile, clock_hz, *, wrap=None):
        self._profile = profile
        self._clock_hz = clock_hz
        self._wrap = wrap or (lambda name, factory: factory())
        self._dies = profile.geometry.dies
        super().__init__(
            {
                "phy": In(_BusSignature(self._dies)),
                "array": Out(ArrayPortSignature(self._dies)),
                "write_protect": In(1),
                "hang": In(self._dies),
                "skip": In(32),
                "next_event": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        phy, array = self.phy, self.array
        timing, hz = self._profile.timing, self._clock_hz
        planes = self._profile.geometry.planes
        m.submodules.die = die = self._wrap("nand_die", self._die)
        m.submodules.states = states = memory.Memory(
            shape=die_state(timing, self._profile.geometry, hz), depth=max(2, self._dies), init=[]
        )
        state_w = states.write_port()
        state_r = states.read_port(domain="comb")
        timers = [
            Signal(timer_bits(timing, hz), name=f"timer_{index}") for index in range(self._dies)
        ]
        # What the array does behind the cache register; counts once R/B# is high.
        arrays = [
            Signal(behind_bits(timing, hz), name=f"array_{index}") for index in range(self._dies)
        ]
        # Left of what is suspended; its verdict stays with the die's state.
        kept = [Signal.like(timer, name=f"kept_{index}") for index, timer in enumerate(timers)]
        verdicts = Signal(self._dies * planes)  # the array has failed
        m.d.comb += [
            phy.ready.eq(Cat(timer == 0 for timer in timers)),
            state_r.addr.eq(phy.die),
            state_w.addr.eq(phy.die),
            state_w.data.eq(die.next_state),
            state_w.en.eq(phy.strobe),
            die.state.eq(state_r.data),
            die.ready.eq(phy.ready.bit_select(phy.die, 1)),
            die.left.eq(Cat(*timers).word_select(phy.die, len(timers[0]))),
            die.kept.eq(Cat(*kept).word_select(phy.die, len(timers[0]))),
            die.behind.eq(Cat(*arrays).word_select(phy.die, len(arrays[0]))),
            die.verdict.eq(verdicts.word_select(phy.die, planes)),
            die.write_protect.eq(self.write_protect),
            die.cycle.eq(phy.cycle),
            die.strobe.eq(phy.strobe),
            die.symbol.eq(phy.w_data[:8]),
            array.op_valid.eq(die.op_valid),
            array.op.eq(die.op),
            array.op_die.eq(phy.die),
            array.op_row.eq(die.op_row),
            array.op_plane.eq(die.op_plane),
            array.op_planes.eq(die.op_planes),
            array.op_clocks.eq(die.busy_clocks + die.behind_clocks),
            array.reg_read.eq(die.reg_read),
            array.reg_write.eq(die.reg_write),
            array.reg_die.eq(phy.die),
            array.reg_plane.eq(die.plane),
            array.reg_column.eq(die.column),
            array.reg_w_data.eq(phy.w_data),
        ]

        def count_down(timer):
            m.d.sync += timer.eq(0)
            with m.If(timer > self.skip):
                m.d.sync += timer.eq(timer - self.skip[: len(timer)] - 1)

        for hangs, timer, array_timer in zip(self.hang, timers, arrays):
            # A skip ends with the first rise of R/B# at the latest, so one of the two counts in it.
            with m.If((timer != 0) & ~hangs):
                count_down(timer)
            with m.Elif((array_timer != 0) & ~hangs):
                count_down(array_timer)
        with m.If(die.starts), m.Switch(phy.die):
            for index, (timer, array_timer) in enumerate(zip(timers, arrays)):
                with m.Case(index):
                    m.d.sync += [timer.eq(die.busy_clocks), array_timer.eq(die.behind_clocks)]

        if timing.suspend is not None:
            with m.If(die.keeps), m.Switch(phy.die):
                for index in range(self._dies):
                    with m.Case(index):
                        m.d.sync += kept[index].eq(timers[index] - 1)
        judged = Signal()
        judged_die = Signal.like(phy.die)
        m.d.sync += [judged.eq(array.op_valid), judged_die.eq(phy.die)]
        with m.If(judged & array.op_failed.any()):
            m.d.sync += verdicts.word_select(judged_die, planes).eq(array.op_failed)
        with m.If(die.starts):
            m.d.sync += verdicts.word_select(phy.die, planes).eq(die.verdict_then)

        answered = Signal()
        answer = Signal(64)
        m.d.sync += phy.r_valid.eq(0)
        with m.If(phy.strobe & (phy.cycle == BusCycle.READ)):
            m.d.sync += [phy.r_valid.eq(1), answered.eq(die.answers)]
            with m.If(die.answers):
                m.d.sync += answer.eq(die.answer)
        m.d.comb += phy.r_data.eq(Mux(answered, answer, array.reg_r_data))

        m.d.comb += self.next_event.eq(self._first_event(m, timers))
        return m

    def _die(self):
        return Die(self._profile.timing, self._profile.geometry, self._clock_hz)

    def _first_event(self, m, timers):
        """Smallest running timer, by a tree; one that has ended (0) wraps around to the largest."""
        bits = len(timers[0])
        level = [Mux(hangs, ~0, timer - 1)[:bits] for hangs, timer in zip(self.hang, timers)]
        depth = 0
        while len(level) > 1:
            pairs = []
            for index in range(0, len(level) - 1, 2):
                first = Signal(bits, name=f"first_{depth}_{index // 2}")
                m.d.comb += first.eq(
                    Mux(level[index] < level[index + 1], level[index], level[index + 1])
                )
                pairs.append(first)
            level = pairs + level[len(level) & ~1 :]
            depth += 1
        return Mux((self.phy.ready | self.hang).all(), Const(0xFFFF_FFFF, 32), level[0] + 1)
