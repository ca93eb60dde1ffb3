"""Sparse attention from bounds of K in the engine against its twin, bit for bit."""

import numpy as np
import pytest
from amaranth.hdl import Value

from hls_attention import kernels, selection_twin, twin
from hls_attention.channel_engine import ChannelEngine
from hls_attention.formats import words_of
from tests.hls_attention.engine_bench import words
from tests.hls_attention.selection_bench import drain
from tests.hls_attention.selection_bench import simulate as run_benches
from tests.hls_attention.sparse_bench import BF16, Head, simulate, small

BOUNDS = {"bounds": True, "pass_tokens": 64, "unit_tokens": 64}


def run(config, heads, *, stall=0.0, seed=5):
    rng = np.random.default_rng(seed)
    cases = [Head(rng, config, **{"heads": config.max_heads, **how}) for how in heads]
    for head, output in zip(cases, simulate(config, cases, stall=stall), strict=True):
        if head.error is None:
            assert output == words(head.result.out)


@pytest.mark.parametrize(
    ("config", "stall", "heads"),
    [
        (
            small(1, 1, **BOUNDS),
            0.4,
            [
                dict(tokens=41, bounds=32, units=1, kept=20),
                dict(tokens=7, bounds=32, kept=3, dtype=BF16),
            ],
        ),
        (
            small(2, 2, **BOUNDS),
            0.0,
            [
                dict(tokens=78, bounds=32, units=2, kept=5),  # in two passes, of different channels
                dict(tokens=19, r=9, kept=12),  # from channels, in between
                dict(tokens=32, bounds=32, units=1, kept=6, heads=1, dtype=BF16, ties=True),
            ],
        ),
        (
            small(1, 5, **BOUNDS, max_head_dim=128),
            0.2,
            [
                # the scores of a unit take longer than the beats of the next one
                dict(tokens=34, bounds=32, units=1, kept=9),
                dict(tokens=37, bounds=32, units=1, kept=6, head_dim=128, heads=1),
            ],
        ),
    ],
    ids=["one channel", "many passes", "many heads"],
)
def test_heads_one_after_the_other(config, stall, heads):
    run(config, heads, stall=stall)


def test_what_cannot_be_read_and_what_is_no_number():
    """A beat of bounds, a token of which bounds are made; then one with all is well again."""
    heads = [
        dict(tokens=33, bounds=32, units=1, kept=8, error=40),
        dict(tokens=13, bounds=32, units=0, kept=8, error=17),
        dict(tokens=9, bounds=32, units=0, kept=3, nan=True),
        dict(tokens=33, bounds=32, units=1, kept=8),
    ]
    run(small(1, 1, **BOUNDS), heads)


@pytest.mark.parametrize(
    "how",
    [
        dict(tokens=71, bounds=32, units=2, heads=2, dtype=BF16),
        dict(tokens=42, bounds=32, units=1, heads=5),
    ],
    ids=["two passes, BF16", "5 heads"],
)
def test_sums_and_keys_of_one_channel(how):
    """Every bit of the estimates, which the tokens kept do not show."""
    config = small(1, 5, **BOUNDS)
    head = Head(np.random.default_rng(9), config, kept=3, **how)
    heads, keys, dut = len(head.q), head.choice.keys, ChannelEngine(config)
    top = selection_twin.top_channels(head.q, 64)
    mant, exp = selection_twin.temperature(head.scale, top.q, top.q_r)
    q_exp = [twin.block_exponent(q) for q in head.q]
    q_bf16, k_bf16 = (int(x.dtype == BF16) for x in (head.q, head.k))
    m = selection_twin.references(head.choice.scores)
    terms = kernels.weight.numpy(s=head.choice.scores, m=m[:, None])["term"]
    r_mant, r_exp = selection_twin.reciprocals(selection_twin.weight_sums(head.choice.scores))

    async def control(ctx):
        estimate = {
            "heads": heads,
            "channels": 64,
            "mask": (1 << 64) - 1,
            "q_bf16": q_bf16,
            "k_bf16": k_bf16,
            "bounds": 1,
        }
        for name, value in estimate.items():
            ctx.set(dut.estimate[name], value)
        for number, cut in enumerate(head.cuts):
            ctx.set(dut.estimate.k_exp[number], twin.block_exponent(head.k[cut]) + 1)
        for n in range(heads):
            ctx.set(dut.estimate.q_exp[n], q_exp[n])
            ctx.set(dut.estimate.scale_mant[n], int(mant[n]))
            ctx.set(dut.estimate.scale_exp[n], int(exp[n]))
            elements = {"x": words_of(head.q[n]), "q_exp": q_exp[n], "bf16": q_bf16}
            qi = kernels.quantise_query.numpy(**elements)["qi"].reshape(-1, 4).tolist()
            for row, q in enumerate(qi):
                ctx.set(dut.i_estimate_writes.payload, {"head": n, "row": row, "q": q})
                ctx.set(dut.i_estimate_writes.valid, 1)
                await ctx.tick()
        ctx.set(dut.i_estimate_writes.valid, 0)
        for word in head.estimate_beats(0):
            ctx.set(Value.cast(dut.i_beats.payload), word)
            ctx.set(dut.i_beats.valid, 1)
            await ctx.tick().until(dut.i_beats.ready)
        ctx.set(dut.i_beats.valid, 0)
        reports, sums, got = [], [], []
        await drain(ctx, dut.o_estimates, 1, reports.append)
        assert not reports[0].poisoned and not reports[0].empty
        assert [reports[0].m[n] for n in range(heads)] == m.tolist()
        for n in range(heads):
            inverse = {"m": int(m[n]), "r_mant": int(r_mant[n]), "r_exp": int(r_exp[n])}
            ctx.set(dut.inverses[n], inverse)
        ctx.set(dut.sum, 1)
        await ctx.tick()
        ctx.set(dut.sum, 0)
        await drain(ctx, dut.o_sums_of_weights, 1, sums.append)
        assert [sums[0][n] for n in range(heads)] == terms.sum(axis=1).tolist()
        ctx.set(dut.select, 1)
        await ctx.tick()
        ctx.set(dut.select, 0)
        await drain(ctx, dut.o_keys, len(keys), got.append)
        assert got == keys.tolist()

    run_benches(dut, lambda clock: [control], timeout=8000)
