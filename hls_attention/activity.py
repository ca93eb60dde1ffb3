"""Activity: tells when a block has come to rest."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Activity"]

SETTLING_CLOCKS = 7
"""Longest way of anything between two events that are seen: a queue takes two clocks."""


class Activity(wiring.Component):
    """Quiet once nothing has happened for a few clocks.

    Members
    -------
    active : In(1)
        Something changes in this clock; must cover every event but what follows it within a few
        clocks.
    quiet : Out(1)
        Nothing changes until an input does. Falls with ``active``, in the same clock.
    """

    active: In(1)
    quiet: Out(1)

    def elaborate(self, platform):
        m = Module()
        settling = Signal(range(SETTLING_CLOCKS + 1), init=SETTLING_CLOCKS)
        with m.If(self.active):
            m.d.sync += settling.eq(SETTLING_CLOCKS)
        with m.Elif(settling != 0):
            m.d.sync += settling.eq(settling - 1)
        m.d.comb += self.quiet.eq(~self.active & (settling == 0))
        return m
