"""Parts of the radix select on their own: histogram and token order."""

import random

import numpy as np
import pytest

from hls_attention.histogram import Histogram
from hls_attention.select_config import SelectConfig
from hls_attention.token_order import TokenOrder
from tests.hls_attention.selection_bench import dealt, simulate

SEED = 23


@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_histogram_counts_runs_and_clears(idle):
    dut = Histogram(3, 200)
    rng = random.Random(SEED)
    rounds = [[rng.choice((n, n, 5)) for n in rng.choices(range(8), k=60)] for _ in range(3)]
    got = []

    def benches(clock):
        async def sweep(ctx):
            counts = []
            for bin_ in range(8):
                ctx.set(dut.sweep, 1)
                ctx.set(dut.sweep_bin, bin_)
                await ctx.tick()
                counts.append(ctx.get(dut.o_count))
            ctx.set(dut.sweep, 0)
            return counts

        async def count(ctx):
            await sweep(ctx)
            for bins in rounds:
                for bin_ in bins:
                    ctx.set(dut.i_en, 1)
                    ctx.set(dut.i_bin, bin_)
                    await ctx.tick()
                    ctx.set(dut.i_en, 0)
                    while rng.random() < idle:
                        await ctx.tick()
                await ctx.tick().repeat(2)
                got.append(await sweep(ctx))
            got.append(await sweep(ctx))

        return [count]

    simulate(dut, benches, timeout=2000)
    assert got == [np.bincount(bins, minlength=8).tolist() for bins in rounds] + [[0] * 8]


@pytest.mark.parametrize("channels, group", [(1, 5), (3, 1), (4, 7), (8, 16)])
@pytest.mark.parametrize("tokens", [1, 16, 50])
def test_token_order_goes_through_a_channels_tokens(channels, group, tokens):
    config = SelectConfig(channels=channels, max_tokens=64, max_group=16)
    dut = TokenOrder(config)
    for channel in range(channels):
        got = []

        def benches(clock, channel=channel, got=got):
            async def walk(ctx):
                assert ctx.get(dut.over), "nothing to do before the first restart"
                ctx.set(dut.tokens, tokens)
                ctx.set(dut.group_tokens, group)
                ctx.set(dut.base, channel * group)
                ctx.set(dut.skip, (channels - 1) * group)
                ctx.set(dut.restart, 1)
                await ctx.tick()
                ctx.set(dut.restart, 0)
                while not ctx.get(dut.over):
                    got.append((ctx.get(dut.token), ctx.get(dut.last)))
                    ctx.set(dut.step, 1)
                    await ctx.tick()
                    ctx.set(dut.step, 0)

            return [walk]

        simulate(dut, benches, timeout=200)
        mine = dealt(tokens, channels, group, 0)[channel].tolist()
        assert got == [(token, int(token == mine[-1])) for token in mine]
