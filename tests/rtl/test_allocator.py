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
                for _ in range(5):
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


@pytest.mark.parametrize("dies", [1, 3])
def test_a_block_that_stands_in(dies):
    """It serves for its channel, die and group alone, up to the last page of that block."""
    g = geometry(channels=2, dies=dies, pages=3)
    rng = random.Random(dies)
    dut = Allocator(g)
    bench = Bench(dut)
    serves = {}  # (channel, die, how manieth group) -> (die, block)
    got, pushed = [], [0]

    def push(ctx, group):
        for channel in range(g.channels):
            for die in range(dies):
                if rng.random() < 0.4:
                    serves[channel, die, pushed[0]] = at = rng.randrange(dies), rng.randrange(512)
                    ctx.set(dut.substitution, {"place": pushed[0] % RING_GROUPS, "channel": channel,
                                               "die": die, "serves_die": at[0],
                                               "serves_block": at[1]})  # fmt: skip
                    ctx.set(dut.substitute, 1)
                    yield
                    ctx.set(dut.substitute, 0)
        ctx.set(dut.push, 1)
        ctx.set(dut.push_group, group)
        pushed[0] += 1
        yield
        ctx.set(dut.push, 0)

    def script(ctx):
        for n in range(40 * dies * 3):  # 20 groups of each channel: the ring comes round
            while ctx.get(dut.free) > RING_GROUPS - 3:
                yield from push(ctx, 100 + pushed[0])
            ctx.set(dut.i.payload, {"channel": n % 2, "die": rng.randrange(dies)})
            ctx.set(dut.i.valid, 1)
            yield
            ctx.set(dut.i.valid, 0)
            while not ctx.get(dut.o.valid):
                yield
            page = ctx.get(dut.o.payload)
            got.append((n % 2, page.die, *divmod(page.row, g.pages)))
            ctx.set(dut.o.ready, 1)
            yield
            ctx.set(dut.o.ready, 0)

    bench.script(script)
    bench.run()
    for channel in range(2):
        mine = [page[1:] for page in got if page[0] == channel]
        for group in range(len(mine) // (3 * dies)):
            pages = mine[group * 3 * dies : (group + 1) * 3 * dies]
            blocks = [serves.get((channel, d, group), (d, 100 + group)) for d in range(dies)]
            assert sorted(pages) == sorted((*at, page) for at in blocks for page in range(3))
    assert len(serves) > 10
