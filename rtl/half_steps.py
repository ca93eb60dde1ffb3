"""An element in steps of half a code of bounds (`hls_attention.bounds_code`). Latency 3.

::

    key --> significand, distance to base --> shifted down, what fell off --> rounded down, signed

Bounds are kept as keys (`hls_attention.words.key_of`).
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hls_attention.formats import BF16, FP16
from hls_attention.words import exponent_field, key_of

__all__ = ["HALF_STEP_BITS", "HALF_STEP_LATENCY", "HalfSteps"]

HALF_STEP_BITS = 5
"""Half steps are -16..15."""

HALF_STEP_LATENCY = 3

STEP_BIT = FP16.fraction_bits - 3
"""Bit of a significand with the largest exponent that is half a step."""

MOST_DISTANCE = HALF_STEP_BITS - 1
"""From this distance on nothing is left but the sign."""


class HalfSteps(wiring.Component):
    """Steps of ``2^(base - 3 - bias)``, rounded down; one element a clock.

    Members
    -------
    key : In(16)
        Its exponent is at most that of ``base``.
    base : In(8)
        Exponent field, `hls_attention.bounds_code.LEAST_FIELD` or more.
    bf16 : In(1)
    o : Out(signed)
    """

    def __init__(self):
        super().__init__(
            {
                "key": In(16),
                "base": In(8),
                "bf16": In(1),
                "o": Out(signed(HALF_STEP_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word = key_of(self.key).as_unsigned()
        field = exponent_field(word, self.bf16)
        normal = field != 0
        less = FP16.fraction_bits - BF16.fraction_bits
        fraction = Mux(self.bf16, word[: BF16.fraction_bits] << less, word[: FP16.fraction_bits])
        distance = (self.base - Cat(field[0] | ~normal, field[1:]))[:8]

        significand = Signal(FP16.fraction_bits + 1)
        places = Signal(range(MOST_DISTANCE + 1))
        negative, below = Signal(2), Signal()  # ``below``: some of it fell off
        whole = Signal(HALF_STEP_BITS - 1)
        m.d.sync += [
            significand.eq(Cat(fraction[: FP16.fraction_bits], normal)),
            places.eq(Mux(distance < MOST_DISTANCE, distance, MOST_DISTANCE)),
            negative.eq(Cat(word[15], negative[0])),
            self.o.eq(Mux(negative[1], Cat(~whole, 1).as_signed() + ~below, whole)),
        ]
        with m.Switch(places):
            for number in range(MOST_DISTANCE + 1):
                with m.Case(number):
                    m.d.sync += [
                        whole.eq(significand[STEP_BIT + number :]),
                        below.eq(significand[: STEP_BIT + number].any()),
                    ]
        return m
