"""Key equation against the twin, coefficient by coefficient; its clocks against the formula."""

import numpy as np
import pytest

from rtl.ecc import twin
from rtl.ecc.code import BchCode
from rtl.ecc.key_equation import KeyEquation, key_clocks
from tests.rtl.ecc.patterns import inject
from tests.rtl.streams_bench import CROSS, Bench


def solve(code, lanes, odd, **pauses):
    dut = KeyEquation(code, lanes=lanes)
    bench = Bench(dut, timeout=60_000, **pauses)
    packed = [sum(int(s) << code.m * n for n, s in enumerate(row)) for row in odd]
    taken = []
    bench.source(dut.i, packed)
    out = bench.sink(dut.o, then=lambda _: taken.append(bench.clock))
    bench.run(lambda: len(out.items) >= len(odd), idle=20)
    return out.items, taken


def check(code, lanes, odd, **pauses):
    got, taken = solve(code, lanes, odd, **pauses)
    for item, locator, errors, failed in zip(got, *twin.key_equation(code, odd), strict=True):
        assert item["failed"] == failed
        if not failed:
            assert item["errors"] == errors
            wanted = sum(int(c) << code.m * n for n, c in enumerate(locator))
            assert item["locator"] == wanted
    return taken


@pytest.mark.parametrize("stall, backpressure", CROSS)
@pytest.mark.parametrize("t, lanes", [(2, 1), (5, 2), (6, 4)])
def test_locators(t, lanes, stall, backpressure):
    code, rng = BchCode(512, t), np.random.default_rng(t)
    _, received = inject(rng, code, rng.integers(0, t + 4, 20))
    odd = twin.syndromes(code, received)
    check(code, lanes, odd, stall=stall, backpressure=backpressure)


def test_arbitrary_syndromes():
    """Not only those of few errors: zeros in between make the locator grow in leaps."""
    code, rng = BchCode(512, 7), np.random.default_rng(7)
    odd = rng.integers(0, 1 << code.m, (120, code.t)).astype(np.int32)
    odd *= rng.random(odd.shape) < rng.choice([0.2, 0.5, 1], (120, 1))
    check(code, 4, odd)


@pytest.mark.parametrize("t, lanes", [(24, 8)])
def test_long_locators(t, lanes):
    code, rng = BchCode(1024, t), np.random.default_rng(t)
    _, received = inject(rng, code, [t, 9, t + 1])
    check(code, lanes, twin.syndromes(code, received))


@pytest.mark.parametrize("t, lanes", [(6, 1), (6, 4), (9, 16)])
def test_clocks(t, lanes):
    code, rng = BchCode(1024, t), np.random.default_rng(3)
    counts = [*range(t + 1), 0]
    _, received = inject(rng, code, counts)
    taken = check(code, lanes, twin.syndromes(code, received))
    assert np.diff(taken).tolist() == [key_clocks(code, lanes, e) for e in counts[1:]]


@pytest.mark.parametrize("lanes", [0, 3, 16])
def test_impossible_lanes_are_refused(lanes):
    with pytest.raises(ValueError, match="t = 3: choose 1, 2, 4"):
        KeyEquation(BchCode(512, 3), lanes=lanes)
