"""Syndromes against the twin."""

import numpy as np
import pytest

from rtl.ecc import twin
from rtl.ecc.code import BchCode
from rtl.ecc.syndromes import Syndromes
from tests.rtl.ecc.patterns import flip, inject, words
from tests.rtl.streams_bench import CROSS, Bench


def elements(code, word):
    return [word >> code.m * n & (1 << code.m) - 1 for n in range(code.t)]


@pytest.mark.parametrize("stall, backpressure", CROSS)
@pytest.mark.parametrize("data_bytes, t", [(512, 3), (1024, 6)])
def test_syndromes(data_bytes, t, stall, backpressure):
    code, rng = BchCode(data_bytes, t), np.random.default_rng(t)
    _, received = inject(rng, code, [0, 1, 2, 30, 0, 500])
    flip(received, 4, range(code.bits, code.slots))
    received[-1] = rng.integers(0, 1 << 64, code.words, np.uint64)
    dut = Syndromes(code)
    bench = Bench(dut, timeout=8000, stall=stall, backpressure=backpressure)
    source = bench.source(dut.i, words(received))
    out = bench.sink(dut.o)
    bench.run(lambda: len(out.items) >= len(received), idle=20)
    assert [elements(code, word) for word in out.items] == twin.syndromes(code, received).tolist()
    if not stall and not backpressure:
        assert source.taken == received.size and out.clocks[0] == code.words
        assert out.clocks[-1] == len(received) * code.words  # a word every clock
