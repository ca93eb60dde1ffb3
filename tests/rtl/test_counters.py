"""Performance counters against a tally in Python; the partition sums to the cycles."""

import random

import pytest

from rtl.counters import EVENTS, Counters
from rtl.nand.operations import Activity
from rtl.registers import (
    BREAKDOWN,
    CHANNEL_COUNTERS,
    COUNTERS,
    channel_counter_address,
    counter_address,
)
from tests.rtl.streams_bench import Bench


def read(ctx, dut, address):
    """A 64-bit counter: low word first."""
    value = 0
    for part in (0, 1):
        ctx.set(dut.address, address - 0x3000 + 4 * part)
        ctx.set(dut.read, 1)
        value |= ctx.get(dut.value) << 32 * part
        yield
    ctx.set(dut.read, 0)
    return value


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("skipping", [False, True])
def test_every_clock_is_charged_once(channels, skipping):
    rng = random.Random(channels)
    dut = Counters(channels)
    bench = Bench(dut)
    tally = dict.fromkeys(COUNTERS, 0)
    channel_tally = [dict.fromkeys(CHANNEL_COUNTERS, 0) for _ in range(channels)]
    names = {
        Activity.DATA: "data",
        Activity.COMMAND: "command",
        Activity.WAITING: "waiting",
        Activity.IDLE: "idle",
    }

    said = 0, 0, [Activity.IDLE] * channels

    def clock(ctx, quiet=False):
        nonlocal said
        skip = rng.choice([0, 0, 5, 1 << 31, (1 << 32) - 1]) if skipping and not quiet else 0
        if quiet:
            said = 0, 0, [Activity.IDLE] * channels
        elif not skip:  # nothing is skipped in the clock of a change
            kinds = [rng.choice(list(Activity)) for _ in range(channels)]
            said = rng.random() < 0.3, rng.random() < 0.3, kinds
        engine, dma, activity = said
        ctx.set(dut.skip, skip)
        ctx.set(dut.engine, engine)
        ctx.set(dut.dma, dma)
        for index in range(channels):
            ctx.set(dut.activity[index], activity[index])
            for name in ("page_read", "page_programmed"):
                pulse = not quiet and rng.random() < 0.4
                ctx.set(getattr(dut, name)[index], pulse)
                channel_tally[index][name.replace("page", "pages")] += pulse
            channel_tally[index][names[activity[index]]] += skip + 1
        for name in EVENTS:
            amount = 0 if quiet else rng.choice([0, 0, 1, 8, 65535])
            ctx.set(getattr(dut, f"add_{name}"), amount)
            tally[name] += amount
        tally["cycles"] += skip + 1
        charged = (
            "data"
            if Activity.DATA in activity
            else "command"
            if Activity.COMMAND in activity
            else "engine"
            if engine
            else "arrays"
            if Activity.WAITING in activity
            else "dma"
            if dma
            else "idle"
        )
        tally[f"time_{charged}"] += skip + 1

    # page_read -> pages_read
    for part in channel_tally:
        part.update({"pages_read": 0, "pages_programmed": 0})

    def script(ctx):
        for _ in range(150):
            clock(ctx)
            yield
        clock(ctx, quiet=True)
        yield  # counted a clock after it was said
        clock(ctx, quiet=True)
        got = {}
        start = dict(tally)
        for n, name in enumerate(COUNTERS):
            got[name] = yield from read(ctx, dut, counter_address(name))
            if name in ("cycles", "time_idle"):  # the clocks of reading count, too
                got[name] -= 2 * n
        start["cycles"] -= 1
        start["time_idle"] -= 1
        assert got == start
        assert sum(start[f"time_{name}"] for name in BREAKDOWN) == start["cycles"]
        for index in range(channels):
            for name in set(CHANNEL_COUNTERS) - {"idle"}:
                value = yield from read(ctx, dut, channel_counter_address(index, name))
                assert value == channel_tally[index][name], name

    bench.script(script)
    bench.run()


def test_the_high_word_is_frozen_by_the_read_of_the_low_word():
    dut = Counters(1)
    bench = Bench(dut)

    def script(ctx):
        ctx.set(dut.skip, (1 << 32) - 3)
        yield  # cycles: 2**32 - 2
        ctx.set(dut.skip, 0)
        value = yield from read(ctx, dut, counter_address("cycles"))
        assert value == (1 << 32) - 2
        value = yield from read(ctx, dut, counter_address("cycles"))
        assert value == 1 << 32

    bench.script(script)
    bench.run()
