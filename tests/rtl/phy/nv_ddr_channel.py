"""A channel with an NV-DDR PHY on the bench, and a model of DDR buffers."""

import dataclasses
from fractions import Fraction

from amaranth.hdl import Cat, Value

from rtl.phy.nv_ddr import NvDdrPhy
from rtl.phy.nv_ddr_timing import nv_ddr_timing
from tests.rtl.phy.channel import PinBench, small_part
from tests.rtl.phy.nv_ddr_pins import NvDdrDies
from tests.rtl.phy.sdr_pins import SdrDies

__all__ = ["NvDdrBench"]


class NvDdrBench(PinBench):
    """Looks at the pins twice in a clock.

    Outputs go through a register, of which DQ and DQS show one half before the falling edge of the
    clock and the other behind it. Inputs are taken at both edges and shown together at the next
    rising one. So do the buffers of AMD's parts.

    Parameters
    ----------
    mode : int
        NV-DDR timing mode.
    clock_hz : int
    offset : int or None
        Of the PHY.
    dies, planes : int
    stalls : float
        See `PinBench`.
    dqsck_ns : float
        See `NvDdrDies`.
    clocks : dict, optional
        Changes to the PHY's `NvDdrClocks`: a fault.
    wires : Wires, optional
    t_rst_ns : int, optional
        Of the PHY.

    Attributes
    ----------
    offset : int
        What the PHY has at the end.
    """

    def __init__(
        self,
        mode,
        clock_hz,
        offset,
        *,
        dies=2,
        planes=1,
        stalls=0,
        dqsck_ns=12,
        clocks=None,
        wires=None,
        t_rst_ns=None,
    ):
        part = small_part(dies, planes, lambda times: nv_ddr_timing(times, mode, clock_hz))
        phy = NvDdrPhy(part, mode, clock_hz, offset=offset, t_rst_ns=t_rst_ns)
        phy._clocks = dataclasses.replace(phy._clocks, **(clocks or {}))
        super().__init__(part, phy, clock_hz, stalls, wires)
        self.sdr = SdrDies(late_ns=0)
        self.pins = NvDdrDies(mode, dqsck_ns)
        self.dqsck_ns = Fraction(dqsck_ns)

    async def board(self, ctx):
        phy, package, dies = self.channel.phy, self.channel.package.phy, self.dies
        pads = phy.pads
        levels = Cat(pads.ce_n, pads.cle, pads.ale, pads.we_n, pads.re_n, pads.wp_n)
        driven = Cat(pads.dq.oe, pads.dqs.oe, *(Value.cast(x) for x in (pads.dqs.o, pads.dq.o)))
        now, asked, begun, told, cut = Fraction(0), False, False, False, False
        held = ctx.get(levels), ctx.get(driven)
        half = self.period_ns / 2
        while True:
            if asked:
                self.pins.dqsck_ns = self.dqsck_ns + Fraction(self.wires.late.get(self._read, 0))
                self.pins.answer(self.word(ctx))
            taken = [self.pins.dq(now - self.period_ns), self.pins.dq(now - half)]
            ctx.set(pads.dq.i, taken)
            level, out = held
            cle, ale, we, re, wp = (level >> dies + n & 1 for n in range(5))
            pins = {"ce": ~level & ((1 << dies) - 1), "cle": cle, "ale": ale, "we": we, "re": re}
            pins |= {"wp": wp, "oe": out & 1, "dqs_oe": out >> 1 & 1}
            ready = ctx.get(package.ready)
            begun = begun or pins["ce"]
            all_told = len(self.told()) == dies - len(self.wires.deaf)
            told = told or (begun and all_told and not pins["ce"])
            cut = cut or ctx.get(self.channel.reset)
            if cut and not pins["ce"]:  # the pins of an FPGA that was reset
                begun = told = cut = False
                self.sdr.forget()
            symbols = []
            for n in range(0 if cut else 2):
                pins |= {"dqs": out >> 2 + n & 1, "dq": out >> 4 + 8 * n & 255}
                if told:
                    symbols.append(self.pins.half(now + n * half, dict(pins), ready))
                elif n == 0:
                    sdr = {name: pins[name] for name in pins if not name.startswith("dqs")}
                    symbols.append(self.sdr.clock(now, sdr, ready))
            symbols = [symbol for symbol in symbols if symbol is not None]
            assert len(symbols) <= 1, symbols
            asked = self.give_symbol(ctx, symbols[0] if symbols else None)
            held = ctx.get(levels), ctx.get(driven)
            self.offset = ctx.get(phy.offset)
            now += self.period_ns
            side = self.pins if told else self.sdr
            ctx.set(pads.rb_n, self.wires.ready(side.pin_ready(now, ready, dies)))
            await ctx.tick()

    def told(self):
        """What dies have been told of their interface, on SDR pins: die -> feature."""
        cycles = self.sdr.cycles
        return {
            die: word
            for (die, kind, word), before in zip(cycles[1:], cycles)
            if kind == 3 and before[1:] == (2, 0x01)
        }
