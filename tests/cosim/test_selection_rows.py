"""The Verilated radix select against the twin over long sequences: verdicts, clocks, stalls.

`make soak` selects among as many tokens as there may be. Run with ``-s`` for the figures.
"""

import numpy as np
import pytest

from cosim.stream_lane import StreamLane
from hls_attention import selection_twin as twin
from hls_attention.radix_select import RadixSelect
from hls_attention.select_config import SelectConfig, select_job_layout
from tests.hls_attention.engine_bench import pack
from tests.hls_attention.selection_bench import Selection, random_keys

SEED = 41


def check(lane, config, selections, **pauses):
    """Run selections one after the other; returns the clock of the last verdict of each."""
    channels = range(config.channels)
    dealt = [selection.lanes(config.channels) for selection in selections]
    layout = select_job_layout(config)
    jobs = [pack(selection.fields(), layout) for selection in selections]
    words = range(lane.words("i_jobs"))
    inputs = {"i_jobs": [[job >> 32 * word & 0xFFFFFFFF for word in words] for job in jobs]}
    outputs = {}
    for channel in channels:
        keys = [s.keys[tokens[channel]] for s, tokens in zip(selections, dealt)]
        inputs[f"i__{channel}"] = np.concatenate(keys).astype(np.uint32)[:, None]
        outputs[f"o__{channel}"] = sum(map(len, keys))
    traffic, clocks = lane.run(inputs, outputs, seed=SEED, **pauses)
    for channel in channels:
        got = traffic[f"o__{channel}"].payloads[:, 0]
        expected = []
        for selection, tokens in zip(selections, dealt):
            keep, mine = selection.expected(), tokens[channel]
            last = np.arange(len(mine)) == len(mine) - 1
            expected.append(mine | keep[mine] << config.token_bits | last << config.token_bits + 1)
        assert np.array_equal(got, np.concatenate(expected))
    ends = max(traffic[f"o__{channel}"].last for channel in channels)
    return ends - traffic["i_jobs"].first


@pytest.fixture(scope="module")
def paper():
    """8 channels; the default widths."""
    config = SelectConfig(channels=8, max_tokens=8192, max_group=32)
    return config, StreamLane(RadixSelect(config), "radix_select")


@pytest.mark.parametrize("pauses", [{}, {"stall": 0.4, "backpressure": 0.4}], ids=["", "pauses"])
def test_many_selections(paper, pauses):
    config, lane = paper
    rng = np.random.default_rng(SEED)
    selections = []
    for _ in range(30):
        tokens = int(rng.integers(1, 8193))
        selections.append(
            Selection(
                random_keys(rng, tokens, config.key_bits, rng.choice([None, 1, 7, 3000])),
                k=int(rng.integers(1, 1 + rng.choice([2, tokens, 8192]))),
                sinks=int(rng.choice([0, 1, 4])),
                window=int(rng.choice([0, 16, 128, 8192])),
                group=int(rng.integers(1, 33)),
                first=int(rng.integers(8)),
            )
        )
    check(lane, config, selections, **pauses)


@pytest.mark.parametrize("tokens, k", [(2048, 128), (4096, 512), (8192, 1024), (8192, 8192)])
def test_clocks(paper, tokens, k):
    """Keys of normally distributed scores of four heads."""
    config, lane = paper
    rng = np.random.default_rng(SEED)
    s = np.round(rng.standard_normal((4, tokens)) * 2 * 65536).astype(np.int64)
    inverse = twin.reciprocals(twin.weight_sums(s))
    keys = twin.selection_keys(s, twin.references(s), *inverse)
    selection = Selection(keys, k, 1, 64, 16, 3)
    clocks = check(lane, config, [selection])
    rounds = selection.rounds(config)
    print(f"{tokens} tokens, k = {k}: {clocks} clocks, {rounds} rounds")
    assert clocks == selection.clocks(config)


@pytest.mark.soak
@pytest.mark.parametrize("channels", [1, 8])
def test_as_many_tokens_as_there_may_be(channels):
    config = SelectConfig(channels=channels, max_tokens=131_072, max_group=512)
    lane = StreamLane(RadixSelect(config), "radix_select")
    rng = np.random.default_rng(SEED)
    for tokens, k, levels in (
        (131_072, 8192, None),
        (131_072, 16_384, 1),
        (131_071, 4096, 300),
        (100_000, 1, None),
    ):
        keys = random_keys(rng, tokens, config.key_bits, levels)
        selection = Selection(keys, k, 4, 128, 512, channels - 1)
        clocks, rounds = check(lane, config, [selection]), selection.rounds(config)
        print(f"{channels} channels, {tokens} tokens, k = {k}: {clocks} clocks, {rounds} rounds")
        assert clocks == selection.clocks(config)
