"""A channel with an SDR PHY on the bench."""

import dataclasses
from fractions import Fraction

from amaranth.hdl import Cat

from rtl.phy.sdr import SdrPhy
from rtl.phy.sdr_timing import sdr_timing
from tests.rtl.phy.channel import PinBench, small_part
from tests.rtl.phy.sdr_pins import SdrDies

__all__ = ["SdrBench"]


class SdrBench(PinBench):
    """Looks at the pins once in a clock.

    Parameters
    ----------
    mode : int
        SDR timing mode.
    clock_hz : int
    dies, planes : int
    stalls : float
        See `PinBench`.
    clocks : dict, optional
        Changes to the PHY's `SdrClocks`: a fault.
    timing : dict, optional
        Changes to the controller's times.
    wires : Wires, optional
    t_rst_ns : int, optional
        Of the PHY.
    """

    def __init__(
        self,
        mode,
        clock_hz,
        *,
        dies=2,
        planes=1,
        stalls=0,
        clocks=None,
        timing=None,
        wires=None,
        t_rst_ns=None,
    ):
        part = small_part(dies, planes, lambda times: sdr_timing(times, mode, clock_hz))
        phy = SdrPhy(part, mode, clock_hz, t_rst_ns=t_rst_ns)
        times = dataclasses.replace(part.timing, **(timing or {}))
        part = dataclasses.replace(part, timing=times)
        phy._clocks = dataclasses.replace(phy._clocks, **(clocks or {}))
        super().__init__(part, phy, clock_hz, stalls, wires)
        self.pins = SdrDies(late_ns=4)

    async def board(self, ctx):
        pads, package, dies = self.channel.phy.pads, self.channel.package.phy, self.dies
        levels = Cat(pads.ce_n, pads.cle, pads.ale, pads.we_n, pads.re_n, pads.wp_n, pads.dq.oe)
        now, asked = Fraction(0), False
        while True:
            if asked:
                self.pins.answer(self.word(ctx))
            level, dq = ctx.get(levels), ctx.get(pads.dq.o)
            cle, ale, we, re, wp, oe = (level >> dies + n & 1 for n in range(6))
            ce = ~level & ((1 << dies) - 1)
            ready = ctx.get(package.ready)
            pins = {"ce": ce, "cle": cle, "ale": ale, "we": we, "re": re, "wp": wp}
            asked = self.give_symbol(ctx, self.pins.clock(now, {**pins, "dq": dq, "oe": oe}, ready))
            now += self.period_ns
            ctx.set(pads.dq.i, self.pins.dq(now))
            ctx.set(pads.rb_n, self.wires.ready(self.pins.pin_ready(now, ready, dies)))
            await ctx.tick()
