"""The command buffer: any range, in order, a word a clock; a new command starts at word 0."""

import random

import pytest

from rtl.command_buffer import CommandBuffer
from tests.rtl.streams_bench import CROSS, Bench

WORDS = 128


@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_ranges(stall, backpressure):
    rng = random.Random(1)
    dut = CommandBuffer(WORDS)
    bench = Bench(dut, quiet=True, stall=stall, backpressure=backpressure)
    contents = [rng.getrandbits(64) for _ in range(WORDS)]
    ranges = [(0, WORDS), (WORDS - 1, 1), (5, 1)]
    for _ in range(5):
        start = rng.randrange(WORDS)
        ranges.append((start, rng.randint(1, WORDS - start)))
    fill = bench.source(dut.i, contents)
    source = bench.source(dut.i_range)
    wanted = [word for start, words in ranges for word in contents[start : start + words]]

    def script(ctx):
        while fill.taken < WORDS:
            yield
        source.items += [{"address": start, "words": words} for start, words in ranges]

    bench.script(script)
    sink = bench.sink(dut.o)
    bench.run(lambda: len(sink.items) == len(wanted), idle=30)
    assert sink.items == wanted
    if not stall and not backpressure:
        assert sink.clocks[WORDS - 1] - sink.clocks[0] == WORDS - 1, "one word a clock"


def test_clear_starts_over():
    dut = CommandBuffer(WORDS)
    bench = Bench(dut)
    fill = bench.source(dut.i, range(10))
    source = bench.source(dut.i_range)

    def script(ctx):
        while fill.taken < 10:
            yield
        ctx.set(dut.clear, 1)
        yield
        ctx.set(dut.clear, 0)
        fill.items += [100, 101, 102]
        while fill.taken < 13:
            yield
        source.items.append({"address": 0, "words": 6})

    bench.script(script)
    sink = bench.sink(dut.o)
    bench.run(lambda: len(sink.items) == 6)
    assert sink.items == [100, 101, 102, 3, 4, 5]
