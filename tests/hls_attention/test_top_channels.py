"""Top channels against the twin, which is tested against torch and float64."""

import ml_dtypes
import numpy as np
import pytest

from hls_attention import selection_twin as twin
from hls_attention.config import EngineConfig
from hls_attention.top_channels import TopChannels
from tests.hls_attention.engine_bench import words
from tests.hls_attention.selection_bench import Selection, drain, feed, simulate

SEED = 3


def queries(rng, heads, dim, dtype, levels=None):
    if levels is not None:
        return rng.integers(-levels, levels + 1, (heads, dim)).astype(dtype)
    spread = np.exp(rng.standard_normal(dim)) * np.exp2(rng.integers(-6, 6, (heads, 1)))
    return (rng.standard_normal((heads, dim)) * spread).astype(dtype)


def clocks_of(config, q, r):
    """From a job to the last of its norms, when nobody waits; kernels cut for 250 MHz."""
    select = TopChannels(config).select
    heads, beats = len(q), q.shape[1] // 4
    rounds = Selection(twin.top_channels(q, r).keys, r).rounds(select)
    return beats * (3 * heads + rounds - 1) + 26 * rounds + heads + 8


def run(config, jobs, *, stall=0.0, backpressure=0.0, apart=False):
    """Run (q, r) jobs, check them against the twin; returns clocks from job to last norm."""
    dut = TopChannels(config)
    masks, norms, begun, ended = [], [], [], []

    def benches(clock):
        async def send_jobs(ctx):
            for index, (q, r) in enumerate(jobs):
                while apart and len(ended) < index:
                    await ctx.tick()
                fields = {
                    "heads": len(q),
                    "beats": q.shape[1] // 4,
                    "bf16": q.dtype != np.float16,
                    "r": r,
                }
                await feed(ctx, dut.i_jobs, [fields])
                begun.append(clock[0])

        async def send_q(ctx):
            for q, _ in jobs:
                await feed(ctx, dut.i_q, words(q), seed=1, stall=stall)

        async def take_masks(ctx):
            count = sum(q.shape[1] // 4 for q, _ in jobs)
            await drain(ctx, dut.o_mask, count, masks.append, seed=2, stall=backpressure)

        async def take_norms(ctx):
            for q, _ in jobs:
                await drain(ctx, dut.o_norms, len(q), norms.append, seed=3, stall=backpressure)
                ended.append(clock[0])

        return [send_jobs, send_q, take_masks, take_norms]

    budget = sum(clocks_of(config, q, r) for q, r in jobs) * (1 + 4 * (stall + backpressure)) + 99
    simulate(dut, benches, timeout=int(budget))

    for q, r in jobs:
        expected = twin.top_channels(q, r)
        beats = q.shape[1] // 4
        rows, masks = masks[:beats], masks[beats:]
        assert [row.row for row in rows] == list(range(beats))
        assert [row.last for row in rows] == [0] * (beats - 1) + [1]
        mask = [bool(row.mask >> lane & 1) for row in rows for lane in range(4)]
        assert mask == expected.mask.tolist() and sum(mask) == r
        of_job, norms = norms[: len(q)], norms[len(q) :]
        assert [item.head for item in of_job] == list(range(len(q)))
        assert [item.last for item in of_job] == [0] * (len(q) - 1) + [1]
        assert [item.q for item in of_job] == expected.q.tolist()
        assert [item.q_r for item in of_job] == expected.q_r.tolist()
    return [end - start for start, end in zip(begun, ended)]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("max_heads, max_dim", [(1, 64), (4, 128), (8, 256)])
def test_channels_norms_and_clocks(max_heads, max_dim, dtype):
    config = EngineConfig(max_heads=max_heads, max_head_dim=max_dim)
    rng = np.random.default_rng(SEED)
    jobs = [
        (queries(rng, max_heads, max_dim, dtype), max_dim // 8),
        (queries(rng, 1, 64, dtype), 1),
        (queries(rng, max(1, max_heads - 1), 64, dtype, levels=2), 23),
        (queries(rng, 1, max_dim, dtype), max_dim),
    ]
    clocks = run(config, jobs, apart=True)
    assert clocks == [clocks_of(config, q, r) for q, r in jobs]


@pytest.mark.parametrize("stall, backpressure", [(0, 0), (0.5, 0), (0, 0.6), (0.4, 0.4)])
def test_stalls_and_jobs_close_together(stall, backpressure):
    config = EngineConfig(max_heads=3, max_head_dim=96)
    rng = np.random.default_rng(SEED)
    jobs = [
        (queries(rng, heads, dim, np.float16, levels), r)
        for heads, dim, levels, r in ((3, 96, None, 12), (1, 64, 1, 9), (2, 64, None, 64))
    ]
    run(config, jobs * 2, stall=stall, backpressure=backpressure)


def test_heads_of_very_different_size():
    """The norms of a small BF16 head do not suffer from a large one beside it."""
    config = EngineConfig(max_heads=2, max_head_dim=64)
    q = queries(np.random.default_rng(SEED), 2, 64, np.float32)
    q[0] *= 2.0**100
    run(config, [(q.astype(ml_dtypes.bfloat16), 8)])


def test_nothing_finite_is_needed():
    """Infinities, NaN and zeros give some selection of r channels, the same as the twin's."""
    config = EngineConfig(max_heads=2, max_head_dim=64)
    q = queries(np.random.default_rng(SEED), 2, 64, np.float16)
    q[0, 3], q[1, 5], q[1, 6] = np.inf, np.nan, -np.inf
    run(config, [(q, 8), (np.zeros((2, 64), np.float16), 5)])
