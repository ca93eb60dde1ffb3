"""The allocator against a model of streams of stripes, filled channel by channel."""

import dataclasses
import random

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from flash_model.profiles import profile
from rtl.allocator import MAX_SKEW, Allocator
from tests.rtl.streams_bench import CROSS, Bench


def geometry(**changes):
    return dataclasses.replace(profile("tiny").geometry, **{"blocks": 512, **changes})


class Model:
    """Stripes of each stream, and of each channel how many are full and what the open one gave."""

    def __init__(self, geometry, streams, slots):
        self.geometry, self.slots = geometry, slots
        self.stripes = [[] for _ in range(streams)]  # (columns, {(channel, column): (die, block)})
        self.full = [[0] * geometry.channels for _ in range(streams)]
        self.taken = {}  # (stream, channel) -> pages of each column
        self.ended = 0

    def room(self, stream):
        return self.slots - (len(self.stripes[stream]) - min(self.full[stream]))

    def starves(self, stream, channel, die=0):
        return self.full[stream][channel] == len(self.stripes[stream])

    def take(self, stream, channel, die):
        columns, blocks = self.stripes[stream][self.full[stream][channel]]
        taken = self.taken.setdefault((stream, channel), [0] * columns)
        around = 1
        while around < columns:
            around *= 2
        first = die % around % columns
        column = next(
            c % columns
            for c in range(first, first + columns)
            if taken[c % columns] < self.geometry.pages
            and taken[c % columns] - min(taken) < MAX_SKEW
        )
        die, block = blocks[channel, column]
        page = {"die": die, "row": block * self.geometry.pages + taken[column]}
        taken[column] += 1
        if min(taken) == self.geometry.pages:
            del self.taken[stream, channel]
            self.full[stream][channel] += 1
        return page

    def end(self, stream):
        for channel in range(self.geometry.channels):
            self.full[stream][channel] = len(self.stripes[stream])
            self.taken.pop((stream, channel), None)
        self.ended += 1


class Firmware:
    """Writes blocks, pushes stripes, ends streams and looks; each method is part of a script."""

    def __init__(self, dut, model, rng, check=lambda ctx: None):
        self.dut, self.model, self.rng, self.check = dut, model, rng, check

    def clock(self, ctx, *strobes):
        for strobe in strobes:
            ctx.set(strobe, 1)
        yield
        for strobe in strobes:
            ctx.set(strobe, 0)
        self.check(ctx)

    def ready(self, ctx):
        """The sweep after a reset, or an end, is over."""
        while ctx.get(self.dut.ending):
            yield from self.clock(ctx)

    def name(self, ctx, stream, number, channel, column):
        """The block of a column, any one."""
        g = self.model.geometry
        die, block = self.rng.randrange(g.dies), self.rng.randrange(g.blocks)
        place = {"stream": stream, "slot": number % self.model.slots, "channel": channel,
                 "column": column, "die": die, "block": block}  # fmt: skip
        ctx.set(self.dut.block_place, place)
        yield from self.clock(ctx, self.dut.block_write)
        return die, block

    def push(self, ctx, stream, columns):
        number, blocks = len(self.model.stripes[stream]), {}
        for channel in range(self.model.geometry.channels):
            for column in range(columns):
                at = yield from self.name(ctx, stream, number, channel, column)
                blocks[channel, column] = at
        ctx.set(self.dut.push_stream, stream)
        ctx.set(self.dut.push_columns, columns)
        self.model.stripes[stream].append((columns, blocks))
        yield from self.clock(ctx, self.dut.push)

    def end(self, ctx, stream):
        ctx.set(self.dut.end_stream, stream)
        yield from self.clock(ctx, self.dut.end)
        assert ctx.get(self.dut.ending)
        while ctx.get(self.dut.ending):
            yield
        self.model.end(stream)
        self.check(ctx)

    def look(self, ctx, stream, channel):
        """Stripes filled, which it may go on with meanwhile."""
        ctx.set(self.dut.look_stream, stream)
        ctx.set(self.dut.look_channel, channel)
        before = self.model.full[stream][channel]
        yield from self.clock(ctx)
        yield from self.clock(ctx)
        filled, after = ctx.get(self.dut.filled), self.model.full[stream][channel]
        assert filled in {before % (2 * self.model.slots), after % (2 * self.model.slots)}
        return filled


@pytest.mark.parametrize("stall, backpressure", CROSS)
@pytest.mark.parametrize("wishes", ["any", "one die", "in turn"])
@pytest.mark.parametrize(
    "shape, streams, slots",
    [
        ({"channels": 2, "dies": 2, "pages": 12}, 1, 16),
        ({"channels": 1, "dies": 1, "pages": 3}, 1, 16),
        ({"channels": 4, "dies": 3, "pages": 3}, 1, 4),
        ({"channels": 2, "dies": 7, "pages": 9}, 4, 2),
        ({"channels": 1, "dies": 5, "pages": 2}, 4, 4),
    ],
)
def test_pages_are_the_models(shape, streams, slots, wishes, stall, backpressure):
    """Stripes are pushed, streams ended and looked at while pages are asked for."""
    g, count = geometry(**shape), 150
    rng = random.Random(f"{shape}{streams}{wishes}{stall}{backpressure}")
    dut = Allocator(g, streams, slots)
    model = Model(g, streams, slots)
    bench = Bench(dut, timeout=20000, quiet=True, stall=stall, backpressure=backpressure)
    bench.freezes = False  # strobes are of one clock
    die = {"any": lambda n: rng.randrange(g.dies), "one die": lambda n: 0,
           "in turn": lambda n: n % g.dies}[wishes]  # fmt: skip
    wanted = [
        {"stream": rng.randrange(streams), "channel": rng.randrange(g.channels), "die": die(n)}
        for n in range(count)
    ]
    source = bench.source(dut.i, wanted)
    pages, late, starved = [], 0, set()
    sink = bench.sink(dut.o, then=lambda _: pages.append(model.take(**wanted[len(pages)])))

    def check(ctx):
        """A request is answered in time, unless it waits for a stripe and says so."""
        nonlocal late
        asks = source.taken > len(sink.items)
        starves = asks and model.starves(**wanted[len(sink.items)])
        if ctx.get(dut.starved):
            assert starves and ctx.get(dut.starved_stream) == wanted[len(sink.items)]["stream"]
            starved.add(len(sink.items))
        late = late + 1 if asks and not ctx.get(dut.o.valid) and not ctx.get(dut.starved) else 0
        assert late <= 6

    def script(ctx):
        firmware = Firmware(dut, model, rng, check)
        yield from firmware.ready(ctx)
        while len(pages) < count:
            for _ in range(rng.choice([0, 0, 3, 30])):
                yield from firmware.clock(ctx)
            stream = rng.randrange(streams)
            if ctx.get(dut.starved) and rng.random() < 0.8:
                stream = ctx.get(dut.starved_stream)
            yield from firmware.look(ctx, rng.randrange(streams), rng.randrange(g.channels))
            if not model.room(stream) and ctx.get(dut.starved) or rng.random() < 0.04:
                yield from firmware.end(ctx, stream)
            elif model.room(stream):
                yield from firmware.push(ctx, stream, rng.choice([g.dies, rng.randint(1, g.dies)]))

    bench.script(script)
    bench.run(idle=20)
    assert sink.items == pages
    assert starved and model.ended and sum(map(sum, model.full)) > 3


@pytest.mark.parametrize("dies", [1, 2, 3])
def test_whole_stripes_give_every_die_its_wish(dies):
    """A wish in turn, with the block of each die in the column of its number."""
    g = geometry(channels=1, dies=dies, pages=4)
    dut = Allocator(g)
    bench = Bench(dut)
    bench.source(dut.i, [{"die": n % dies} for n in range(4 * dies)])
    sink = bench.sink(dut.o)

    def script(ctx):
        for die in range(dies):
            ctx.set(dut.block_place, {"slot": 0, "column": die, "die": die, "block": 100})
            ctx.set(dut.block_write, 1)
            yield
        ctx.set(dut.block_write, 0)
        ctx.set(dut.push_columns, dies)
        ctx.set(dut.push, 1)
        yield
        ctx.set(dut.push, 0)

    bench.script(script)
    bench.run(lambda: len(sink.items) == 4 * dies)
    assert [(page["die"], page["row"]) for page in sink.items] == [
        (n % dies, 400 + n // dies) for n in range(4 * dies)
    ]


@pytest.mark.parametrize("streams, slots", [(1, 16), (4, 4)])
def test_a_full_ring_and_what_ends_it(streams, slots):
    """One channel fills every stripe and starves; the end gives up those of the others, too."""
    g = geometry(channels=2, dies=2, pages=2)
    dut, model, last = Allocator(g, streams, slots), Model(g, streams, slots), streams - 1
    bench = Bench(dut, quiet=True)
    wish = {"stream": last, "channel": 0, "die": 0}
    source = bench.source(dut.i, [wish] * (4 * slots + 1))
    pages = []
    sink = bench.sink(dut.o, then=lambda _: pages.append(model.take(**wish)))

    def script(ctx):
        firmware = Firmware(dut, model, random.Random(streams))
        yield from firmware.ready(ctx)
        for _ in range(slots):
            yield from firmware.push(ctx, last, 2)
        while not ctx.get(dut.starved) or len(pages) < 4 * slots:
            yield
        assert not model.room(last)
        for _ in range(20):
            yield
            assert ctx.get(dut.starved) and ctx.get(dut.quiet)
        for channel, filled in ((0, slots), (1, 0)):
            assert (yield from firmware.look(ctx, last, channel)) == filled
        for stream in (0, last):  # of another stream, it gives up nothing here
            if stream != last or streams == 1:
                yield from firmware.end(ctx, stream)
                assert ctx.get(dut.starved)
        yield from firmware.end(ctx, last)
        for stream, filled in ((0, slots if streams == 1 else 0), (last, slots)):
            for channel in range(2):
                assert (yield from firmware.look(ctx, stream, channel)) == filled
        yield from firmware.push(ctx, last, 1)
        for _ in range(4):  # it goes on with what it starved for
            yield
        source.items.append({**wish, "channel": 1})

    bench.script(script)
    bench.run(lambda: len(sink.items) == 4 * slots + 2)
    pages[-1] = None
    blocks = model.stripes[last][slots][1]
    assert sink.items[:-1] == pages[:-1]
    assert [(item["die"], item["row"] // 2) for item in sink.items[-2:]] == [
        blocks[0, 0],
        blocks[1, 0],
    ]


def test_pushes_in_a_row_and_of_other_streams():
    """One a clock, of any streams, while a request waits for the last of them."""
    g = geometry(channels=1, dies=3, pages=2)
    dut = Allocator(g, 4, 4)
    bench = Bench(dut)
    order = [0, 0, 1, 2, 2, 2, 1, 0, 3]
    bench.source(dut.i, [{"stream": 3, "die": 1}])
    sink = bench.sink(dut.o)

    def script(ctx):
        model = Model(g, 4, 4)
        firmware = Firmware(dut, model, random.Random(1))
        yield from firmware.ready(ctx)
        while not ctx.get(dut.starved):
            yield
        ctx.set(dut.push, 1)
        for stream in order:
            assert ctx.get(dut.starved) and ctx.get(dut.starved_stream) == 3
            ctx.set(dut.push_stream, stream)
            ctx.set(dut.push_columns, 1 + stream % 3)
            model.stripes[stream].append(None)
            yield
        assert not ctx.get(dut.starved), "the stripe it waits for is on its way"
        ctx.set(dut.push, 0)
        for stream in range(4):  # what was pushed is what an end gives up
            yield from firmware.end(ctx, stream)
            yield from firmware.look(ctx, stream, 0)
        assert [model.full[stream][0] for stream in range(4)] == [3, 2, 3, 1]

    bench.script(script)
    bench.run(lambda: sink.items)


@pytest.mark.parametrize("dies", [1, 3])
def test_a_block_that_stands_in(dies):
    """It serves for its column of that stripe alone, from the next page on."""
    g = geometry(channels=2, dies=dies, pages=3)
    rng = random.Random(dies)
    dut, model = Allocator(g, 2, 4), Model(g, 2, 4)
    bench = Bench(dut, timeout=20000)
    source = bench.source(dut.i)
    pages, changed = [], 0
    wanted = []
    sink = bench.sink(dut.o, then=lambda _: pages.append(model.take(*wanted[len(pages)])))

    def script(ctx):
        nonlocal changed
        firmware = Firmware(dut, model, rng)
        yield from firmware.ready(ctx)
        for n in range(60 * dies):
            for stream in range(2):
                while model.room(stream) > 1:
                    yield from firmware.push(ctx, stream, rng.randint(1, dies))
            stream, channel = rng.randrange(2), n % 2
            number = model.full[stream][channel]
            if number < len(model.stripes[stream]) and rng.random() < 0.4:
                columns, blocks = model.stripes[stream][number]
                column = rng.randrange(columns)
                at = yield from firmware.name(ctx, stream, number, channel, column)
                blocks[channel, column] = at
                changed += 1
            if model.starves(stream, channel):
                continue
            wanted.append((stream, channel, rng.randrange(dies)))
            source.items.append(dict(zip(("stream", "channel", "die"), wanted[-1])))
            while len(pages) < len(wanted):
                yield

    bench.script(script)
    bench.run()
    assert sink.items == pages and len(pages) > 40 * dies and changed > 10


@pytest.mark.parametrize("at", range(1, 8))
def test_a_reset_begins_anew(at):
    """At any clock of a request; nothing is left of what the memories hold."""
    g = geometry(channels=2, dies=3, pages=4)
    dut, again, rng = Allocator(g, 4, 4), Signal(), random.Random(at)
    filled, pages = [], []

    async def play(ctx, script):
        for _ in script:
            await ctx.tick()

    async def bench(ctx):
        for _ in range(2):
            model = Model(g, 4, 4)
            firmware = Firmware(dut, model, rng)
            ctx.set(again, 1)
            await ctx.tick()
            ctx.set(again, 0)
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.ending) and not ctx.get(dut.i.ready) and not ctx.get(dut.quiet)
            await ctx.tick().repeat(8)  # streams * channels
            assert not ctx.get(dut.ending) and ctx.get(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            for end in (False, True):  # neither stripes filled nor pushed
                for stream in range(4):
                    if end:
                        await play(ctx, firmware.end(ctx, stream))
                    for channel in range(2):
                        await play(ctx, firmware.look(ctx, stream, channel))
                        filled.append(ctx.get(dut.filled))
            for stream in range(4):
                for _ in range(3):
                    await play(ctx, firmware.push(ctx, stream, 2))
            ctx.set(dut.o.ready, 1)
            for _ in range(21):
                wish = {"stream": rng.randrange(4), "channel": rng.randrange(2), "die": 0}
                ctx.set(dut.i.payload, wish)
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
                ctx.set(dut.i.valid, 0)
                page, = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)  # fmt: skip
                pages.append(({"die": page.die, "row": page.row}, model.take(**wish)))
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(at)

    sim = Simulator(ResetInserter(again)(dut))
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert not any(filled) and len(pages) == 42
    assert all(got == wanted for got, wanted in pages)
