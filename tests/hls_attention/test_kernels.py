"""The kernels against exact arithmetic: float64 where it is exact, fractions elsewhere."""

import random
import re
from fractions import Fraction

import numpy as np
import pytest

from hls_attention import kernels
from hls_attention.formats import FP16
from hls_attention.twin import encode_scale

SEED = 7
ALL = np.arange(1 << 16)
FINITE = ALL[(ALL >> 10 & 31) != 31]
VALUES = FINITE.astype(np.uint16).view(np.float16).astype(np.float64)
EXPONENTS = np.where(VALUES == 0, 0, np.maximum(np.frexp(VALUES)[1] - 1, -14) + 14)


def round_half_up(x):
    """Nearest integer of an exact number, halves up."""
    return (2 * x.numerator + x.denominator) // (2 * x.denominator)


def to_fp16(x):
    """FP16 bits of a fraction: nearest even, from the definition of the format."""
    magnitude = abs(x)
    place = Fraction(1, 1 << 24)
    while magnitude >= 2048 * place:
        place *= 2
    last_places = round(magnitude / place)  # Python rounds fractions half to even
    value = last_places * place
    if value >= 65536:
        return 0x7C00 | 0x8000 * (x < 0)
    return int(np.float16(float(value)).view(np.uint16)) | 0x8000 * (x < 0)


def stated_error(kernel):
    """The worst error a kernel's docstring states."""
    return float(re.search(r"Worst error.*: ([\d.e-]+\d)", kernel.__doc__).group(1))


def test_fields_of_every_word():
    significand, exponent, finite = FP16.fields(ALL)
    assert np.array_equal(ALL[finite], FINITE)
    assert np.array_equal(significand[finite] * 2.0 ** (exponent[finite] + FP16.unit), VALUES)
    assert np.array_equal(exponent[finite], EXPONENTS)
    assert np.abs(significand).max() == FP16.most_significand


@pytest.mark.parametrize("q_exp", range(30))
def test_quantise_every_query(q_exp):
    within = q_exp >= EXPONENTS
    qi = kernels.quantise_query.numpy(x=FINITE[within], q_exp=q_exp)["qi"]
    assert np.array_equal(qi, np.floor(VALUES[within] * 2.0 ** (36 - q_exp) + 0.5))


@pytest.mark.parametrize("block_exp", [0, 1, 13, 29])
@pytest.mark.parametrize("a", [0, 1, -1, 2047 << 12, -(2047 << 12), 5592405])
def test_k_product_of_every_element(a, block_exp):
    within = block_exp >= EXPONENTS
    p = kernels.product.numpy(a=a, x=FINITE[within], block_exp=block_exp, drop=0, pass_v=0)["p"]
    assert np.array_equal(p, np.floor(a * VALUES[within] * 2.0 ** (36 - block_exp) + 0.5))


@pytest.mark.parametrize("block_exp", [0, 15, 29])
@pytest.mark.parametrize("a", [1 << 19, 1 << 20, 699051, 0])
def test_v_product_of_every_element(a, block_exp):
    within = block_exp >= EXPONENTS
    for drop in (0, 1, 17, 40, 47, 48, 100, 127):
        p = kernels.product.numpy(a=a, x=FINITE[within], block_exp=block_exp, drop=drop, pass_v=1)[
            "p"
        ]
        exact = np.longdouble(a) * VALUES[within] * np.longdouble(2) ** (39 - block_exp - drop)
        assert np.array_equal(p, np.floor(exact + 0.5))


def test_products_at_random():
    rng = random.Random(SEED)
    for _ in range(5000):
        index = rng.randrange(len(FINITE))
        e = int(EXPONENTS[index])
        block_exp, pass_v = rng.randint(e, 29), rng.getrandbits(1)
        a, drop = (
            (rng.randint(0, 1 << 20), rng.randint(0, 60))
            if pass_v
            else (rng.randint(-(2047 << 12), 2047 << 12), 0)
        )
        p = kernels.product.numpy(
            a=a, x=FINITE[index], block_exp=block_exp, drop=drop, pass_v=pass_v
        )["p"]
        unit = Fraction(2) ** (block_exp - 24 - (15 - drop if pass_v else 12))
        assert p == round_half_up(a * Fraction(VALUES[index]) / unit)


def test_infinities_break_nothing():
    bad = ALL[(ALL >> 10 & 31) == 31]
    for block_exp in (0, 15, 30, 31):
        kernels.quantise_query.numpy(x=bad, q_exp=block_exp)
        kernels.product.numpy(a=1 << 20, x=bad, block_exp=block_exp, drop=0, pass_v=1)


def test_score_is_close_and_flags_saturation():
    rng = random.Random(SEED)
    cases = []
    for _ in range(4000):
        acc = rng.choice((-1, 1)) * rng.getrandbits(rng.randint(0, 54))
        cases.append(
            (
                acc,
                rng.randint(1 << 25, (1 << 26) - 1),
                rng.randint(-32, 31),
                rng.randint(0, 30),
                rng.randint(0, 30),
            )
        )
    most = 1 << 54
    cases += [
        (most, (1 << 26) - 1, 31, 30, 30),
        (-most, (1 << 26) - 1, 31, 30, 30),
        (0, (1 << 26) - 1, 31, 30, 30),
        (1, 1 << 25, -32, 0, 0),
        (most, 1 << 25, -20, 0, 15),
        (-most, 1 << 25, -20, 0, 15),
    ]
    names = ("acc", "scale_mant", "scale_exp", "q_exp", "k_exp")
    result = kernels.score.numpy(**dict(zip(names, np.array(cases).T)))
    for case, s, saturated in zip(cases, result["s"].tolist(), result["saturated"].tolist()):
        acc, mant, exp, q_exp, k_exp = case
        exact = acc * mant * Fraction(2) ** (q_exp + k_exp - 72 + exp - 26 + 16)
        bound = Fraction(1, 2) + abs(exact) / (1 << 35)
        if saturated:
            assert abs(s) == 2**31 - 1 and s * acc > 0 and abs(exact) + bound > 2**31 - 1
        else:
            assert abs(s - exact) <= bound
        mirrored = kernels.score.numpy(**dict(zip(names, (-acc, *case[1:]))))
        assert (mirrored["s"], mirrored["saturated"]) == (-s, saturated)


def test_score_refuses_sums_beyond_its_bound():
    with pytest.raises(OverflowError, match="claim"):
        kernels.score.numpy(acc=(1 << 54) + 1, scale_mant=1 << 25, scale_exp=0, q_exp=0, k_exp=0)


def test_weight_of_every_fraction():
    fraction = np.arange(1 << 16)
    for m in (0, -3, 1000):
        result = kernels.weight.numpy(s=(m << 16) - fraction, m=m)
        error = np.abs(result["mant"] / 2**20 - np.exp2(-fraction / 65536)).max()
        assert error == pytest.approx(stated_error(kernels.weight), rel=1e-3)
        assert (result["drop"] == 0).all()
        assert (np.diff(result["mant"]) <= 0).all()
        assert np.array_equal(result["term"], result["mant"] << 26)
    assert result["mant"][0] == 1 << 20


def test_weight_drops_and_terms():
    rng = random.Random(SEED)
    cases = [
        (m, (m << 16) - d)
        for m in (0, 5, -20000, 32767)
        for d in (0, 65535, 65536, 127 << 16, 128 << 16, 1 << 28)
    ]
    cases += [(m, (m << 16) - rng.getrandbits(rng.randint(0, 24))) for m in range(-200, 200)]
    for m, s in cases:
        result = kernels.weight.numpy(s=s, m=m)
        drop = min(((m << 16) - s) >> 16, 127)
        assert result["drop"] == drop
        assert result["term"] == round_half_up(Fraction(int(result["mant"]) << 26, 1 << drop))
    with pytest.raises(OverflowError, match="claim"):
        kernels.weight.numpy(s=1, m=0)


def normalised(cases):
    o, l, v_exp = (np.array(column, dtype=np.int64) for column in zip(*cases))
    return kernels.normalise.numpy(o=o, l=l, v_exp=v_exp)["x"].tolist()


def test_normalise_at_random():
    rng = random.Random(SEED)
    cases = [
        (
            rng.choice((-1, 1)) * rng.getrandbits(rng.randint(1, 62)),
            rng.getrandbits(rng.randint(1, 62)) | 1,
            rng.randint(0, 29),
        )
        for _ in range(4000)
    ]
    expected = [
        to_fp16(Fraction(o, l) * Fraction(2) ** (v_exp - 13)) if o else 0 for o, l, v_exp in cases
    ]
    assert normalised(cases) == expected


def test_normalise_gives_back_every_number():
    significand, exponent, _ = FP16.fields(FINITE)
    for l in (1 << 46, 3 << 46, ((1 << 50) - 1) << 11):
        x = kernels.normalise.numpy(o=significand * (l >> 11), l=l, v_exp=exponent)["x"]
        assert np.array_equal(x, np.where(significand == 0, 0, FINITE))


def test_normalise_ties_subnormals_overflow():
    cases, expected = [], []

    def case(value, l):
        o = value * l * Fraction(2) ** (13 - 10)
        assert o.denominator == 1
        cases.append((int(o), l, 10))
        expected.append(to_fp16(value))

    for l in (1 << 30, 3 << 28, 5 << 27, 65521 << 24):
        for last_places in (*range(64), 1023, 1024, 1025, 2047):
            for half in (0, 1):
                for nudge in (
                    Fraction(0),
                    Fraction(1, 1 << 10),
                    -Fraction(1, 1 << 10),
                ):  # of half a place
                    for place in (
                        Fraction(1, 1 << 24),
                        Fraction(1, 1 << 14),
                        Fraction(1),
                        Fraction(32),
                    ):
                        value = (last_places + Fraction(half, 2) + nudge / 2) * place
                        if value * l * 8 < 1 << 62 and (value * l * 8).denominator == 1 and value:
                            case(value, l)
                            case(-value, l)
    for edge in (65504, 65519, 65520, 65521, 70000, 1 << 20):
        case(Fraction(edge), 1 << 30)
        case(Fraction(-edge), 1 << 30)
    assert len(cases) > 2000
    assert normalised(cases) == expected
    assert 0x7C00 in expected and 0x7BFF in expected and 1 in expected and 0x8000 in expected


def test_normalise_extremes():
    most = (1 << 62) - 1
    assert normalised([(0, 1, 0), (0, most, 29)]) == [0, 0]
    assert normalised([(most, 1, 29), (-most, 1, 29)]) == [0x7C00, 0xFC00]
    assert normalised([(1, most, 0), (-1, most, 0)]) == [0, 0x8000]
    with pytest.raises(OverflowError, match="claim"):
        kernels.normalise.numpy(o=0, l=0, v_exp=0)


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
