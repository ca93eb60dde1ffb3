"""Fields, generator polynomials and codes, against textbooks and galois."""

import galois
import numpy as np
import pytest

from rtl.ecc.code import BchCode
from rtl.ecc.field import PRIMITIVE, Field, field


@pytest.mark.parametrize("m", [13, 14])
def test_products_and_powers(m):
    rng = np.random.default_rng(m)
    judge = galois.GF(2**m, irreducible_poly=PRIMITIVE[m], primitive_element=2)
    a, b = rng.integers(0, 2**m, (2, 20000))
    assert np.array_equal(field(m).multiply(a, b), np.array(judge(a) * judge(b)))
    assert galois.Poly.Int(PRIMITIVE[m]).is_primitive()
    exponents = rng.integers(-(2**15), 2**15, 200)
    powers = [int(judge.primitive_element ** int(e)) for e in exponents]
    assert [field(m).power(int(e)) for e in exponents] == powers


def test_products_with_zero():
    assert field(4).multiply([0, 5, 0], [7, 0, 0]).tolist() == [0, 0, 0]


def test_multiplication_by_a_constant_is_a_matrix():
    eight = field(13)
    for constant, element in ((1, 77), (4097, 8191), (3000, 2)):
        parts = [c for bit, c in enumerate(eight.columns(constant)) if element >> bit & 1]
        assert np.bitwise_xor.reduce(parts) == eight.multiply(constant, element)


@pytest.mark.parametrize(
    "t, generator",
    [(1, 0b10011), (2, 0b111010001), (3, 0b10100110111)],
)
def test_generators_of_length_15(t, generator):
    """S. Lin, D. J. Costello, Error Control Coding, section on binary BCH codes."""
    assert field(4).generator(t) == generator


@pytest.mark.parametrize("data_bytes, t", [(512, 2), (1024, 4)])
def test_generators_against_galois(data_bytes, t):
    code = BchCode(data_bytes, t)
    judge = galois.GF(2**code.m, irreducible_poly=PRIMITIVE[code.m], primitive_element=2)
    bch = galois.BCH(2**code.m - 1, d=2 * t + 1, field=galois.GF(2), extension_field=judge)
    assert int(bch.generator_poly) == code.generator


@pytest.mark.parametrize("data_bytes", [512, 1024])
@pytest.mark.parametrize("t", [2, 40, 72])
def test_generators_have_their_roots_and_divide(data_bytes, t):
    code = BchCode(data_bytes, t)
    order, degree = code.field.order, code.parity_bits
    places = np.array([i for i in range(degree + 1) if code.generator >> i & 1])
    for root in range(1, 2 * t + 1):
        assert np.bitwise_xor.reduce(code.field.exp[places * root % order]) == 0
    everything = 1 << order | 1  # all powers of alpha are roots of x**order + 1
    while everything.bit_length() > degree:
        everything ^= code.generator << everything.bit_length() - degree - 1
    assert everything == 0


def test_layout():
    code = BchCode(1024, 40)
    assert (code.m, code.parity_bits, code.pad_bits) == (14, 560, 16)
    assert (code.data_words, code.message_words, code.parity_words, code.words) == (
        128,
        129,
        9,
        138,
    )
    assert (code.spare_bytes, code.parity_bytes) == (80, 72)
    assert code.slots == 64 * 138 and code.bits == code.slots - 16


@pytest.mark.parametrize("data_bytes", [512, 1024])
def test_every_code_fits_its_field(data_bytes):
    for t in range(2, 73):
        code = BchCode(data_bytes, t)
        assert code.slots <= code.field.order
        assert 0 <= code.pad_bits < 64
        assert code.parity_bits <= code.m * t
        assert t % 24 or code.generator.bit_length() - 1 == code.parity_bits


def test_conjugate_roots_cost_nothing():
    """129 = 64**-1 * 65 modulo 8191, so alpha**129 is a root with alpha**65 already."""
    assert BchCode(512, 65).parity_bits == BchCode(512, 64).parity_bits == 13 * 64


@pytest.mark.parametrize(
    "data_bytes, t, telling",
    [(2048, 8, "512 .* or 1024"), (512, 1, "2..72"), (512, 73, "2..72"), (1024, 8.0, "2..72")],
)
def test_impossible_codes_are_refused(data_bytes, t, telling):
    with pytest.raises(ValueError, match=telling):
        BchCode(data_bytes, t)


def test_no_such_field():
    with pytest.raises(ValueError, match="choose one of 4, 13, 14"):
        Field(8)
