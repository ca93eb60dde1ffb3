"""Stream blocks, each crossed with {no stalls, stalls} x {no backpressure, backpressure}."""

import random

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator

from hls_attention.streams import Arbiter, Packer, Queue, SkidBuffer

PAIR = data.StructLayout({"low": 4, "high": 8})
ITEMS = 120
TIMEOUT = 3000


async def send(ctx, port, items, rng, stall):
    for item in items:
        while rng.random() < stall:
            await ctx.tick()
        ctx.set(port.payload, item)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)


async def receive(ctx, port, count, rng, stall, extra=None):
    """Take items; between valid and ready the payload must not move."""
    taken, pending = [], None
    while len(taken) < count:
        ctx.set(port.ready, rng.random() >= stall)
        _, _, valid, ready, payload, more = await ctx.tick().sample(
            port.valid, port.ready, port.payload, port.valid if extra is None else extra
        )
        if pending is not None:
            assert valid and payload == pending, "valid or payload dropped before ready"
        pending = payload if valid and not ready else None
        if valid and ready:
            taken.append(payload if extra is None else (payload, more))
    ctx.set(port.ready, 0)
    return taken


def run(dut, *benches):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for bench in benches:
        sim.add_testbench(bench)

    async def timeout(ctx):
        for _ in range(TIMEOUT):
            await ctx.tick()
        raise TimeoutError(f"no end after {TIMEOUT} clocks")

    sim.add_testbench(timeout, background=True)
    sim.run()


@pytest.mark.parametrize("backpressure", [0, 0.6])
@pytest.mark.parametrize("stall", [0, 0.6])
@pytest.mark.parametrize(
    "make",
    [
        SkidBuffer,
        lambda shape: Queue(shape, depth=2),
        lambda shape: Queue(shape, depth=7),
    ],
    ids=["skid", "queue2", "queue7"],
)
def test_nothing_lost_nothing_doubled(make, stall, backpressure):
    dut = make(PAIR)
    items = [{"low": n % 16, "high": n} for n in range(ITEMS)]
    got = []

    async def source(ctx):
        await send(ctx, dut.i, items, random.Random(1), stall)

    async def sink(ctx):
        taken = await receive(ctx, dut.o, ITEMS, random.Random(2), backpressure)
        got.extend({"low": item.low, "high": item.high} for item in taken)

    run(dut, source, sink)
    assert got == items


@pytest.mark.parametrize("make", [SkidBuffer, lambda shape: Queue(shape, depth=4)])
def test_one_transfer_a_clock(make):
    dut = make(8)
    clocks = []

    async def source(ctx):
        await send(ctx, dut.i, range(50), random.Random(1), 0)

    async def sink(ctx):
        ctx.set(dut.o.ready, 1)
        start = 0
        while len(clocks) < 50:
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            start += 1
            if valid:
                clocks.append(start)

    run(dut, source, sink)
    assert clocks == list(range(clocks[0], clocks[0] + 50))


def test_level_counts_what_is_inside():
    dut = Queue(8, depth=4)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        accepted = 0
        for _ in range(10):
            _, _, ready = await ctx.tick().sample(dut.i.ready)
            accepted += ready
        assert accepted == ctx.get(dut.level) == 4

    run(dut, bench)


@pytest.mark.parametrize("backpressure", [0, 0.5])
@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("burst", [1, 3])
@pytest.mark.parametrize("inputs", [1, 3])
def test_arbiter_keeps_bursts_together_and_serves_all(inputs, burst, stall, backpressure):
    count = 30

    def ends(payload):
        return payload[:8] % burst == burst - 1

    dut = Arbiter(12, inputs=inputs, last=None if burst == 1 else ends)
    got = []

    def source(index):
        async def bench(ctx):
            items = [index << 8 | n for n in range(count)]
            await send(ctx, dut.i[index], items, random.Random(index), stall)

        return bench

    async def sink(ctx):
        got.extend(
            await receive(ctx, dut.o, inputs * count, random.Random(9), backpressure, dut.source)
        )

    run(dut, *[source(index) for index in range(inputs)], sink)
    for index in range(inputs):
        assert [item & 255 for item, port in got if port == index] == list(range(count))
        assert all(item >> 8 == index for item, port in got if port == index)
    open_port = None
    for item, port in got:
        assert open_port in (None, port)
        open_port = None if burst == 1 or (item & 255) % burst == burst - 1 else port
    if not stall:
        # Nobody waits for more than one burst of each of the others.
        places = [place for place, (_, port) in enumerate(got) if port == inputs - 1]
        assert max(b - a for a, b in zip(places, places[1:])) <= burst * (inputs - 1) + 1


def test_bad_depth_is_refused():
    with pytest.raises(ValueError, match="depth 1 "):
        Queue(8, depth=1)
    with pytest.raises(ValueError, match="513"):
        Queue(8, depth=513)


@pytest.mark.parametrize("backpressure", [0, 0.6])
@pytest.mark.parametrize("stall", [0, 0.6])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_packer(count, stall, backpressure):
    words = 30
    dut = Packer(PAIR, count=count, meta=7)
    items = [
        {"item": {"low": n % 16, "high": n}, "meta": 3 * n % 128} for n in range(words * count)
    ]
    got = []

    async def source(ctx):
        await send(ctx, dut.i, items, random.Random(1), stall)

    async def sink(ctx):
        got.extend(await receive(ctx, dut.o, words, random.Random(2), backpressure))

    run(dut, source, sink)
    packed = [{"low": item.low, "high": item.high} for word in got for item in word.items]
    assert packed == [item["item"] for item in items]
    assert [word.meta for word in got] == [item["meta"] for item in items[count - 1 :: count]]


def test_packer_takes_an_item_a_clock():
    dut = Packer(8, count=2)
    clocks = []

    async def source(ctx):
        ctx.set(dut.i.valid, 1)
        for _ in range(40):
            *_, ready = await ctx.tick().sample(dut.i.ready)
            clocks.append(ready)

    async def sink(ctx):
        ctx.set(dut.o.ready, 1)

    run(dut, source, sink)
    assert all(clocks)


def test_packer_of_one_is_refused():
    with pytest.raises(ValueError, match="packer of 1 items"):
        Packer(8, count=1)
