"""The arithmetic of attention: seven kernels, each the only definition of its step.

    q -- quantise_query ----------> qi --.
    K -- element --> sig, coarse --------+-- product -- sum over the head --> acc -- score --> s
    M = ceil(max s) ------------------------------------------------------- weight --> w, sum --> l
    V -- element --> sig, coarse --------+-- product(w, V) -- sum over tokens --> o
                                                      l, o of several passes -- align --> sums
                                                                o, l -- normalise --> FP16 or BF16

Between the kernels there are only exact integer additions, so no order matters. Rounding is to
nearest, halves up, where a kernel does not say otherwise.

Numbers are FP16 or BF16 bit patterns, x = sig * 2**(e + unit) with sig a signed 12-bit significand
and e from 0 (`formats`): unit is -24 for FP16 and, its significands moved up by three places, -136
for BF16. A block exponent is the largest e of a block. An infinity or NaN has an e beyond the
largest and gives some meaningless number: the caller has flagged its head.

Bounds: heads of at most `MAX_HEAD_DIM` elements, passes of at most `MAX_PASS_TOKENS` tokens, at
most `MAX_TOKENS` tokens in the passes of one result. They make |acc| <= 2**54, l <= 2**61 and
|o| < 2**61 for a pass.
"""

from hls_attention.expressions import (
    absolute,
    add_or_subtract,
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
from hls_attention.formats import ALIGNED_FRACTION_BITS, BF16, FP16
from hls_attention.hls import bits, kernel, signed

__all__ = [
    "CHAIN_GUARD_BITS",
    "MAX_HEAD_DIM",
    "MAX_PASS_TOKENS",
    "MAX_TOKENS",
    "align",
    "element",
    "normalise",
    "product",
    "quantise_query",
    "score",
    "weight",
]

MAX_HEAD_DIM = 256
MAX_PASS_TOKENS = 32_768
MAX_TOKENS = 131_072

QUERY_BITS = 12
"""Bits a query element gains below its own least one, before alignment to the head's exponent."""

K_GUARD_BITS = 12
"""Bits kept below the least one of a product of the K pass."""

WEIGHT_BITS = 20
"""Fraction bits of a weight's mantissa: 1.0 is 2**20."""

V_GUARD_BITS = 15
"""Bits kept below the least one of a product of the V pass."""

FINE = 2
"""An alignment is ``4 * coarse + fine`` places: the fine part, 0..3, is a shift to the left of an
operand before the multiplication, the coarse part one to the right of the product."""

SCORE_BITS = 16
"""Fraction bits of a score."""

TERM_BITS = 26
"""Bits the sum of weights keeps below a weight's mantissa: its LSB is 2**-46."""

SCALE_BITS = 26
"""Bits of the score scale's mantissa."""

CHAIN_GUARD_BITS = 2
"""Places that the sums of passes lose when they are added up: `MAX_TOKENS` of them still fit."""

_MOST_SIG = FP16.most_significand
_MOST_FINE = (1 << FINE) - 1
_MOST_COARSE = 15
_MOST_EXPONENT = BF16.top_field - 1  # that of an infinity or NaN
_BF16_OFFSET = FP16.aligned_unit - BF16.aligned_unit
_MOST_SUM = (1 << 62) - 1


def decode_magnitude(x, bf16):
    """Unsigned significand and exponent of a bit pattern: BF16 where ``bf16`` is 1, else FP16."""
    less = ALIGNED_FRACTION_BITS - BF16.fraction_bits
    fraction = mux(bf16, x[0 : BF16.fraction_bits] << less, x[0 : FP16.fraction_bits])
    field = mux(bf16, x[BF16.fraction_bits : 15], x[FP16.fraction_bits : 15])
    normal = field != 0
    return concat(fraction, normal), (field - normal).known(0, _MOST_EXPONENT)


def decode(x, bf16):
    """The same with the sign in the significand."""
    magnitude, e = decode_magnitude(x, bf16)
    return conditional_negate(x[15], magnitude), e


@kernel(
    inputs={"x": bits(16), "q_exp": bits(8), "bf16": bits(1)},
    outputs={"qi": signed(24)},
)
def quantise_query(x, q_exp, bf16):
    """Align a query element to its head's block exponent: q = qi * 2**(q_exp + unit - 12).

    Worst error: 0.5 LSB, which is 2**-24 of the largest magnitude its exponent allows.

    Parameters
    ----------
    x : bits of q
    q_exp : largest exponent of the head; not less than that of x.
    bf16 : 1 if x is BF16, 0 if FP16.
    """
    sig, e = decode(x, bf16)
    return {"qi": round_shift(sig << QUERY_BITS, q_exp - e)}


@kernel(
    inputs={"x": bits(16), "block_exp": bits(8), "bf16": bits(1)},
    outputs={"sig": signed(15), "coarse": bits(4)},
)
def element(x, block_exp, bf16):
    """An element of K or V, ready to be multiplied: shared by all query heads.

    x = sig * 2**-3 * 2**(block_exp + unit - 4 * coarse); coarse 15 stands for 15 or more, which
    leaves nothing of a product. Exact.

    Parameters
    ----------
    x : bits of K or V.
    block_exp : largest exponent of its block; not less than that of x.
    bf16 : 1 if x is BF16, 0 if FP16.
    """
    sig, e = decode(x, bf16)
    distance = (block_exp - e).known(0, BF16.top_field)
    return {
        "sig": (sig << _MOST_FINE) >> distance[0:FINE],
        "coarse": minimum(distance >> FINE, _MOST_COARSE),
    }


@kernel(
    inputs={
        "qi": signed(24),
        "a": bits(24),
        "sig": signed(15),
        "coarse": bits(4),
        "drop": bits(4),
    },
    outputs={"p": signed(47), "half": bits(1)},
)
def product(qi, a, sig, coarse, drop):
    """One product, aligned to its block: the multiplier that serves both passes.

    K pass: (p + half) * 2**(block_exp + q_exp + ...) = qi * k, kept to 12 bits below the product's
    own least one; a = drop = 0. V pass: (p + half) * 2**(block_exp + unit - 35) = w * v; qi = 0.
    The sum of qi and a is the DSP block's own pre-adder, which saves a multiplexer. The addition of
    ``half``, which rounds, is left to the adder that comes next.

    Worst error: 0.5 LSB.

    Parameters
    ----------
    qi : K pass: from `quantise_query`, within +-(2047 << 12).
    a, drop : V pass: from `weight`, a up to 2**23.
    sig, coarse : from `element`.
    """
    operand = (qi + a).known(-(_MOST_SIG << QUERY_BITS), 1 << WEIGHT_BITS + _MOST_FINE)
    exact = (operand * sig).known(-(_MOST_SIG << 26), _MOST_SIG << 26)
    raised = exact << K_GUARD_BITS - _MOST_FINE + 1  # one place more, for half
    sum_ = coarse + drop
    steps = mux(sum_[4], _MOST_COARSE, sum_[0:4])  # 13 steps already leave nothing of 48 bits
    shifted = raised.shifted(steps, FINE)
    return {"p": shifted >> 1, "half": shifted[0]}


@kernel(
    inputs={
        "acc": signed(56),
        "scale_mant": bits(26),
        "scale_exp": signed(6),
        "q_exp": bits(8),
        "k_exp": bits(8),
        "q_bf16": bits(1),
        "k_bf16": bits(1),
    },
    outputs={"s": signed(32), "saturated": bits(1)},
)
def score(acc, scale_mant, scale_exp, q_exp, k_exp, q_bf16, k_bf16):
    """A score in units of log2, 16 fraction bits, from the exact sum of a head's products.

    s * 2**-16 = acc * 2**(q_exp + k_exp - 72) * scale_mant * 2**(scale_exp - 26) for FP16; each
    BF16 operand makes that less by 2**112.

    Rounded symmetrically about 0, twice: to 35 significant bits, and at the end. Saturates at
    +-(2**31 - 1). Worst error: 0.5 LSB + 2**-35 of the score.

    Parameters
    ----------
    acc : within +-2**54.
    scale_mant, scale_exp : scale * log2(e), see `twin.encode_scale`.
    q_exp, k_exp : block exponents.
    q_bf16, k_bf16 : 1 where they are those of BF16 numbers.
    """
    width, kept = 55, 35
    magnitude = absolute(acc.known(-(1 << width - 1), 1 << width - 1))
    top, zeros = shift_to_top(magnitude, width)
    scaled = round_shift(top, width - kept) * scale_mant
    least = 27  # scaled is 0 or at least 2**59: shifted by this or less, it saturates
    formats = mux(q_bf16, _BF16_OFFSET, 0) + mux(k_bf16, _BF16_OFFSET, 0)
    constant = 72 + SCALE_BITS - SCORE_BITS - (width - kept)
    places = zeros - (q_exp + k_exp + scale_exp - formats) + constant
    rounded = round_shift(scaled >> least, places - least)
    most = (1 << 31) - 1
    return {"s": conditional_negate(acc < 0, minimum(rounded, most)), "saturated": rounded > most}


_EXP2_STEP_BITS = 8
_EXP2_BITS = 24
_EXP2 = [round(2 ** (_EXP2_BITS - step / 256)) for step in range(257)]


def weight_parts(s, m):
    """2**(s - m) as mant * 2**-20 * 2**-places: mant up to 2**20, places 127 for 127 or more."""
    distance = ((m << SCORE_BITS) - s).known(0, (1 << 33) - 1)
    places = minimum(distance >> SCORE_BITS, 127)
    narrow = SCORE_BITS - _EXP2_STEP_BITS
    step, within = distance[narrow:SCORE_BITS], distance[0:narrow]
    start = lookup(step, _EXP2[:-1])
    fall = lookup(step, [a - b for a, b in zip(_EXP2, _EXP2[1:])])
    exact = (start << narrow) - fall * within
    mant = round_shift(exact, narrow + _EXP2_BITS - WEIGHT_BITS).known(0, 1 << WEIGHT_BITS)
    return mant, places


@kernel(
    inputs={"s": signed(32), "m": signed(17)},
    outputs={"a": bits(WEIGHT_BITS + _MOST_FINE + 1), "drop": bits(4), "term": bits(47)},
)
def weight(s, m):
    """The weight 2**(s - m) of a token and its share of the sum of weights.

    w = a * 2**-23 * 2**(-4 * drop), l gains term * 2**-46; drop 15 stands for 15 or more, which
    leaves nothing of a product. The fraction goes through a table of 256 entries with linear
    interpolation; of the integer part, two bits are in ``a`` and the rest is ``drop``.

    Worst error of w against 2**-f over all fractions f: 1.373e-06.

    Parameters
    ----------
    s : score, at most m << 16.
    m : the pass's reference, ceil(max s).
    """
    mant, places = weight_parts(s, m)
    return {
        "a": (mant << _MOST_FINE) >> places[0:FINE],
        "drop": minimum(places >> FINE, _MOST_COARSE),
        "term": round_shift(mant << TERM_BITS, places),
    }


@kernel(inputs={"x": signed(64), "places": bits(7)}, outputs={"y": signed(64)})
def align(x, places):
    """A pass's l or o, on the way to its sum over several passes: y = x * 2**-places.

    Worst error: 0.5 LSB.

    Parameters
    ----------
    x : within +-(2**62 - 1).
    places : `CHAIN_GUARD_BITS` and the distance to the largest reference; 127 is as good as more.
    """
    return {"y": round_shift(x.known(-_MOST_SUM, _MOST_SUM), places)}


@kernel(
    inputs={"o": signed(64), "l": bits(63), "v_exp": signed(10), "bf16": bits(1)},
    outputs={"x": bits(16)},
)
def normalise(o, l, v_exp, bf16):
    """The output o / l, FP16 or BF16: exact division, one rounding to nearest even.

    x = o * 2**(v_exp - 59) / (l * 2**-46), subnormals included; overflow gives infinity where
    IEEE 754 says so; o = 0 gives +0. Worst error: 0.5 ulp.

    Parameters
    ----------
    o : within +-(2**62 - 1).
    l : 1..2**62 - 1.
    v_exp : block exponent of V, less 112 if V is BF16.
    bf16 : 1 for a BF16 result, 0 for FP16.
    """
    width, fraction = 62, FP16.fraction_bits + 2
    dividend, o_zeros = shift_to_top(absolute(o.known(-_MOST_SUM, _MOST_SUM)), width)
    divisor, l_zeros = shift_to_top(l.known(1, _MOST_SUM), width)

    # Non-restoring division of numbers in [1, 2): an integer bit, worth 2**exponent, and the
    # fraction. The remainder is below the divisor in magnitude; while it is negative, the divisor
    # is added, not subtracted.
    exponent = l_zeros - o_zeros + v_exp + (TERM_BITS - V_GUARD_BITS + FP16.unit)
    remainder = dividend - divisor
    quotient = remainder >= 0
    for _ in range(fraction):
        remainder = add_or_subtract(remainder >= 0, remainder << 1, divisor, -_MOST_SUM, _MOST_SUM)
        quotient = concat(remainder >= 0, quotient)
    sticky = (remainder != 0) & (remainder != -divisor)
    quotient = concat(sticky, quotient)
    top = quotient[fraction + 1]

    # Cut below the last place: that of the significand, or the unit where that is higher.
    def of_format(figure):
        return mux(bf16, figure(BF16), figure(FP16))

    field = exponent + top + of_format(lambda f: f.bias - 1)  # below 1 for subnormals
    by_width = top + of_format(lambda f: 1 + FP16.fraction_bits - f.fraction_bits)
    by_unit = of_format(lambda f: f.unit + fraction) - exponent
    cut = clamp(maximum(by_width, by_unit), 1, fraction + 2)
    aligned = (quotient << fraction + 2) >> cut  # last place at bit fraction + 3, none lost
    mantissa, half, below = aligned[fraction + 3 :], aligned[fraction + 2], aligned[: fraction + 2]
    even = mantissa + (half & ((below != 0) | mantissa[0]))

    def assemble(f):
        finite = (clamp(field - 1, 0, f.top_field) << f.fraction_bits) + even
        return minimum(finite, f.top_field << f.fraction_bits)

    return {"x": mux(o == 0, 0, concat(of_format(assemble), o < 0))}
