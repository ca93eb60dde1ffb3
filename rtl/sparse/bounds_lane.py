"""One channel of a unit: its smallest and largest element in, their byte out. Latency 4.

`hls_attention.bounds_code` says what a byte is. A code counts in one, two or four steps, which the
whole block has to agree on.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hls_attention.bounds_code import BLOCK_UNITS, LEAST_FIELD, MOST_DELTA, MOST_LOW

from ..half_steps import HALF_STEP_LATENCY, HalfSteps

__all__ = ["BOUNDS_LATENCY", "SCALES", "BoundsLane"]

SCALES = 3
"""A code counts in ``2^scale`` steps."""

BOUNDS_LATENCY = HALF_STEP_LATENCY + 1


class BoundsLane(wiring.Component):
    """Byte of two bounds, and which scales it does not fit.

    Members
    -------
    low, high : In(signed(16))
        Keys (`hls_attention.words.key_of`).
    field : In(8)
        Largest exponent field of the channel in the block.
    bf16 : In(1)
    scale : In(range(SCALES)), unit : In(range(BLOCK_UNITS))
        The scale that the block has agreed on, and the unit's number in it. Three clocks later.
    misfits : Out(SCALES - 1)
        Scales that are too fine; the last one fits all.
    o : Out(8)
        The byte.
    """

    def __init__(self):
        super().__init__(
            {
                "low": In(signed(16)),
                "high": In(signed(16)),
                "field": In(8),
                "bf16": In(1),
                "scale": In(range(SCALES)),
                "unit": In(range(BLOCK_UNITS)),
                "misfits": Out(SCALES - 1),
                "o": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        halves = []
        base = [Signal(8, name=f"base_{rank}") for rank in range(HALF_STEP_LATENCY + 1)]
        m.d.comb += base[0].eq(Mux(self.field > LEAST_FIELD, self.field, LEAST_FIELD))
        m.d.sync += [later.eq(value) for later, value in zip(base[1:], base)]
        for name in ("low", "high"):
            m.submodules[name] = steps = HalfSteps()
            m.d.comb += [
                steps.key.eq(getattr(self, name)),
                steps.base.eq(base[0]),
                steps.bf16.eq(self.bf16),
            ]
            halves.append(steps.o)

        code = Signal(7)
        misfits = []
        for scale in range(SCALES):
            low, high = ((half + (1 << scale)) >> (scale + 1) for half in halves)
            delta = high - low
            misfits.append((delta > MOST_DELTA) | (low > MOST_LOW))
            with m.If(self.scale == scale):
                m.d.comb += code.eq(Cat(low[:4], delta[:3]))
        exponent = Signal(8)
        m.d.comb += exponent.eq(base[-1] - LEAST_FIELD + 1 + self.scale)
        m.d.sync += [
            self.misfits.eq(Cat(misfits[: SCALES - 1])),
            self.o.eq(Cat(code, exponent.bit_select(self.unit, 1))),
        ]
        return m
