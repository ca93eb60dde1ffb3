"""Picks one of the dies that ask, in turn, into a register."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["Picker"]


class Picker(wiring.Component):
    """Round robin with a registered result. Latency 1.

    Parameters
    ----------
    dies : int

    Members
    -------
    asking : In(dies)
    drop : In(1)
        Who asks may change with this clock: pick again.
    hurried, hurried_die : In
        This die asks and goes first.
    used : In(1)
        The pick is used; the next one starts behind it.
    valid, die : Out
        One that asks.
    quiet : Out(1)
        The pick does not change at the coming clock edge, if it is not dropped.
    """

    def __init__(self, dies):
        die = max(1, ceil_log2(dies))
        super().__init__(
            {
                "asking": In(dies),
                "drop": In(1),
                "hurried": In(1),
                "hurried_die": In(die),
                "used": In(1),
                "valid": Out(1),
                "die": Out(die),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        dies = len(self.asking)
        passed = Signal(dies)  # dies up to the one used last
        later = Signal(dies)
        next_die = Signal(len(self.die))
        m.d.comb += [later.eq(self.asking & ~passed), next_die.eq(self.die)]
        for candidates in (self.asking, later):
            for die in reversed(range(dies)):
                with m.If(candidates[die]):
                    m.d.comb += next_die.eq(die)
        with m.If(self.hurried):
            m.d.comb += next_die.eq(self.hurried_die)
        m.d.comb += self.quiet.eq((self.valid == self.asking.any()) & (self.die == next_die))
        m.d.sync += [self.valid.eq(self.asking.any() & ~self.drop), self.die.eq(next_die)]
        with m.If(self.used):
            m.d.sync += passed.eq((2 << self.die) - 1)
        return m
