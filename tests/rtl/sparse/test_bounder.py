"""The bounder against `hls_attention.bounds_code.encode`."""

import ml_dtypes
import numpy as np
import pytest

from hls_attention.bounds_code import encode
from rtl.sparse.bounder import Bounder
from tests.rtl.streams_bench import CROSS, Bench

FP16, BF16 = np.float16, ml_dtypes.bfloat16


def run(heads, tokens, **changes):
    """Makes bounds of K [tokens, channels] one after another, ``tokens`` a request; clocks until
    they are in device DRAM."""
    dut, bench, source, dram, places = build(heads, tokens, **changes)
    seen = bench.watch(dut.settled)
    bench.run(lambda: not source.items and seen[-1:] == [(1,)], idle=20)
    for k, place in zip(heads, places, strict=True):
        found = np.frombuffer(dram.bytes, np.uint8)[place : place + k.size // 4]
        assert np.array_equal(found.reshape(-1, k.shape[1]), encode(k))
    assert sum(8 * beats for _, beats in dram.writes) == sum(k.size for k in heads) // 4
    return max(n for n, (settled,) in enumerate(seen) if not settled)


def build(heads, tokens, *, memory=None, **changes):
    """A bounder among its drivers, and where the bounds of each K are to be."""
    size = max(k.shape[1] for k in heads)
    dut = Bounder(tokens * size // 4, size)
    bench = Bench(dut, timeout=60_000, **changes)
    dram = bench.memory(dut.write, 1 << 16, **{"latency": 4} | (memory or {}))
    requests, places, at = [], [], 0
    for k in heads:
        places.append(at)
        requests += [
            {
                "address": at + first * k.shape[1] // 4,
                "beats": k.shape[1] // 4,
                "quads": min(tokens, len(k) - first) // 4,
                "bf16": k.dtype == BF16,
            }
            for first in range(0, len(k), tokens)
        ]
        at += k.size // 4 + 1000
    bench.source(dut.i, requests)
    words = np.concatenate([k.view(np.uint16).ravel() for k in heads]).view("<u8")
    return dut, bench, bench.source(dut.i_words, words.tolist()), dram, places


def any_words(rng, tokens, channels, dtype):
    """All kinds of elements: each channel of a block has exponents of its own, some of them
    subnormal, infinite or NaN; some channels are zeros, some equal."""
    fraction = 10 if dtype == FP16 else 7
    most = (1 << 15 - fraction) - 1
    blocks = (tokens // 32, 1, channels)
    top = rng.integers(0, most + 1, blocks)
    spread = rng.choice([0, 1, 3, most], blocks)
    field = rng.integers(np.maximum(top - spread, 0), top + 1, (tokens // 32, 32, channels))
    words = rng.integers(0, 2, field.shape) << 15 | field << fraction
    words |= rng.integers(0, 1 << fraction, field.shape)
    kind = rng.integers(0, 8, blocks)
    words = np.where(kind == 0, words & 0x8000, words)  # zeros of both signs
    words = np.where(kind == 1, words & 0x7FFF, words)
    words = np.where(kind == 2, words | 0x8000, words)
    words = np.where(kind == 3, words[:, :1], words)
    return words.astype(np.uint16).reshape(tokens, channels).view(dtype)


@pytest.mark.parametrize("dtype", [FP16, BF16])
@pytest.mark.parametrize("seed", range(3))
def test_bounds_of_all_kinds_of_elements(dtype, seed):
    run([any_words(np.random.default_rng(seed), 64, 128, dtype)], 64)


@pytest.mark.parametrize("tokens, channels", [(16, 16), (8, 24), (64, 64), (96, 16)])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_requests_of_any_size(tokens, channels, stall, backpressure):
    """Parts of a block and several blocks, of heads of both formats."""
    rng = np.random.default_rng([tokens, channels])
    heads = [any_words(rng, 96, channels, FP16), any_words(rng, 32, 16, BF16)]
    run(heads, tokens, stall=stall, backpressure=backpressure, quiet=True)


def test_words_never_wait_for_bytes():
    """A block more takes as long as its words."""
    k = any_words(np.random.default_rng(5), 160, 64, FP16)
    clocks = [run([k[:tokens]], 32) for tokens in (32, 160)]
    assert clocks[1] - clocks[0] <= 4 * 32 * 16 + 5


@pytest.mark.parametrize("tokens, blocks", [(16, 1), (32, 1), (128, 4), (96, 3)])
def test_words_of_a_request_never_wait_for_device_dram(tokens, blocks):
    """Where there is room, all words of a request are taken while nothing can be written."""
    k = any_words(np.random.default_rng(6), 480, 16, FP16)
    dut, bench, source, dram, _ = build([k], tokens, memory={"stall": 1.0})
    seen = bench.watch(dut.room, dut.i_words.ready, dut.i.ready)
    bench.run(lambda: len(seen) > 4 and not any(map(any, seen[-5:])))
    assert not dram.writes
    assert source.taken % (tokens * 4) == 0 and source.taken >= blocks * 32 * 4
