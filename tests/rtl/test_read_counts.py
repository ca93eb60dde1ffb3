"""Reads per block against a Counter: in a row, of the same block, while the firmware asks."""

import dataclasses
import random
from collections import Counter

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from flash_model.profiles import profile
from rtl.read_counts import REMINDER, ReadCounts, block_of, count_bits, most_reads
from tests.rtl.streams_bench import Bench

GEOMETRY = dataclasses.replace(profile("tiny").geometry, blocks=9)  # no power of two
ROWS = GEOMETRY.dies * GEOMETRY.blocks


def sense(ctx, dut, place):
    if place is not None:
        ctx.set(dut.place, {"die": place[0], "block": place[1]})
    ctx.set(dut.sensed, place is not None)


def wait(ctx, dut, places=()):
    places = iter(places)
    while ctx.get(dut.busy):
        sense(ctx, dut, next(places, None))
        yield
    sense(ctx, dut, None)


def look(ctx, dut, place, name="ask", places=()):
    """Asks for, or clears, the count of a block while others are read."""
    ctx.set(dut.asked, {"die": place[0], "block": place[1]})
    ctx.set(getattr(dut, name), 1)
    yield
    ctx.set(getattr(dut, name), 0)
    yield from wait(ctx, dut, places)
    return ctx.get(dut.value)


def run(script, bits=24, **signals):
    dut = ReadCounts(GEOMETRY, bits)
    bench = Bench(dut, timeout=20000)
    told = bench.sink(dut.o)

    def whole(ctx):
        for name, value in signals.items():
            ctx.set(getattr(dut, name), value)
        yield from wait(ctx, dut)
        yield from script(ctx, dut)

    bench.script(whole)
    bench.run()
    return [(item["die"], item["block"]) for item in told.items]


@pytest.mark.parametrize("density", [0.2, 0.7, 1.0])
def test_counts(density):
    rng = random.Random(int(10 * density))
    wanted = Counter()

    def script(ctx, dut):
        for _ in range(400):
            place = None
            if rng.random() < density:  # few blocks, so that the same one comes twice in a row
                place = rng.randrange(GEOMETRY.dies), rng.randrange(2)
                wanted[place] += 1
            sense(ctx, dut, place)
            yield
        sense(ctx, dut, None)
        yield
        for die in range(GEOMETRY.dies):
            for block in range(GEOMETRY.blocks):
                busy = [(1 - die, 7)] * rng.randrange(4)
                value = yield from look(ctx, dut, (die, block), places=busy)
                if block != 7:
                    assert value == wanted[die, block], (die, block)

    assert run(script) == [] and sum(wanted.values()) > 50


def test_clear_and_limit():
    def script(ctx, dut):
        for _ in range(2):
            for _ in range(10):
                sense(ctx, dut, (1, 3))
                yield
            sense(ctx, dut, None)
            yield
            assert (yield from look(ctx, dut, (1, 3))) == 10
            yield from look(ctx, dut, (1, 3), "clear")
            assert (yield from look(ctx, dut, (1, 3))) == 0

    assert run(script, limit=10) == [(1, 3)] * 2


def test_a_block_over_the_limit_is_told_again():
    def script(ctx, dut):
        for _ in range(5 + 3 * REMINDER):
            sense(ctx, dut, (0, 1))
            yield
        sense(ctx, dut, None)
        yield
        yield

    assert run(script, limit=5) == [(0, 1)] * 4
    assert ROWS == 18


def test_a_count_saturates_and_its_block_is_told_on():
    """Counts of 8 bits: from 192 on they stay among the last 64 values."""

    def script(ctx, dut):
        reads = 0
        for more in (191, 1, 63, 1, 37, 500):
            for _ in range(more):
                sense(ctx, dut, (0, 1))
                yield
            sense(ctx, dut, None)
            yield
            reads += more
            value = yield from look(ctx, dut, (0, 1))
            assert value == (reads if reads < 256 else 192 + (reads - 192) % 64)

    assert run(script, bits=8, limit=192) == [(0, 1)] * (1 + 601 // 64)


@pytest.mark.parametrize("limit, bits", [
    (0, 12), (4032, 12), (4033, 13), (250_000, 18), (500_000, 19), (524_225, 20), (16_777_152, 24),
])  # fmt: skip
def test_counts_are_as_wide_as_the_limit_needs(limit, bits):
    assert count_bits(limit) == bits and limit <= most_reads(bits) == (1 << bits) - 64


@pytest.mark.parametrize("pages", [1, 16, 258, 768, 2304, 9999, 16384])
def test_block_of_a_row(pages):
    """First and last pages of blocks, over all row addresses."""
    geometry = dataclasses.replace(GEOMETRY, pages=pages, blocks=(1 << 24) // pages)
    row, block = Signal(24), Signal(24)
    m = Module()
    m.d.comb += block.eq(block_of(row, geometry))
    rng = random.Random(pages)
    some = {0, geometry.blocks - 1, *(rng.randrange(geometry.blocks) for _ in range(100))}

    async def check(ctx):
        for number in some:
            for page in (0, pages - 1):
                ctx.set(row, number * pages + page)
                assert ctx.get(block) == number

    sim = Simulator(m)
    sim.add_testbench(check)
    sim.run()
