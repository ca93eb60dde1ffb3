"""Selection keys against the twin, whose error against float64 is tested beside the kernels."""

import numpy as np
import pytest

from hls_attention import selection_twin as twin
from hls_attention.config import EngineConfig
from hls_attention.selection_keys import SelectionKeys
from tests.hls_attention.selection_bench import drain, feed, simulate

SEED = 13


def run(dut, lanes, scores, *, stall=0.0, backpressure=0.0):
    """Run the tokens of one job; checks the keys, returns clocks from first score to last key."""
    heads, tokens = scores.shape
    m = twin.references(scores)
    r_mant, r_exp = twin.reciprocals(twin.weight_sums(scores))
    got, ended = [], []
    padded = np.zeros((-(-heads // lanes) * lanes, tokens), np.int64)
    padded[:heads] = scores
    padded[heads:] = 12345 << 12  # to be ignored
    items = padded.T.reshape(-1, lanes).tolist()

    def benches(clock):
        async def send(ctx):
            ctx.set(dut.heads, heads)
            for head in range(heads):
                fields = {"m": m, "r_mant": r_mant, "r_exp": r_exp}
                ctx.set(dut.inverses[head], {name: int(x[head]) for name, x in fields.items()})
            await feed(ctx, dut.i, items, seed=1, stall=stall)

        async def take(ctx):
            await drain(ctx, dut.o, tokens, got.append, seed=2, stall=backpressure)
            ended.append(clock[0])
            assert not ctx.get(dut.busy)

        return [send, take]

    budget = (len(items) + 100) * (1 + 4 * (stall + backpressure))
    simulate(dut, benches, timeout=int(budget))
    assert got == twin.selection_keys(scores, m, r_mant, r_exp).tolist()
    return ended[0]


def random_scores(rng, heads, tokens):
    """Scores of heads that differ in level and sharpness."""
    spread = np.exp2(rng.integers(-3, 5, (heads, 1)))
    level = rng.integers(-40, 40, (heads, 1))
    return np.round((rng.standard_normal((heads, tokens)) * spread + level) * 65536).astype(int)


@pytest.mark.parametrize(
    "max_heads, lanes, heads",
    [(1, 1, 1), (4, 1, 4), (4, 1, 1), (4, 2, 3), (3, 3, 3), (4, 4, 2), (8, 3, 8)],
)
def test_keys_and_clocks(max_heads, lanes, heads):
    dut = SelectionKeys(EngineConfig(max_heads=max_heads), lanes=lanes)
    scores = random_scores(np.random.default_rng(SEED), heads, 100)
    assert run(dut, lanes, scores) == 100 * -(-heads // lanes) + dut.latency


@pytest.mark.parametrize("stall, backpressure", [(0.5, 0), (0, 0.5), (0.4, 0.4)])
@pytest.mark.parametrize("max_heads, lanes, heads", [(2, 1, 2), (4, 2, 3)])
def test_stalls_and_backpressure(max_heads, lanes, heads, stall, backpressure):
    dut = SelectionKeys(EngineConfig(max_heads=max_heads), lanes=lanes)
    scores = random_scores(np.random.default_rng(SEED), heads, 60)
    run(dut, lanes, scores, stall=stall, backpressure=backpressure)


def test_equal_scores_give_equal_keys():
    dut = SelectionKeys(EngineConfig(max_heads=2))
    run(dut, 1, np.full((2, 50), -3 << 15))


def test_more_lanes_than_heads_are_refused():
    with pytest.raises(ValueError, match="lanes = 3 is not possible: choose 1..2"):
        SelectionKeys(EngineConfig(max_heads=2), lanes=3)
