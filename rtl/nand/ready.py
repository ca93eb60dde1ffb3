"""R/B# as the die table may believe it: high for tRR, and not during tWB."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["ReadyFilter"]


class ReadyFilter(wiring.Component):
    """Delays the rise of R/B# by tRR; its fall shows at once.

    Parameters
    ----------
    dies : int
        Dies on the channel.
    t_rr : int
        tRR in clocks.

    Members
    -------
    ready : In(dies)
        R/B# of the dies, 1 = ready.
    settling, settling_die : In
        tWB of this die is running: its R/B# says nothing yet.
    settled : Out(dies)
        Dies that are ready and may be used.
    blind : Out(dies)
        The die whose tWB is running, one bit each.
    stable : Out(1)
        Nothing has changed for tRR.
    """

    def __init__(self, dies, t_rr):
        self._t_rr = t_rr
        super().__init__(
            {
                "ready": In(dies),
                "settling": In(1),
                "settling_die": In(max(1, ceil_log2(dies))),
                "settled": Out(dies),
                "blind": Out(dies),
                "stable": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        dies = len(self.ready)
        stages = [self.ready]
        for number in range(self._t_rr):
            stages.append(Signal(dies, init=(1 << dies) - 1, name=f"ready_{number + 1}"))
        high = stages[0]
        for stage in stages[1:]:
            high = high & stage
        m.d.comb += [
            self.stable.eq(Cat(self.ready == stage for stage in stages[1:]).all()),
            self.blind.eq(self.settling << self.settling_die),
            self.settled.eq(high & ~self.blind),
        ]
        # Standing still saves simulation time, and says that nothing is under way.
        with m.If(~self.stable):
            m.d.sync += [late.eq(early) for early, late in zip(stages, stages[1:])]
        return m
