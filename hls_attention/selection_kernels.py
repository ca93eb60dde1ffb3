"""The arithmetic of sparse selection: six kernels, each the only definition of its step.

::

    q ---- magnitude --> |q| -- sum over query heads --> key of a channel --> the r largest
                          '---- sums over channels --> |q|_1, |q_r|_1 -- temperature --> scale
    Z = sum of weights -- reciprocal --> 1 / Z --.
    approximate score s ------------------------ share -- sum over heads -- selection_key --> key
    byte of `bounds_code` -- bounds --> smallest and largest element of 4 tokens

Definitions are those of SparQ (arXiv:2312.04985, equations 5 to 11) for query heads that share a KV
head. Between the kernels there are only exact integer additions, so no order matters. Where a
kernel says floor, it cuts instead of rounding: what is compared stays in order.
"""

from hls_attention.expressions import clamp, concat, lookup, minimum, mux, round_shift, shift_to_top
from hls_attention.formats import BF16, FP16
from hls_attention.hls import bits, kernel, signed
from hls_attention.kernels import SCALE_BITS, WEIGHT_BITS, decode_magnitude, weight_parts

__all__ = [
    "KEY_BITS",
    "MAGNITUDE_BITS",
    "NORM_BITS",
    "R_MANT_BITS",
    "SHARE_FRACTION_BITS",
    "VALUE_BITS",
    "Z_FRACTION_BITS",
    "bounds",
    "magnitude",
    "reciprocal",
    "selection_key",
    "share",
    "shares",
    "temperature",
]

_GUARD_BITS = FP16.top_exponent
"""Bits a magnitude gains before alignment: with them no FP16 number loses any."""

MAGNITUDE_BITS = FP16.most_significand.bit_length() + _GUARD_BITS
"""|q|, unsigned."""

NORM_BITS = MAGNITUDE_BITS + 8
"""Sum of |q| over up to 256 channels."""

Z_FRACTION_BITS = 44
"""Fraction bits of a sum of weights over up to 131,072 tokens: 2 less than within one pass."""

SHARE_FRACTION_BITS = 56
"""Fraction bits of a token's share w / Z."""

VALUE_BITS = 60
"""Sum of the shares of up to 8 heads."""

KEY_FRACTION_BITS = 17
"""Bits of a key below its exponent."""

KEY_BITS = 23
"""Selection key."""

R_MANT_BITS = 17
"""Mantissa of 1 / Z."""

_MANTISSA_BITS = 24
_STEP_BITS = 8
_WITHIN_BITS = 16


@kernel(
    inputs={"x": bits(16), "top": bits(8), "bf16": bits(1)},
    outputs={"mag": bits(MAGNITUDE_BITS)},
)
def magnitude(x, top, bf16):
    """|x| aligned to a block exponent: floor(|x| * 2**(29 - unit - top)).

    Exact for FP16, which has 30 exponents. BF16 keeps 39 bits below the block's highest.

    Parameters
    ----------
    x : bits of q.
    top : block exponent, not less than the exponent of x.
    bf16 : 1 if x is BF16, 0 if FP16.
    """
    sig, e = decode_magnitude(x, bf16)
    distance = (top - e).known(0, BF16.top_field)
    return {"mag": (sig << _GUARD_BITS) >> minimum(distance, MAGNITUDE_BITS)}


_INVERSES = [round(2**_MANTISSA_BITS / (1 + step / 256)) for step in range(257)]
_ROOTS = [
    [round(2 ** (_MANTISSA_BITS - 1) * (unit * (1 + step / 256)) ** 0.5) for step in range(257)]
    for unit in (1, 2)
]


def _inverse(top):
    """2**24 / x for a 25-bit mantissa x = top * 2**-24 in [1, 2). Worst relative error: 3.9e-6."""
    step = top[_WITHIN_BITS : _WITHIN_BITS + _STEP_BITS]
    start = lookup(step, _INVERSES[:-1])
    fall = lookup(step, [a - b for a, b in zip(_INVERSES, _INVERSES[1:])])
    exact = (start << _WITHIN_BITS) - fall * top[0:_WITHIN_BITS]
    return round_shift(exact, _WITHIN_BITS).known(1 << _MANTISSA_BITS - 1, 1 << _MANTISSA_BITS)


def _root(top, parity):
    """2**23 * sqrt(x * 2**parity) for a 25-bit mantissa x in [1, 2). Worst relative error: 6e-7."""
    step = concat(top[_WITHIN_BITS : _WITHIN_BITS + _STEP_BITS], parity)
    start = lookup(step, [a for table in _ROOTS for a in table[:-1]])
    rise = lookup(step, [b - a for table in _ROOTS for a, b in zip(table, table[1:])])
    exact = (start << _WITHIN_BITS) + rise * top[0:_WITHIN_BITS]
    return round_shift(exact, _WITHIN_BITS).known(1 << _MANTISSA_BITS - 1, 1 << _MANTISSA_BITS)


@kernel(
    inputs={
        "q": bits(NORM_BITS),
        "q_r": bits(NORM_BITS),
        "scale_mant": bits(SCALE_BITS),
        "scale_exp": signed(6),
    },
    outputs={"mant": bits(SCALE_BITS), "exp": signed(6)},
)
def temperature(q, q_r, scale_mant, scale_exp):
    """The scale of a head's approximate scores: that of its scores times sqrt(|q|_1 / |q_r|_1).

    mant * 2**(exp - 26) = scale_mant * 2**(scale_exp - 26) * sqrt(q / q_r). So the scale that the
    softmax of approximate scores wants, 1 / sqrt(head_dim * |q_r|_1 / |q|_1), comes of the usual
    1 / sqrt(head_dim), and of any other as well. An exp beyond 31 becomes 31. With q_r = 0 all
    approximate scores are 0 and so the result does not matter; it is some number.

    Worst relative error: 2.2e-06.

    Parameters
    ----------
    q : |q|_1 of the head, in any unit.
    q_r : the same over the selected channels, in the same unit; at most q.
    scale_mant, scale_exp : as for `kernels.score`; 2**25 <= scale_mant < 2**26.
    """
    narrow = NORM_BITS - _MANTISSA_BITS
    above, q_zeros = shift_to_top(q, NORM_BITS)
    below, r_zeros = shift_to_top(q_r, NORM_BITS)
    inverse = minimum(_inverse(below >> narrow - 1), (1 << _MANTISSA_BITS) - 1)
    ratio = (above >> narrow) * inverse  # in [1/2, 2), 1 is 2**47
    high = ratio[2 * _MANTISSA_BITS - 1]
    normal = mux(high, ratio, ratio << 1) >> 2 * _MANTISSA_BITS - 1 - _MANTISSA_BITS
    power = r_zeros - q_zeros + high - 1
    raised = _root(normal, power[0]) * scale_mant
    carry = raised[SCALE_BITS + _MANTISSA_BITS - 1]
    rounded = round_shift(raised, mux(carry, _MANTISSA_BITS, _MANTISSA_BITS - 1))
    return {
        "mant": minimum(rounded, (1 << SCALE_BITS) - 1),
        "exp": clamp(scale_exp + (power >> 1) + carry, -32, 31),
    }


@kernel(inputs={"z": bits(62)}, outputs={"r_mant": bits(R_MANT_BITS), "r_exp": bits(5)})
def reciprocal(z):
    """1 / Z of a head's sum of weights: r_mant * 2**-16 * 2**-r_exp, 2**16 <= r_mant < 2**17.

    Worst relative error: 8.7e-06; the same for all tokens of the head.

    Parameters
    ----------
    z : sum of weights with LSB 2**-44, above 2**43 (the largest weight is above 1/2), at most
        2**61.
    """
    width = 62
    top, zeros = shift_to_top(z.known(1 << Z_FRACTION_BITS - 1, 1 << width - 1), width)
    inverse = _inverse(top >> width - 1 - _MANTISSA_BITS)
    mant = round_shift(inverse, _MANTISSA_BITS - R_MANT_BITS)
    return {
        "r_mant": minimum(mant, (1 << R_MANT_BITS) - 1),
        "r_exp": (width - Z_FRACTION_BITS - zeros).known(0, width - Z_FRACTION_BITS),
    }


def _share(s, m, r_mant, r_exp):
    mant, places = weight_parts(s, m)
    whole = (mant * r_mant) << SHARE_FRACTION_BITS - WEIGHT_BITS - R_MANT_BITS + 1
    return whole >> minimum(places + r_exp, 63)


@kernel(
    inputs={"s": signed(32), "m": signed(17), "r_mant": bits(R_MANT_BITS), "r_exp": bits(5)},
    outputs={"share": bits(SHARE_FRACTION_BITS + 1)},
)
def share(s, m, r_mant, r_exp):
    """A head's softmaxed score of a token, floor(2**56 * w / Z) with w = 2**(s - m).

    w is that of `kernels.weight` before its alignment. Worst error of w / Z: 2.8e-6 of it for w
    (1.373e-6 at w = 1/2), 1 LSB of 2**-56, and that of `reciprocal`.

    Parameters
    ----------
    s : approximate score, at most m << 16.
    m : reference of the head, ceil(max s) over all tokens to choose from.
    r_mant, r_exp : from `reciprocal`. With one head r_mant = 2**16 and r_exp = 0 will do: w alone
        has the same order.
    """
    return {"share": _share(s, m, r_mant, r_exp)}


def shares(lanes):
    """Kernel: the shares of so many heads, added up; a head that is not ``used`` has none.

    Inputs are those of `share` with the number of the lane behind their names, and ``used`` from
    lane 1 on.
    """

    def shares(**ports):
        def of_lane(lane):
            return _share(*(ports[f"{name}{lane}"] for name in share.inputs))

        total = of_lane(0)
        for lane in range(1, lanes):
            total = total + mux(ports[f"used{lane}"], of_lane(lane), 0)
        return {"v": total}

    inputs = {f"{name}{lane}": t for lane in range(lanes) for name, t in share.inputs.items()}
    used = {f"used{lane}": bits(1) for lane in range(1, lanes)}
    return kernel(inputs=inputs | used, outputs={"v": bits(VALUE_BITS)})(shares)


@kernel(inputs={"v": bits(VALUE_BITS)}, outputs={"key": bits(KEY_BITS)})
def selection_key(v):
    """The key by which tokens are chosen: v with an exponent and 18 significant bits, floor.

    key = v below 2**18; else (z - 17) << 17 plus the 18 highest bits of v, z the place of its
    highest. Larger v never have smaller keys; `selection_twin.key_value` is the way back.

    Worst relative error: 7.63e-06; exact below 2**18.

    Parameters
    ----------
    v : sum of a token's shares over the heads.
    """
    significant = KEY_FRACTION_BITS + 1
    top, zeros = shift_to_top(v, VALUE_BITS)
    most = VALUE_BITS - significant
    exponent = (most - minimum(zeros, most)) << KEY_FRACTION_BITS
    normal = exponent + top[VALUE_BITS - significant : VALUE_BITS]
    return {"key": mux(zeros > most, v[0:KEY_FRACTION_BITS], normal)}


def _shape(bound):
    """Of a bound in codes: fraction below its leading one (3 bits), place of that, sign, not 0."""
    place = max(abs(bound).bit_length() - 1, 0)
    fraction = abs(bound) << 3 >> place & 7
    return fraction | place << 3 | (bound < 0) << 5 | (bound != 0) << 6


_LOW = [(code & 15 ^ 8) - 8 for code in range(128)]
_LOW_SHAPES = [_shape(low) for low in _LOW[:16]]
_HIGH_SHAPES = [_shape(low + (code >> 4)) for code, low in enumerate(_LOW)]
_LARGEST = {format: (format.top_field << format.fraction_bits) - 1 for format in (FP16, BF16)}


@kernel(
    inputs={"code": bits(7), "exponent": bits(8), "bf16": bits(1)},
    outputs={"low": bits(16), "high": bits(16)},
)
def bounds(code, exponent, bf16):
    """Bounds of a unit and channel as words of K's format: exact, at most its largest number.

    Parameters
    ----------
    code : a byte of `hls_attention.bounds_code` without its bit of the exponent.
    exponent : exponent field that the channel's codes of the block count in.
    bf16 : 1 if the words are to be BF16, 0 for FP16.
    """

    def word(shape):
        field = exponent + shape[3:5]
        beyond = mux(bf16, field >= BF16.top_field, field >= FP16.top_field)
        finite = mux(
            bf16,
            concat(shape[0:3], field[0 : BF16.exponent_bits]) << BF16.fraction_bits - 3,
            concat(shape[0:3], field[0 : FP16.exponent_bits]) << FP16.fraction_bits - 3,
        )
        magnitude = mux(beyond, mux(bf16, _LARGEST[BF16], _LARGEST[FP16]), finite)
        return mux(shape[6], concat(magnitude.known(0, 0x7FFF), shape[5]), 0)

    return {"low": word(lookup(code[0:4], _LOW_SHAPES)), "high": word(lookup(code, _HIGH_SHAPES))}
