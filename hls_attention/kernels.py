"""The arithmetic of attention: five kernels, each the only definition of its step.

    q  -- quantise_query --> qi --+
    K  -------------------------- product -- sum over the head --> acc -- score --> s
    M = ceil(max s) --------------------------------------------------- weight --> w -- sum --> l
    V  -------------------------- product(w, V) -- sum over tokens --> o
                                                            o, l -- normalise --> FP16

Between the kernels there are only exact integer additions, so no order matters. Rounding is to
nearest, halves up, where a kernel does not say otherwise. Numbers are FP16 bit patterns with
x = sig * 2**(e - 24), e = 0..29 (`formats`); a block exponent is the largest e of a block. An
infinity or NaN has e = 30 here and gives some meaningless number: the caller has flagged its head.

Bounds: heads of at most `MAX_HEAD_DIM` elements, passes of at most `MAX_TOKENS` tokens. They make
|acc| < 2**54, l < 2**62 and |o| < 2**62.
"""

from hls_attention.expressions import (
    absolute,
    clamp,
    concat,
    conditional_negate,
    lookup,
    maximum,
    minimum,
    mux,
    round_shift,
    shift_to_top,
)
from hls_attention.formats import FP16
from hls_attention.hls import bits, kernel, signed

__all__ = [
    "MAX_HEAD_DIM",
    "MAX_TOKENS",
    "normalise",
    "product",
    "quantise_query",
    "score",
    "weight",
]

MAX_HEAD_DIM = 256
MAX_TOKENS = 65_535

QUERY_BITS = 12
"""Bits a query element gains below its own least one, before alignment to the head's exponent."""

K_GUARD_BITS = 12
"""Bits kept below the least one of a product of the K pass."""

WEIGHT_BITS = 20
"""Fraction bits of a weight's mantissa: 1.0 is 2**20."""

V_GUARD_BITS = 15
"""Bits kept below the least one of a product of the V pass."""

SCORE_BITS = 16
"""Fraction bits of a score."""

TERM_BITS = 26
"""Bits the sum of weights keeps below a weight's mantissa: its LSB is 2**-46."""

SCALE_BITS = 26
"""Bits of the score scale's mantissa."""

_MOST_SIG = FP16.most_significand
_MOST_PRODUCT = _MOST_SIG << WEIGHT_BITS + V_GUARD_BITS
_MOST_SUM = (1 << 62) - 1


def decode(x):
    """Significand and exponent of an FP16 bit pattern."""
    fraction, field, sign = x[0:10], x[10:15], x[15]
    normal = field != 0
    significand = conditional_negate(sign, concat(fraction, normal))
    return significand, (field - normal).known(0, FP16.top_exponent + 1)


@kernel(inputs={"x": bits(16), "q_exp": bits(5)}, outputs={"qi": signed(24)})
def quantise_query(x, q_exp):
    """Align a query element to its head's block exponent: q = qi * 2**(q_exp - 36).

    Worst error: 0.5 LSB, which is 2**-24 of the largest magnitude its exponent allows.

    Parameters
    ----------
    x : FP16 bits
    q_exp : largest exponent of the head; not less than that of x.
    """
    sig, e = decode(x)
    return {"qi": round_shift(sig << QUERY_BITS, q_exp - e)}


@kernel(
    inputs={
        "a": signed(25),
        "x": bits(16),
        "block_exp": bits(5),
        "drop": bits(7),
        "pass_v": bits(1),
    },
    outputs={"p": signed(48)},
)
def product(a, x, block_exp, drop, pass_v):
    """One product, aligned to its block: the multiplier that serves both passes.

    K pass: p * 2**(block_exp - 36) = qi * k, a = qi, drop = 0.
    V pass: p * 2**(block_exp - 59) = w * v,  w = a * 2**(-20 - drop).

    Worst error: 0.5 LSB.

    Parameters
    ----------
    a : K pass: qi, within +-(2047 << 12); V pass: a weight's mantissa, 0..2**20.
    x : FP16 bits of K or V.
    block_exp : largest exponent of K or V; not less than that of x.
    drop : integer part of the weight's negated exponent.
    pass_v : 1 in the V pass.
    """
    sig, e = decode(x)
    exact = a * sig
    raised = mux(pass_v, exact << V_GUARD_BITS, exact << K_GUARD_BITS)
    bounded = raised.known(-_MOST_PRODUCT, _MOST_PRODUCT)
    return {"p": round_shift(bounded, block_exp - e + drop)}


@kernel(
    inputs={
        "acc": signed(64),
        "scale_mant": bits(26),
        "scale_exp": signed(6),
        "q_exp": bits(5),
        "k_exp": bits(5),
    },
    outputs={"s": signed(32), "saturated": bits(1)},
)
def score(acc, scale_mant, scale_exp, q_exp, k_exp):
    """A score in units of log2, 16 fraction bits, from the exact sum of a head's products.

    s * 2**-16 = acc * 2**(q_exp + k_exp - 72) * scale_mant * 2**(scale_exp - 26)

    Rounded symmetrically about 0, twice: to 35 significant bits, and at the end. Saturates at
    +-(2**31 - 1). Worst error: 0.5 LSB + 2**-35 of the score.

    Parameters
    ----------
    acc : within +-2**54.
    scale_mant, scale_exp : scale * log2(e), see `twin.encode_scale`.
    q_exp, k_exp : block exponents.
    """
    width, kept = 55, 35
    magnitude = absolute(acc.known(-(1 << width - 1), 1 << width - 1))
    top, zeros = shift_to_top(magnitude, width)
    scaled = round_shift(top, width - kept) * scale_mant
    least = 27  # scaled is 0 or at least 2**59: shifted by this or less, it saturates
    places = zeros - (q_exp + k_exp + scale_exp) + (72 + SCALE_BITS - SCORE_BITS - (width - kept))
    rounded = round_shift(scaled >> least, places - least)
    most = (1 << 31) - 1
    return {"s": conditional_negate(acc < 0, minimum(rounded, most)), "saturated": rounded > most}


_EXP2_STEP_BITS = 8
_EXP2_BITS = 24
_EXP2 = [round(2 ** (_EXP2_BITS - step / 256)) for step in range(257)]


@kernel(
    inputs={"s": signed(32), "m": signed(17)},
    outputs={"mant": bits(WEIGHT_BITS + 1), "drop": bits(7), "term": bits(47)},
)
def weight(s, m):
    """The weight 2**(s - m) of a token and its share of the sum of weights.

    w = mant * 2**(-20 - drop), l gains term * 2**-46. The fraction goes through a table of 256
    entries with linear interpolation; the integer part is a shift, which the V pass does.

    Worst error of mant * 2**-20 against 2**-f over all fractions f: 1.373e-06.

    Parameters
    ----------
    s : score, at most m << 16.
    m : the pass's reference, ceil(max s).
    """
    distance = ((m << SCORE_BITS) - s).known(0, (1 << 33) - 1)
    drop = minimum(distance >> SCORE_BITS, 127)
    fine = SCORE_BITS - _EXP2_STEP_BITS
    step, within = distance[fine:SCORE_BITS], distance[0:fine]
    start = lookup(step, _EXP2[:-1])
    fall = lookup(step, [a - b for a, b in zip(_EXP2, _EXP2[1:])])
    exact = (start << fine) - fall * within
    mant = round_shift(exact, fine + _EXP2_BITS - WEIGHT_BITS).known(0, 1 << WEIGHT_BITS)
    term = round_shift(mant << TERM_BITS, drop)
    return {"mant": mant, "drop": drop, "term": term}


@kernel(inputs={"o": signed(64), "l": bits(63), "v_exp": bits(5)}, outputs={"x": bits(16)})
def normalise(o, l, v_exp):
    """The output o / l as FP16: exact division, one rounding to nearest even, subnormals included.

    x = o * 2**(v_exp - 59) / (l * 2**-46); overflow gives infinity where IEEE 754 says so; o = 0
    gives +0. Worst error: 0.5 ulp.

    Parameters
    ----------
    o : within +-(2**62 - 1).
    l : 1..2**62 - 1.
    v_exp : block exponent of V.
    """
    width, fraction = 62, FP16.fraction_bits + 2
    dividend, o_zeros = shift_to_top(absolute(o.known(-_MOST_SUM, _MOST_SUM)), width)
    divisor, l_zeros = shift_to_top(l.known(1, _MOST_SUM), width)

    # Restoring division of numbers in [1, 2): an integer bit, worth 2**exponent, and the fraction.
    exponent = l_zeros - o_zeros + v_exp + (TERM_BITS - V_GUARD_BITS + FP16.unit)
    remainder, quotient = dividend, None
    for _ in range(1 + fraction):
        rest = remainder - divisor
        fits = rest >= 0
        remainder = mux(fits, rest, remainder).known(0, _MOST_SUM) << 1
        quotient = fits if quotient is None else concat(fits, quotient)
    sticky = remainder != 0
    quotient = concat(sticky, quotient)
    top = quotient[fraction + 1]

    # Cut below the last place: that of 11 significant bits, or 2**-24 where that is higher.
    field = exponent + top + (FP16.bias - 1)  # exponent field, below 1 for subnormals
    cut = clamp(maximum(top + 1, (FP16.unit + fraction) - exponent), 1, fraction + 2)
    aligned = (quotient << fraction + 2) >> cut  # last place at bit fraction + 3, none lost
    mantissa, half, below = aligned[fraction + 3 :], aligned[fraction + 2], aligned[: fraction + 2]
    even = mantissa + (half & ((below != 0) | mantissa[0]))
    finite = (clamp(field - 1, 0, FP16.top_field) << FP16.fraction_bits) + even
    magnitude = minimum(finite, FP16.top_field << FP16.fraction_bits)
    return {"x": mux(o == 0, 0, concat(magnitude, o < 0))}
