"""The allocator against a model of block groups being filled channel by channel, die by die."""

import dataclasses
import random

import pytest

from flash_model.profiles import profile
from rtl.allocator import MAX_SKEW, RING_GROUPS, Allocator
from tests.rtl.streams_bench import Bench


def geometry(**changes):
    return dataclasses.replace(profile("tiny").geometry, **{"blocks": 512, **changes})


class Model:
    """Pages taken per channel and die of the open group; a full group gives way to the next."""

    def __init__(self, geometry):
        self.geometry = geometry
        self.pushed = []
        self.filled = [0] * geometry.channels
        self.taken = [[0] * geometry.dies for _ in range(geometry.channels)]

    @property
    def free(self):
        return RING_GROUPS - (len(self.pushed) - min(self.filled))

    def push(self, group):
        if self.free:
            self.pushed.append(group)

    def take(self, channel, wish):
        g, taken = self.geometry, self.taken[channel]
        if self.filled[channel] >= len(self.pushed):
            return None
        may = [n < g.pages and n - min(taken) < MAX_SKEW for n in taken]
        die = next(d % g.dies for d in range(wish, wish + g.dies) if may[d % g.dies])
        page = {"die": die, "row": self.pushed[self.filled[channel]] * g.pages + taken[die]}
        taken[die] += 1
        if min(taken) == g.pages:
            taken[:] = [0] * g.dies
            self.filled[channel] += 1
        return page


@pytest.mark.parametrize("backpressure", [0, 0.5])
@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("wishes", ["any", "one die", "in turn"])
@pytest.mark.parametrize(
    "shape",
    [
        {"channels": 2, "dies": 2, "pages": 12},
        {"channels": 1, "dies": 1, "pages": 3},
        {"channels": 4, "dies": 3, "pages": 9},
    ],
)
def test_pages_are_the_models(shape, wishes, stall, backpressure):
    g = geometry(**shape)
    rng = random.Random(shape["dies"])
    dut = Allocator(g)
    model = Model(g)
    bench = Bench(dut)
    count = 0

    def wish(n):
        return {"any": rng.randrange(g.dies), "one die": 0, "in turn": n % g.dies}[wishes]

    def script(ctx):
        nonlocal count
        while count < 250:
            asked = (rng.randrange(g.channels), wish(count))
            while rng.random() < stall:
                yield
            ctx.set(dut.i.payload, dict(zip(("channel", "die"), asked)))
            ctx.set(dut.i.valid, 1)
            while not ctx.get(dut.i.ready):
                yield
            yield
            ctx.set(dut.i.valid, 0)
            wanted = None
            while wanted is None:
                for _ in range(4):
                    yield
                assert ctx.get(dut.free) == model.free
                before = ctx.get(dut.starved)
                wanted = model.take(*asked)
                assert before == (wanted is None) and ctx.get(dut.o.valid) == (wanted is not None)
                if wanted is None:
                    group = rng.randrange(g.blocks)
                    ctx.set(dut.push, 1)
                    ctx.set(dut.push_group, group)
                    model.push(group)
                    yield
                    ctx.set(dut.push, 0)
            got = ctx.get(dut.o.payload)
            assert {"die": got.die, "row": got.row} == wanted
            while rng.random() < backpressure:
                yield
            ctx.set(dut.o.ready, 1)
            yield
            ctx.set(dut.o.ready, 0)
            count += 1

    bench.script(script)
    bench.run()
    assert sum(model.filled) > 3


def test_the_slowest_channel_holds_the_ring():
    g = geometry(channels=2, dies=2, pages=2)
    dut = Allocator(g)
    bench = Bench(dut)
    groups = []

    def script(ctx):
        for group in range(20):  # four more than fit
            ctx.set(dut.push, 1)
            ctx.set(dut.push_group, 100 + group)
            assert ctx.get(dut.free) == max(0, RING_GROUPS - group)
            yield
        ctx.set(dut.push, 0)
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, {"channel": 0, "die": 0})
        ctx.set(dut.o.ready, 1)
        while not ctx.get(dut.starved):
            if ctx.get(dut.o.valid):
                groups.append(ctx.get(dut.o.payload.row) // g.pages)
            assert ctx.get(dut.free) == 0  # channel 1 has used none
            yield

    bench.script(script)
    bench.run()
    assert groups == [100 + n // 4 for n in range(64)]
