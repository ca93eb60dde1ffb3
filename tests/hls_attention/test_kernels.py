"""The kernels against exact arithmetic: float64 where it is exact, fractions elsewhere."""

import random
import re
from fractions import Fraction

import numpy as np
import pytest

from hls_attention import kernels
from hls_attention.formats import BF16, FP16
from hls_attention.twin import encode_scale

SEED = 7
ALL = np.arange(1 << 16)
FORMATS = [FP16, BF16]
FLAG = {FP16: 0, BF16: 1}
UNIT = {FP16: -24, BF16: -136}  # of significands aligned to those of FP16
FINITE = {FP16: ALL[(ALL >> 10 & 31) != 31], BF16: ALL[(ALL >> 7 & 255) != 255]}
BAD = {format: np.setdiff1d(ALL, FINITE[format]) for format in FORMATS}
VALUES = {
    format: FINITE[format].astype(np.uint16).view(format.dtype).astype(np.float64)
    for format in FORMATS
}
EXPONENTS = {
    FP16: np.maximum(FINITE[FP16] >> 10 & 31, 1) - 1,
    BF16: np.maximum(FINITE[BF16] >> 7 & 255, 1) - 1,
}


def round_half_up(x):
    """Nearest integer of an exact number, halves up."""
    return (2 * x.numerator + x.denominator) // (2 * x.denominator)


def to_format(x, format):
    """Bits of a fraction in a format: nearest even, from the definition of the format."""
    bits, emin, emax = {FP16: (11, -14, 15), BF16: (8, -126, 127)}[format]
    magnitude = abs(x)
    place = Fraction(2) ** (emin - bits + 1)
    while magnitude >= 2**bits * place:
        place *= 2
    value = round(magnitude / place) * place  # Python rounds fractions half to even
    sign = 0x8000 * (x < 0)
    if value >= Fraction(2) ** (emax + 1):
        return (0x7C00 if format is FP16 else 0x7F80) | sign
    if format is FP16:
        return int(np.float16(float(value)).view(np.uint16)) | sign
    return int(np.float32(float(value)).view(np.uint32)) >> 16 | sign


def stated_error(kernel):
    """The worst error a kernel's docstring states."""
    return float(re.search(r"Worst error.*: ([\d.e-]+\d)", kernel.__doc__).group(1))


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_fields_of_every_word(format):
    significand, exponent, finite = format.fields(ALL)
    assert np.array_equal(ALL[finite], FINITE[format])
    value = significand[finite] * 2.0 ** (exponent[finite] + format.unit)
    assert np.array_equal(value, VALUES[format])
    assert np.array_equal(exponent[finite], EXPONENTS[format])
    assert np.abs(significand).max() == format.most_significand
    assert format.aligned_unit == UNIT[format]


@pytest.mark.parametrize(
    "format, q_exp",
    [(FP16, e) for e in range(30)] + [(BF16, e) for e in (0, 1, 7, 99, 126, 127, 200, 253)],
)
def test_quantise_every_query(format, q_exp):
    within = q_exp >= EXPONENTS[format]
    qi = kernels.quantise_query.numpy(x=FINITE[format][within], q_exp=q_exp, bf16=FLAG[format])[
        "qi"
    ]
    exact = np.ldexp(VALUES[format][within], 12 - UNIT[format] - q_exp)
    assert np.array_equal(qi, np.floor(exact + 0.5))


@pytest.mark.parametrize(
    "format, block_exp",
    [(FP16, e) for e in (0, 1, 2, 3, 13, 29)] + [(BF16, e) for e in (0, 3, 58, 62, 127, 253)],
)
def test_every_element(format, block_exp):
    within = block_exp >= EXPONENTS[format]
    result = kernels.element.numpy(x=FINITE[format][within], block_exp=block_exp, bf16=FLAG[format])
    exact = VALUES[format][within]
    made = np.ldexp(
        result["sig"].astype(float), UNIT[format] - 3 + block_exp - 4 * result["coarse"]
    )
    far = block_exp - EXPONENTS[format][within] >= 60
    assert np.array_equal(made[~far], exact[~far])
    assert np.array_equal(result["coarse"] == 15, far)
    assert np.abs(result["sig"]).max() < 1 << 14


def multiplied(format, words, block_exp, **operand):
    """Products of elements, rounded, as the adders take them."""
    result = kernels.product.numpy(
        **operand, **kernels.element.numpy(x=words, block_exp=block_exp, bf16=FLAG[format])
    )
    return result["p"] + result["half"]


@pytest.mark.parametrize(
    "format, block_exp", [(FP16, 0), (FP16, 1), (FP16, 13), (FP16, 29), (BF16, 0), (BF16, 130)]
)
@pytest.mark.parametrize("qi", [0, 1, -1, 2047 << 12, -(2047 << 12), 5592405])
def test_k_product_of_every_element(format, qi, block_exp):
    within = block_exp >= EXPONENTS[format]
    p = multiplied(format, FINITE[format][within], block_exp, qi=qi, a=0, drop=0)
    exact = qi * np.ldexp(VALUES[format][within], 12 - UNIT[format] - block_exp)
    assert np.array_equal(p, np.floor(exact + 0.5))


@pytest.mark.parametrize("format, block_exp", [(FP16, 0), (FP16, 15), (FP16, 29), (BF16, 131)])
@pytest.mark.parametrize("a", [1 << 22, 1 << 23, 5592405, 1, 0])
def test_v_product_of_every_element(format, a, block_exp):
    within = block_exp >= EXPONENTS[format]
    for drop in (0, 1, 4, 10, 11, 12, 13, 14, 15):
        p = multiplied(format, FINITE[format][within], block_exp, qi=0, a=a, drop=drop)
        exact = np.longdouble(a) * np.ldexp(
            VALUES[format][within].astype(np.longdouble), 12 - UNIT[format] - block_exp - 4 * drop
        )
        assert np.array_equal(p, np.floor(exact + 0.5))


def test_products_at_random():
    rng = random.Random(SEED)
    for _ in range(5000):
        format = rng.choice(FORMATS)
        index = rng.randrange(len(FINITE[format]))
        e = int(EXPONENTS[format][index])
        block_exp = min(format.top_exponent, e + rng.randint(0, 50))
        operand = rng.choice(
            [
                {"qi": rng.randint(-(2047 << 12), 2047 << 12), "a": 0, "drop": 0},
                {"qi": 0, "a": rng.randint(0, 1 << 23), "drop": rng.randint(0, 15)},
            ]
        )
        p = multiplied(format, FINITE[format][index], block_exp, **operand)
        unit = Fraction(2) ** (block_exp + UNIT[format] - 12 + 4 * operand["drop"])
        factor = operand["qi"] + operand["a"]
        assert p == round_half_up(factor * Fraction(VALUES[format][index]) / unit)


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_infinities_break_nothing(format):
    for block_exp in (format.top_exponent + 1, format.top_field):
        kernels.quantise_query.numpy(x=BAD[format], q_exp=block_exp, bf16=FLAG[format])
        multiplied(format, BAD[format], block_exp, qi=0, a=1 << 23, drop=0)


def test_score_is_close_and_flags_saturation():
    rng = random.Random(SEED)
    cases = []
    for _ in range(4000):
        acc = rng.choice((-1, 1)) * rng.getrandbits(rng.randint(0, 54))
        formats = rng.getrandbits(1), rng.getrandbits(1)
        exps = [rng.randint(80, 170) if bf16 else rng.randint(0, 30) for bf16 in formats]
        mant, exp = rng.randint(1 << 25, (1 << 26) - 1), rng.randint(-32, 31)
        cases.append((acc, mant, exp, *exps, *formats))
    most = 1 << 54
    cases += [
        (most, (1 << 26) - 1, 31, 30, 30, 0, 0),
        (-most, (1 << 26) - 1, 31, 30, 30, 0, 0),
        (most, (1 << 26) - 1, 31, 253, 253, 1, 1),
        (0, (1 << 26) - 1, 31, 30, 30, 0, 0),
        (1, 1 << 25, -32, 0, 0, 0, 0),
        (most, 1 << 25, -32, 0, 0, 1, 1),
        (most, 1 << 25, -20, 0, 15, 0, 0),
        (-most, 1 << 25, -20, 0, 15, 0, 0),
    ]
    names = ("acc", "scale_mant", "scale_exp", "q_exp", "k_exp", "q_bf16", "k_bf16")
    result = kernels.score.numpy(**dict(zip(names, np.array(cases).T)))
    for case, s, saturated in zip(cases, result["s"].tolist(), result["saturated"].tolist()):
        acc, mant, exp, q_exp, k_exp, q_bf16, k_bf16 = case
        power = q_exp + k_exp - 72 - 112 * (q_bf16 + k_bf16) + exp - 26 + 16
        exact = acc * mant * Fraction(2) ** power
        bound = Fraction(1, 2) + abs(exact) / (1 << 35)
        if saturated:
            assert abs(s) == 2**31 - 1 and s * acc > 0 and abs(exact) + bound > 2**31 - 1
        else:
            assert abs(s - exact) <= bound
        mirrored = kernels.score.numpy(**dict(zip(names, (-acc, *case[1:]))))
        assert (mirrored["s"], mirrored["saturated"]) == (-s, saturated)


def test_score_refuses_sums_beyond_its_bound():
    with pytest.raises(OverflowError, match="claim"):
        kernels.score.numpy(
            acc=(1 << 54) + 1,
            scale_mant=1 << 25,
            scale_exp=0,
            q_exp=0,
            k_exp=0,
            q_bf16=0,
            k_bf16=0,
        )


def test_weight_of_every_fraction():
    fraction = np.arange(1 << 16)
    for m in (0, -3, 1000):
        result = kernels.weight.numpy(s=(m << 16) - fraction, m=m)
        error = np.abs(result["a"] / 2**23 - np.exp2(-fraction / 65536)).max()
        assert error == pytest.approx(stated_error(kernels.weight), rel=1e-3)
        assert (result["drop"] == 0).all() and (result["a"] % 8 == 0).all()
        assert (np.diff(result["a"]) <= 0).all()
        assert np.array_equal(result["term"], result["a"] << 23)
    assert result["a"][0] == 1 << 23


def test_weight_drops_and_terms():
    rng = random.Random(SEED)
    cases = [
        (m, (m << 16) - d)
        for m in (0, 5, -20000, 32767)
        for d in (0, 65535, 65536, 127 << 16, 128 << 16, 1 << 28)
    ]
    cases += [(m, (m << 16) - rng.getrandbits(rng.randint(0, 24))) for m in range(-200, 200)]
    for m, s in cases:
        result = {name: int(x) for name, x in kernels.weight.numpy(s=s, m=m).items()}
        places, fraction = divmod((m << 16) - s, 1 << 16)
        whole = kernels.weight.numpy(s=(m << 16) - fraction, m=m)
        mant = int(whole["a"]) >> 3
        assert result["drop"] == min(places // 4, 15)
        if places < 60:
            weight = Fraction(result["a"], 1 << 23) / 16 ** result["drop"]
            assert weight == Fraction(mant, 1 << 20 + places)
        assert result["term"] == round_half_up(Fraction(mant << 26, 1 << min(places, 127)))
    with pytest.raises(OverflowError, match="claim"):
        kernels.weight.numpy(s=1, m=0)


def test_align_rounds_to_nearest():
    rng = random.Random(SEED)
    cases = [
        (rng.choice((-1, 1)) * rng.getrandbits(rng.randint(0, 62)), rng.randint(0, 70))
        for _ in range(3000)
    ]
    cases += [(x, n) for x in ((1 << 62) - 1, 1 - (1 << 62), 0, -1) for n in (0, 2, 62, 63, 127)]
    x, places = (np.array(column) for column in zip(*cases))
    y = kernels.align.numpy(x=x, places=places)["y"].tolist()
    assert y == [round_half_up(Fraction(x, 1 << n)) for x, n in cases]


def normalised(cases, format=FP16):
    o, l, v_exp = (np.array(column, dtype=np.int64) for column in zip(*cases))
    return kernels.normalise.numpy(o=o, l=l, v_exp=v_exp, bf16=FLAG[format])["x"].tolist()


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
@pytest.mark.parametrize("low, high", [(0, 29), (-112, 141)])
def test_normalise_at_random(format, low, high):
    rng = random.Random(SEED)
    cases = [
        (
            rng.choice((-1, 1)) * rng.getrandbits(rng.randint(1, 62)),
            rng.getrandbits(rng.randint(1, 62)) | 1,
            rng.randint(low, high),
        )
        for _ in range(4000)
    ]
    expected = [
        to_format(Fraction(o, l) * Fraction(2) ** (v_exp - 13), format) if o else 0
        for o, l, v_exp in cases
    ]
    assert normalised(cases, format) == expected


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_normalise_gives_back_every_number(format):
    significand, exponent, _ = format.fields(FINITE[format])
    significand = significand << (10 - format.fraction_bits)
    v_exp = exponent - 112 * FLAG[format]
    for l in (1 << 46, 3 << 46, ((1 << 50) - 1) << 11):
        x = kernels.normalise.numpy(o=significand * (l >> 11), l=l, v_exp=v_exp, bf16=FLAG[format])[
            "x"
        ]
        assert np.array_equal(x, np.where(significand == 0, 0, FINITE[format]))


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_normalise_ties_subnormals_overflow(format):
    cases, expected = [], []
    smallest, subnormal, one, large, edges, v_exp = {
        FP16: (-24, -14, 0, 5, (65504, 65519, 65520, 65521, 70000, 1 << 20), 10),
        BF16: (-133, -126, -7, 9, (), -50),
    }[format]

    def case(value, l, v_exp):
        o = value * l * Fraction(2) ** (13 - v_exp)
        if o.denominator == 1 and abs(o) < 1 << 62:
            cases.append((int(o), l, v_exp))
            expected.append(to_format(value, format))

    nudge = Fraction(1, 1 << 10)  # of half a place
    for l in (1 << 30, 3 << 28, 5 << 27, 65521 << 24):
        for last_places in (*range(64), 127, 128, 129, 255, 1023, 1024, 1025, 2047):
            for half in (0, 1):
                for off in (Fraction(0), nudge, -nudge):
                    for place in (smallest, subnormal, one, large):
                        value = (last_places + Fraction(half, 2) + off / 2) * Fraction(2) ** place
                        for near in (v_exp, -100, 40):
                            if value:
                                case(value, l, near)
                                case(-value, l, near)
    for edge in edges:
        case(Fraction(edge), 1 << 30, v_exp)
        case(Fraction(-edge), 1 << 30, v_exp)
    assert len(cases) > 2000
    assert normalised(cases, format) == expected
    assert 1 in expected and 0x8000 in expected
    assert format is BF16 or (0x7C00 in expected and 0x7BFF in expected)


def test_normalise_extremes():
    most = (1 << 62) - 1
    assert normalised([(0, 1, 0), (0, most, 29)]) == [0, 0]
    assert normalised([(most, 1, 29), (-most, 1, 29)]) == [0x7C00, 0xFC00]
    assert normalised([(1, most, 0), (-1, most, 0)]) == [0, 0x8000]
    assert normalised([(most, 1, 141), (-most, 1, 141)], BF16) == [0x7F80, 0xFF80]
    assert normalised([(1, most, -112), (-1, most, -112)], BF16) == [0, 0x8000]
    with pytest.raises(OverflowError, match="claim"):
        kernels.normalise.numpy(o=0, l=0, v_exp=0, bf16=0)


@pytest.mark.parametrize(
    "scale", [1.0, 64**-0.5, 128**-0.5, 0.1, 3e-9, 1e8, 0.6931471805599453, 2.0**-32]
)
def test_encode_scale(scale):
    mant, exp = encode_scale(scale)
    assert 1 << 25 <= mant < 1 << 26
    assert mant * 2.0 ** (exp - 26) == pytest.approx(scale * np.log2(np.e), rel=2.0**-26)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e-12, 1e12])
def test_encode_scale_refuses(scale):
    with pytest.raises(ValueError, match="scale must be"):
        encode_scale(scale)
