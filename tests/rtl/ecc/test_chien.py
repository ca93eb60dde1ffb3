"""Root search against known places of errors; its clocks against the formula."""

import numpy as np
import pytest

from rtl.ecc import twin
from rtl.ecc.chien import ChienSearch, chien_clocks
from rtl.ecc.code import BchCode
from tests.rtl.ecc.patterns import flip
from tests.rtl.streams_bench import CROSS, Bench


def locators(code, patterns):
    """Locators as the key equation gives them."""
    noise = np.zeros((len(patterns), code.words), np.uint64)
    for row, slots in enumerate(patterns):
        flip(noise, row, slots)
    solved = twin.key_equation(code, twin.syndromes(code, noise))
    return noise, [
        {
            "locator": sum(int(c) << code.m * n for n, c in enumerate(locator)),
            "errors": int(errors) * (not failed),
            "failed": int(failed),
        }
        for locator, errors, failed in zip(*solved)
    ]


def search(code, positions, items, **pauses):
    dut = ChienSearch(code, positions=positions)
    bench = Bench(dut, timeout=80_000, **pauses)
    fields = dut.i.payload.shape()
    packed = [
        sum(item[name] << fields[name].offset for name in ("locator", "errors", "failed"))
        for item in items
    ]
    source = bench.source(dut.i, packed)
    out = bench.sink(dut.o)
    ends = []
    bench.run(lambda: sum(item["last"] for item in out.items) >= len(items), idle=20)
    ends = [clock for item, clock in zip(out.items, out.clocks) if item["last"]]
    assert source.taken == len(items)
    return out.items, ends


def groups(fixes):
    """Fixes up to each verdict."""
    found = [[]]
    for fix in fixes:
        found[-1].append(fix)
        if fix["last"]:
            found.append([])
    assert not found.pop()
    return found


def check(code, positions, patterns, **pauses):
    noise, items = locators(code, patterns)
    fixes, ends = search(code, positions, items, **pauses)
    for slots, row, item, group in zip(patterns, noise, items, groups(fixes), strict=True):
        masks = np.zeros(code.message_words, np.uint64)
        places = [fix["word"] for fix in group if fix["mask"]]
        assert places == sorted(set(places)) and len(places) <= code.t
        for fix in group:
            if fix["mask"]:
                masks[fix["word"]] = fix["mask"]
        verdict = group[-1]
        if item["failed"]:
            assert verdict["uncorrectable"] and not verdict["corrected"] and not places
        else:
            assert not verdict["uncorrectable"] and verdict["corrected"] == len(slots)
            assert np.array_equal(masks, row[: code.message_words])
    return ends


def random_patterns(code, rng, count, most):
    counts = rng.integers(0, most + 1, count)
    return [sorted(rng.choice(code.bits, n, replace=False)) for n in counts]


@pytest.mark.parametrize("stall, backpressure", CROSS)
@pytest.mark.parametrize("positions", [16])
def test_places_of_errors(positions, stall, backpressure):
    code = BchCode(512, 3)
    patterns = random_patterns(code, np.random.default_rng(4), 10, 3)
    check(code, positions, patterns, stall=stall, backpressure=backpressure)


@pytest.mark.parametrize("positions", [2, 64])
def test_errors_at_the_ends_and_side_by_side(positions):
    code = BchCode(512, 3)
    patterns = [
        [0],
        [code.bits - 1],
        [0, 63, 64],
        [7, 8, 9],
        [64 * code.message_words - 1, 64 * code.message_words],
        [],
        [code.bits - 3, code.bits - 2, code.bits - 1],
    ]
    check(code, positions, patterns if positions > 2 else patterns[:3])


def test_roots_outside_of_the_code_are_uncorrectable():
    """In the pad, or before the first word: a locator with roots that cannot be errors."""
    code = BchCode(512, 3)
    power, multiply = code.field.power, code.field.multiply
    items = []
    for slot in (code.slots - 1, code.bits, code.slots + 100, -1):
        a, b = power(code.slots - 1 - slot), power(code.slots - 1 - 5)  # and one that can
        coefficients = [1, a ^ b, int(multiply(a, b))]
        locator = sum(c << code.m * n for n, c in enumerate(coefficients))
        items.append({"locator": locator, "errors": 2, "failed": 0})
    fixes, _ = search(code, 16, items)
    verdicts = [fix for fix in fixes if fix["last"]]
    assert all(v["uncorrectable"] and v["corrected"] == 0 for v in verdicts)


def test_degree_without_roots_is_uncorrectable():
    code = BchCode(512, 3)
    fixes, _ = search(code, 32, [{"locator": 1 | 1 << 2 * code.m, "errors": 3, "failed": 0}])
    assert fixes[-1]["uncorrectable"]


@pytest.mark.parametrize("positions", [32])
def test_clocks(positions):
    code = BchCode(512, 3)
    patterns = [[1], [], [3, 3000], [code.bits - 1], [], [], [5], [100, 200, 300]]
    ends = check(code, positions, patterns)
    wanted = [chien_clocks(code, positions, max(slots, default=None)) for slots in patterns]
    assert np.diff(ends).tolist() == wanted[1:]


def test_impossible_positions_are_refused():
    with pytest.raises(ValueError, match="positions = 128 .* 1, 2, 4"):
        ChienSearch(BchCode(512, 3), positions=128)
