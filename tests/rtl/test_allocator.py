"""The allocator against a model of block groups being filled channel by channel."""

import dataclasses
import random

import pytest

from flash_model.profiles import profile
from rtl.allocator import RING_GROUPS, Allocator
from tests.rtl.streams_bench import Bench


def geometry(**changes):
    return dataclasses.replace(profile("tiny").geometry, **{"blocks": 512, **changes})


class Model:
    """Page ``n`` of a channel: group ``n // (dies * pages)``, then page by page over all dies."""

    def __init__(self, geometry):
        self.geometry = geometry
        self.pushed = []
        self.dealt = [0] * geometry.channels

    @property
    def free(self):
        per_group = self.geometry.dies * self.geometry.pages
        return RING_GROUPS - (len(self.pushed) - min(self.dealt) // per_group)

    def push(self, group):
        if self.free:
            self.pushed.append(group)

    def next(self, channel):
        g = self.geometry
        group, place = divmod(self.dealt[channel], g.dies * g.pages)
        if group >= len(self.pushed):
            return None
        page, die = divmod(place, g.dies)
        return {"die": die, "row": self.pushed[group] * g.pages + page}


@pytest.mark.parametrize(
    "shape",
    [
        {"channels": 2, "dies": 2, "pages": 4},
        {"channels": 1, "dies": 1, "pages": 3},
        {"channels": 4, "dies": 3, "pages": 2},
    ],
)
def test_pages_come_in_the_order_of_the_model(shape):
    g = geometry(**shape)
    rng = random.Random(shape["dies"])
    dut = Allocator(g)
    model = Model(g)
    bench = Bench(dut)
    groups = 0

    def script(ctx):
        nonlocal groups
        for _ in range(700):
            channel = rng.randrange(g.channels)
            push = rng.random() < 0.07
            take = rng.random() < 0.8
            group = rng.randrange(g.blocks)
            ctx.set(dut.channel, channel)
            ctx.set(dut.push, push)
            ctx.set(dut.push_group, group)
            ctx.set(dut.o.ready, take)
            wanted = model.next(channel)
            assert ctx.get(dut.free) == model.free
            assert ctx.get(dut.o.valid) == (wanted is not None)
            if wanted:
                got = ctx.get(dut.o.payload)
                assert {"die": got.die, "row": got.row} == wanted
            if push:
                model.push(group)
                groups += 1
            if take and wanted:
                model.dealt[channel] += 1
            yield

    bench.script(script)
    bench.run()
    assert groups > 20 and min(model.dealt) > g.dies * g.pages


def test_the_slowest_channel_holds_the_ring():
    g = geometry(channels=2, dies=2, pages=2)
    dut = Allocator(g)
    bench = Bench(dut)

    def script(ctx):
        for group in range(20):  # four more than fit
            ctx.set(dut.push, 1)
            ctx.set(dut.push_group, 100 + group)
            assert ctx.get(dut.free) == max(0, RING_GROUPS - group)
            yield
        ctx.set(dut.push, 0)
        rows = {0: [], 1: []}
        for channel in (0, 1):
            ctx.set(dut.channel, channel)
            ctx.set(dut.o.ready, 1)
            while ctx.get(dut.o.valid):
                rows[channel].append(ctx.get(dut.o.payload.row) // g.pages)
                assert ctx.get(dut.free) == (0 if channel == 0 else (len(rows[1]) - 1) // 4)
                yield
        assert ctx.get(dut.free) == RING_GROUPS
        assert rows[0] == rows[1] == [100 + n // 4 for n in range(64)]

    bench.script(script)
    bench.run()
