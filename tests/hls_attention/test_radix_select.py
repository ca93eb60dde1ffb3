"""Radix select against the twin, which is tested against torch: verdicts, ties, clocks, stalls."""

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal

from hls_attention.radix_select import RadixSelect
from hls_attention.select_config import SelectConfig
from tests.hls_attention.selection_bench import (
    Selection,
    dealt,
    drain,
    feed,
    random_keys,
    simulate,
)

SEED = 5


def run(config, selections, *, stall=0.0, backpressure=0.0):
    """Run selections; checks verdicts and their order, returns clocks of each."""
    dut = RadixSelect(config)
    got = [[] for _ in range(config.channels)]
    begun, ended = [], [0] * len(selections)
    lanes = [selection.lanes(config.channels) for selection in selections]

    def benches(clock):
        async def jobs(ctx):
            for selection in selections:
                await feed(ctx, dut.i_jobs, [selection.fields()])
                begun.append(clock[0])

        yield jobs
        for channel in range(config.channels):

            async def keys(ctx, channel=channel):
                for selection, lane in zip(selections, lanes):
                    items = selection.keys[lane[channel]].tolist()
                    await feed(ctx, dut.i[channel], items, seed=channel, stall=stall)

            async def verdicts(ctx, channel=channel):
                for index, lane in enumerate(lanes):
                    out, port = got[channel], dut.o[channel]
                    count = len(lane[channel]) * selections[index].passes
                    await drain(ctx, port, count, out.append, seed=channel, stall=backpressure)
                    if count:
                        ended[index] = max(ended[index], clock[0])

            yield keys
            yield verdicts

    budget = sum(s.clocks(config) for s in selections) * (1 + 4 * (stall + backpressure)) + 5000
    simulate(dut, benches, timeout=int(budget))

    for selection, lane in zip(selections, lanes):
        expected = selection.expected()
        assert expected.sum() == min(selection.k, len(selection.keys))
        for channel, tokens in enumerate(lane):
            for _ in range(selection.passes):
                verdicts, got[channel] = got[channel][: len(tokens)], got[channel][len(tokens) :]
                assert [v.token for v in verdicts] == tokens.tolist()
                assert [v.last for v in verdicts] == [t == tokens[-1] for t in tokens]
                assert [v.keep for v in verdicts] == expected[tokens].tolist()
    assert not any(got)
    return [end - start for start, end in zip(begun, ended)]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 8])
def test_verdicts_and_clocks(channels):
    config = SelectConfig(
        channels=channels, max_tokens=256, max_group=16, key_bits=14, digit_bits=4
    )
    rng = np.random.default_rng(SEED)
    selections = []
    for tokens, k, sinks, window, group in (
        (200, 25, 0, 0, 1),
        (256, 1, 0, 0, 16),
        (100, 100, 0, 0, 5),
        (61, 200, 1, 2, 16),
        (130, 40, 4, 16, 7),
        (1, 1, 0, 0, 3),
        (150, 149, 0, 150, 8),
        (150, 10, 100, 100, 8),
    ):
        keys = random_keys(rng, tokens, config.key_bits)
        first = int(rng.integers(channels))
        selections.append(Selection(keys, k, sinks, window, group, first))
    clocks = run(config, selections)
    assert clocks == [selection.clocks(config) for selection in selections]


@pytest.mark.parametrize("levels", [1, 5])
@pytest.mark.parametrize("channels, group, first", [(1, 9, 0), (3, 1, 2), (4, 16, 1), (8, 5, 7)])
def test_ties_go_to_the_lowest_tokens(channels, group, first, levels):
    config = SelectConfig(channels=channels, max_tokens=200, max_group=16, key_bits=8, digit_bits=4)
    rng = np.random.default_rng(SEED)
    selections = [
        Selection(random_keys(rng, tokens, 8, levels), k, 0, window, group, first)
        for tokens, k, window in ((120, 17, 0), (120, 60, 8), (77, 76, 0), (77, 1, 0))
    ]
    clocks = run(config, selections)
    assert clocks == [selection.clocks(config) for selection in selections]
    assert max(selection.rounds(config) for selection in selections) > 9 // 4 + 1, "no tie was cut"


@pytest.mark.parametrize("stall, backpressure", [(0.5, 0.0), (0.0, 0.5), (0.4, 0.4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_stalls_and_backpressure(channels, stall, backpressure):
    config = SelectConfig(channels=channels, max_tokens=128, max_group=8, key_bits=10, digit_bits=4)
    rng = np.random.default_rng(SEED)
    selections = [
        Selection(random_keys(rng, tokens, 10, levels), k, 2, 4, group, 0)
        for tokens, k, levels, group in ((90, 20, None, 4), (128, 40, 6, 8), (3, 5, None, 1))
    ]
    run(config, selections, stall=stall, backpressure=backpressure)


def test_the_last_key_is_the_largest():
    """Its bin is the first of the sweep that follows at once."""
    config = SelectConfig(channels=2, max_tokens=64, max_group=4, key_bits=7, digit_bits=4)
    keys = np.arange(64) * 2 + 1
    selections = [
        Selection(keys, k, group=4, first=1, window=window) for k, window in ((1, 0), (3, 2))
    ]
    assert run(config, selections) == [s.clocks(config) for s in selections]


def test_verdicts_more_than_once():
    config = SelectConfig(channels=3, max_tokens=64, max_group=4, key_bits=8, digit_bits=4)
    keys = np.random.default_rng(SEED).integers(0, 256, 60)
    selections = [Selection(keys, 20, 0, 2, 4, 1, passes) for passes in (3, 1, 2)]
    assert run(config, selections) == [s.clocks(config) for s in selections]
    run(config, selections, backpressure=0.5)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_units_before_groups(channels):
    """As K by channel lies: whole units, then groups for the rest, each on channels of its own."""
    config = SelectConfig(
        channels=channels, max_tokens=256, max_group=8, max_unit=32, key_bits=10, digit_bits=4
    )
    rng = np.random.default_rng(SEED)
    selections = [
        Selection(
            random_keys(rng, tokens, 10, levels),
            k,
            window=window,
            group=group,
            first=int(rng.integers(channels)),
            unit=unit,
            units=units,
            unit_first=int(rng.integers(channels)),
        )
        for tokens, k, levels, window, group, unit, units in (
            (250, 30, None, 8, 4, 32, 7),
            (224, 60, 3, 0, 8, 32, 7),
            (33, 9, None, 0, 1, 16, 2),
            (50, 20, 2, 4, 8, 24, 0),
            (40, 40, None, 0, 3, 32, 1),
        )
    ]
    assert run(config, selections) == [selection.clocks(config) for selection in selections]
    run(config, selections, stall=0.3, backpressure=0.3)


@pytest.mark.parametrize("digit_bits", [2, 5, 8])
@pytest.mark.parametrize("key_bits", [1, 43])
def test_widths(digit_bits, key_bits):
    config = SelectConfig(
        channels=2, max_tokens=100, max_group=4, key_bits=key_bits, digit_bits=digit_bits
    )
    rng = np.random.default_rng(SEED)
    selections = [Selection(random_keys(rng, 100, key_bits), k, 1, 3, 4, 1) for k in (13, 99)]
    assert run(config, selections) == [s.clocks(config) for s in selections]


def test_the_size_of_the_paper():
    """2000 tokens, an eighth of them, on 8 channels of 16 tokens a page: the default widths."""
    config = SelectConfig(channels=8, max_tokens=2048, max_group=16)
    rng = np.random.default_rng(SEED)
    selection = Selection(random_keys(rng, 2000, config.key_bits), 250, 1, 64, 16, 3)
    (clocks,) = run(config, [selection])
    rounds = selection.rounds(config)
    assert clocks == selection.clocks(config) == 256 * (rounds + 1) + rounds * 267 + 11
    assert rounds <= 3


@pytest.mark.parametrize("clocks", [10, 40, 60, 110])
def test_a_reset_in_the_middle_leaves_nothing_behind(clocks):
    config = SelectConfig(channels=2, max_tokens=64, max_group=4, key_bits=8, digit_bits=4)
    rng = np.random.default_rng(SEED)
    selection = Selection(rng.integers(0, 256, 60), 21, 0, 0, 4, 1)
    lanes, expected = selection.lanes(2), selection.expected()
    inner, reset = RadixSelect(config), Signal()
    got = [[], []]

    def benches(clock):
        async def disturb_and_select(ctx):
            ctx.set(inner.i_jobs.payload, selection.fields())
            for port in (inner.i_jobs, *inner.i):
                ctx.set(port.valid, 1)
            for _ in range(clocks):
                for port in inner.i:
                    ctx.set(port.payload, int(rng.integers(0, 256)))
                await ctx.tick()
            for port in (inner.i_jobs, *inner.i):
                ctx.set(port.valid, 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            await feed(ctx, inner.i_jobs, [selection.fields()])
            for channel, tokens in enumerate(lanes):
                await feed(ctx, inner.i[channel], selection.keys[tokens].tolist())
            for channel, tokens in enumerate(lanes):
                await drain(ctx, inner.o[channel], len(tokens), got[channel].append)

        yield disturb_and_select

    simulate(ResetInserter(reset)(inner), benches, timeout=2000)
    for verdicts, tokens in zip(got, lanes):
        assert [v.keep for v in verdicts] == expected[tokens].tolist()


@pytest.mark.parametrize(
    "field, value", [("channels", 17), ("max_tokens", 1), ("key_bits", 0), ("digit_bits", 13)]
)
def test_sizes_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} = {value} is not possible"):
        SelectConfig(**{field: value})


def test_rows_hold_every_way_of_dealing():
    for channels in (1, 3, 8):
        config = SelectConfig(channels=channels, max_tokens=300, max_group=20)
        most = max(
            len(dealt(tokens, channels, group, 0)[0])
            for tokens in range(1, 301)
            for group in range(1, 21)
        )
        assert most <= config.lane_rows <= most + 20
