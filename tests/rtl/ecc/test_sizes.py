"""What a code needs and gives: spare bytes, failure rates, units that keep up."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from flash_model.profiles import profile
from rtl.ecc.code import BchCode
from rtl.ecc.failure import error_counts, failure_rate
from rtl.ecc.key_equation import key_clocks
from rtl.ecc.placement import of_strength, spare_left, strongest
from rtl.ecc.rates import GOAL, kept_rate, mean_search_clocks, sizes_for


@pytest.mark.parametrize("rate", [Fraction(1, 1000), Fraction(1, 200)])
def test_failure_rate_in_exact_fractions(rate):
    code = BchCode(512, 9)
    n = code.bits
    few = [comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(code.t + 1)]
    assert error_counts(code, float(rate)) == pytest.approx([float(p) for p in few], rel=1e-9)
    assert failure_rate(code, float(rate)) == pytest.approx(float(1 - sum(few)), rel=1e-9)


@pytest.mark.parametrize(
    "name, data_bytes, t, left",
    [
        ("paper", 1024, 27, 0),
        ("paper", 512, 9, 32),
        ("tlc_onfi5", 1024, 59, 80),
        ("tiny", 512, 9, 0),
    ],
)
def test_strongest_code_of_a_profile(name, data_bytes, t, left):
    geometry = profile(name).geometry
    code = strongest(geometry, data_bytes)
    assert code == BchCode(data_bytes, t, 2 if name == "tiny" else 1)
    assert code.meta_bits * (geometry.page_bytes // data_bytes) >= 64
    assert spare_left(geometry, code) == left
    if left == 0:
        assert strongest(geometry, data_bytes, left_bytes=1).t < t


@pytest.mark.parametrize("name, data_bytes, t", [("paper", 1024, 12), ("tiny", 512, 4)])
def test_a_weaker_code_leaves_spare_bytes(name, data_bytes, t):
    geometry = profile(name).geometry
    code, best = of_strength(geometry, data_bytes, t), strongest(geometry, data_bytes)
    assert code == BchCode(data_bytes, t, best.check_words)
    saved = geometry.page_bytes // data_bytes * (best.parity_bytes - code.parity_bytes)
    assert spare_left(geometry, code) == spare_left(geometry, best) + saved > 0
    assert of_strength(geometry, data_bytes, 0) == of_strength(geometry, data_bytes, best.t) == best
    for bad in (1, best.t + 1, -1):
        with pytest.raises(ValueError, match=f"t = {bad} is not possible: choose 2..{best.t} bit"):
            of_strength(geometry, data_bytes, bad)


def test_what_does_not_fit_is_refused():
    geometry = profile("tiny").geometry
    with pytest.raises(ValueError, match="cannot be cut into codewords of 1024"):
        strongest(geometry, 1024)
    with pytest.raises(ValueError, match="no code of t = 2 or more fits 32 spare bytes"):
        strongest(geometry, 512, left_bytes=24)


@pytest.mark.parametrize("data_bytes, t", [(512, 8), (512, 29), (1024, 27), (1024, 59)])
def test_units_keep_up_at_a_bit_error_rate_of_1e_3(data_bytes, t):
    code = BchCode(data_bytes, t)
    sizes = sizes_for(code, 1e-3)
    assert sizes.rate >= GOAL
    assert max(sizes.key_clocks, sizes.search_clocks) < code.words


def test_the_rate_of_units_that_are_too_small():
    """Nothing but the slowest unit counts then."""
    code = BchCode(512, 8)
    slow = kept_rate(code, 8, 8, 1e-3)
    assert slow == pytest.approx(code.words / mean_search_clocks(code, 8, 1e-3), rel=0.02)
    assert kept_rate(code, 8, 64, 1e-9) == 1
    assert sizes_for(code, 1e-6).positions < 64


def test_mean_search_clocks_by_throwing_dice():
    code, rng = BchCode(512, 16), np.random.default_rng(1)
    counts = rng.binomial(code.bits, 1e-3, 20_000)
    last = [rng.integers(0, code.bits, n).max() if n else -1 for n in counts]
    clocks = [1 if slot < 0 else min(slot // 32 + 3, -(-code.bits // 32)) for slot in last]
    assert mean_search_clocks(code, 32, 1e-3) == pytest.approx(np.mean(clocks), rel=0.02)


def test_key_clocks_grow_with_errors_and_shrink_with_lanes():
    code = BchCode(1024, 40)
    clocks = [key_clocks(code, 8, errors) for errors in range(41)]
    assert clocks == sorted(clocks) and clocks[0] == 2
    assert key_clocks(code, 64, 40) == 2 + 3 * 40


def test_impossible_rates_are_refused():
    with pytest.raises(ValueError, match="above 0 and below 1"):
        failure_rate(BchCode(512, 8), 0)
