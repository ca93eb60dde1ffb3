"""Codewords of every flash profile: what fits a page, its factory mark, how often they fail.

The tables of docs/ecc.md are held to what is computed here; the test shows a row that differs.
"""

from fractions import Fraction
from math import comb
from pathlib import Path

import pytest

from flash_model.bit_errors import BitErrorRate
from flash_model.faults import Faults
from flash_model.profiles import PROFILES, profile
from rtl.ecc.code import FIELDS, WORD
from rtl.ecc.failure import failure_rate
from rtl.ecc.placement import PAGE_META_BITS, of_strength, spare_left, strongest

DOCUMENT = Path(__file__).parents[3] / "docs" / "ecc.md"
CRC_BITS = 32
RATES = 1e-3, 3e-3

WEAKER = 4, 6, 8, 10, 12, 16, 20, 27
"""t of codes for the pages of ``paper``, of which the last is the strongest."""

WEAKER_RATES = 1e-5, 1e-4, 1e-3, 5e-3

CASES = [
    (name, size)
    for name, part in PROFILES.items()
    for size in (1024, 512)
    if part.geometry.page_bytes % size == 0
]


def rated(name):
    """Bit error rate at the end of the part's life (`flash_model.bit_errors`)."""
    erases = profile(name).endurance.erases
    return BitErrorRate(erases=erases)(erases, kept_s=0, reads=0)


def layout(geometry, size, t):
    """Bytes of a codeword's check and parity words, by hand."""
    codewords = geometry.page_bytes // size
    check = WORD
    if codewords * (check - CRC_BITS) < PAGE_META_BITS:
        check += WORD
    parity = -(-FIELDS[size] * t // WORD) * WORD  # no roots are conjugates below t = 65
    return check // 8, parity // 8


def part_of(offset, size, check):
    """What a byte of a codeword belongs to."""
    return "data" if offset < size else "check" if offset < size + check else "parity"


def row(name, size):
    """The row of the table."""
    part, geometry = profile(name), profile(name).geometry
    code = strongest(geometry, size)
    codewords = geometry.page_bytes // size
    number, offset = divmod(geometry.page_bytes, size + code.spare_bytes)
    rates = [failure_rate(code, rate) for rate in (rated(name), *RATES)]
    cells = [
        name,
        f"{geometry.page_bytes} + {geometry.spare_bytes}",
        f"{codewords} x {size}",
        code.t,
        f"{8 * code.check_words} + {code.parity_bytes}",
        codewords * (size + code.spare_bytes),
        spare_left(geometry, code),
        f"{part_of(offset, size, 8 * code.check_words)} of codeword {number}",
        part.endurance.ecc_bits,
        *(f"{rate:.1e}" for rate in rates),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def weaker_row(t):
    """The row of the table of weaker codes."""
    geometry = profile("paper").geometry
    code = of_strength(geometry, 1024, t)
    cells = [
        t,
        code.parity_bytes,
        spare_left(geometry, code),
        *(f"{failure_rate(code, rate):.1e}" for rate in WEAKER_RATES),
    ]
    return f"| {' | '.join(map(str, cells))} |"


@pytest.mark.parametrize("name, size", CASES)
def test_codewords_fit_the_page(name, size):
    geometry = profile(name).geometry
    code = strongest(geometry, size)
    check, parity = layout(geometry, size, code.t)
    assert (check, parity) == (8 * code.check_words, code.parity_bytes)
    codewords = geometry.page_bytes // size
    left = geometry.page_total - codewords * (size + check + parity)
    assert left == spare_left(geometry, code) >= 0
    check, parity = layout(geometry, size, code.t + 1)  # the next one does not fit
    assert codewords * (check + parity) > geometry.spare_bytes


@pytest.mark.parametrize("name, size", CASES)
def test_where_the_factory_mark_lies(name, size):
    """In a codeword, everywhere: it is gone once the block is written."""
    geometry = profile(name).geometry
    code = strongest(geometry, size)
    ((page, mark),) = Faults(geometry, bad_blocks=[(0, 0, 3)]).marks()
    assert page == geometry.row(3, 0) and mark == geometry.page_bytes
    check, parity = layout(geometry, size, code.t)
    bounds = range(0, geometry.page_total + 1, size + check + parity)
    number = sum(bound <= mark for bound in bounds) - 1
    assert number < geometry.page_bytes // size
    assert f"of codeword {number} |" in row(name, size)


@pytest.mark.parametrize("name, size", CASES)
def test_failure_rate_at_the_rated_error_rate(name, size):
    code, rate = strongest(profile(name).geometry, size), Fraction(rated(name))
    bits = 8 * size + WORD * code.check_words + FIELDS[size] * code.t
    p, q = rate.numerator, rate.denominator - rate.numerator
    few = sum(comb(bits, k) * p**k * q ** (bits - k) for k in range(code.t + 1))
    exact = 1 - Fraction(few, rate.denominator**bits)
    assert failure_rate(code, float(rate)) == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("name, size", CASES)
def test_the_table_of_the_document(name, size):
    assert row(name, size) in DOCUMENT.read_text().splitlines()


@pytest.mark.parametrize("t", WEAKER)
def test_the_table_of_weaker_codes(t):
    assert weaker_row(t) in DOCUMENT.read_text().splitlines()


if __name__ == "__main__":
    print("\n".join(row(*case) for case in CASES))
    print("\n".join(weaker_row(t) for t in WEAKER))
