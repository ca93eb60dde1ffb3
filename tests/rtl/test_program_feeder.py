"""The program feeder: pages come whole, a die's in order, and nothing reads them before."""

import random
from collections import deque

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from flash_model.profiles import profile
from rtl.program_feeder import KEY_BITS, ProgramFeeder
from rtl.program_slots import PROGRAM_TAG
from rtl.tables import SLOT_HEADER, program_slots, slot_bytes
from tests.rtl.streams_bench import CROSS, Bench

GEOMETRY = profile("tiny").geometry
SLOTS, BYTES, BUFFER = program_slots(GEOMETRY), slot_bytes(GEOMETRY), 0x1000
PAGES = 40


class Flash:
    """Orders pages while slots are free, ends programs some time after their last word.

    Checks the order of each die's pages, that a die has one at a time, what is said of pages that
    are asked for, and of words that device DRAM does not give.
    """

    def __init__(self, dut, memory, rng, quick):
        self.dut, self.memory, self.rng, self.quick = dut, memory, rng, quick
        self.signals = [
            dut.i.valid,
            dut.i.ready,
            dut.o.valid,
            dut.o.ready,
            dut.o.payload,
            dut.o_data.valid,
            dut.o_data.ready,
            dut.o_data.payload,
            dut.asked_waits,
            dut.waiting,
            dut.done_lost,
        ]
        self.free = list(range(SLOTS))
        self.offered, self.page = None, None  # what is on its way in, and out
        self.lists = [deque() for _ in range(GEOMETRY.dies)]  # ordered, not given whole
        self.busy = {}  # die -> its page, given
        self.left = PAGES
        self.done, self.asked = None, (0, 0)
        self.seen = set()

    def pending(self):
        return [(die, page["row"]) for die, pages in enumerate(self.lists) for page in pages]

    def drive(self, ctx, frozen):
        rng = self.rng
        if self.offered is None and self.free and self.left and rng.random() < 0.3:
            slot = self.free.pop(rng.randrange(len(self.free)))
            die, row = rng.randrange(GEOMETRY.dies), rng.randrange(GEOMETRY.rows)
            words = [rng.getrandbits(64) for _ in range(rng.choice([1, 2, 31, 64]))]
            header = {"row": row, "die": die, "words": len(words), "meta": rng.getrandbits(64)}
            at = BUFFER + slot * BYTES
            begin = at + SLOT_HEADER.size
            self.memory.bad -= set(range(at, at + BYTES))
            self.memory.bad |= {a for a in range(at, begin, 8) if rng.random() < 0.05}
            fed = [(w, int(rng.random() < 0.01)) for w in words]
            self.memory.bad |= {begin + 8 * n for n, (_, error) in enumerate(fed) if error}
            spoiled = int(rng.random() < 0.1)
            headless = spoiled or any(a in self.memory.bad for a in range(at, begin, 8))
            self.memory.put(at, SLOT_HEADER.pack(**header))
            self.memory.put(at + SLOT_HEADER.size, b"".join(w.to_bytes(8, "little") for w in words))
            self.offered = {**header, "slot": slot, "data": [(0, 1)] if headless else fed}
            self.offered |= {"spoiled": spoiled, "headless": headless}
            self.offered["lost"] = not spoiled and any(error for _, error in self.offered["data"])
            self.left -= 1
        ctx.set(self.dut.i.valid, self.offered is not None)
        if self.offered:
            ctx.set(
                self.dut.i.payload,
                {name: self.offered[name] for name in ("die", "row", "slot", "spoiled")},
            )
        self.done = None
        ended = [die for die, page in self.busy.items() if page is not self.page]
        if ended and rng.random() < self.quick:
            self.done = rng.choice(ended)
            ctx.set(self.dut.done_die, self.done)
        ctx.set(self.dut.done, self.done is not None)
        pages = self.pending()
        if pages and rng.random() < 0.5:
            self.asked = rng.choice(pages)
        else:
            self.asked = rng.randrange(GEOMETRY.dies), rng.randrange(GEOMETRY.rows)
        ctx.set(self.dut.asked_die, self.asked[0])
        ctx.set(self.dut.asked_row, self.asked[1])

    def observe(
        self, clock, i_valid, i_ready, valid, ready, page, d_valid, d_ready, word, held, w, lost
    ):
        pages = self.pending()
        if self.asked in pages:
            assert held, f"{self.asked} was not waited for in clock {clock}"
        if held and clock > GEOMETRY.dies << KEY_BITS:  # until then the counts are cleared
            self.seen.add("held")
            same = [(die, row) for die, row in self.recent + pages if die == self.asked[0]]
            assert any((row ^ self.asked[1]) % (1 << KEY_BITS) == 0 for _, row in same)
        assert all(w >> die & 1 for die, _ in pages)
        self.recent = []
        if i_valid and i_ready:
            self.lists[self.offered["die"]].append(self.offered)
            self.offered = None
        if valid and ready:
            die = page.die
            self.page = self.lists[die][0]
            assert die not in self.busy
            self.busy[die] = self.page
            assert (page.row, page.tag) == (self.page["row"], PROGRAM_TAG | self.page["slot"])
            assert page.words == len(self.page["data"])
            if self.page["headless"]:
                self.seen.add("spoiled" if self.page["spoiled"] else "without a header")
            else:
                assert page.meta == self.page["meta"]
            overtaken = any(p is not self.page for pages in self.lists for p in pages)
            self.seen.add("others waited" if overtaken else "alone")
        if d_valid and d_ready:
            value, error = self.page["data"].pop(0)
            assert word.error == error and (word.data == value or error)
            if not self.page["data"]:
                die = self.page["die"]
                assert self.lists[die].popleft() is self.page
                self.recent = [(die, self.page["row"])]  # leaves the lists in the next clock
                self.page = None
        if self.done is not None:
            assert lost == self.busy[self.done]["lost"]
            self.seen.add("lost" if lost else "whole")
            self.free.append(self.busy.pop(self.done)["slot"])
        return bool(i_valid and i_ready or valid and ready or d_valid and d_ready)

    recent: list = []

    @property
    def ended(self):
        return not (self.left or self.offered or self.busy or any(self.lists))


@pytest.mark.parametrize("quick", [0.01, 0.5])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_feeds_pages(stall, backpressure, quick):
    rng = random.Random(repr((stall, backpressure, quick)))
    dut = ProgramFeeder(GEOMETRY)
    bench = Bench(dut, timeout=40000, stall=stall, backpressure=backpressure)
    memory = bench.memory(dut.read, BUFFER + SLOTS * BYTES, latency=7)
    flash = Flash(dut, memory, rng, quick)
    bench.drivers.append(flash)

    def settings(ctx):
        ctx.set(dut.buffer, BUFFER)
        yield

    bench.script(settings)
    bench.sink(dut.o)
    bench.sink(dut.o_data)
    bench.run(lambda: flash.ended, idle=20)
    assert flash.seen >= {"held", "others waited", "spoiled", "without a header", "lost", "whole"}


def test_a_busy_die_holds_up_no_other_and_rests_quietly():
    """Three pages of die 0, then one of die 1; for a long time no program ends."""
    dut = ProgramFeeder(GEOMETRY)
    bench = Bench(dut, quiet=True)
    memory = bench.memory(dut.read, BUFFER + SLOTS * BYTES)
    places = [{"die": int(n == 3), "row": n} for n in range(4)]
    for slot, place in enumerate(places):
        memory.put(BUFFER + slot * BYTES, SLOT_HEADER.pack(**place, words=8))

    def settings(ctx):
        ctx.set(dut.buffer, BUFFER)
        for _ in range(400):
            yield
        assert [page["row"] for page in pages.items] == [0, 3]
        for _ in range(2):
            ctx.set(dut.done, 1)
            yield
            ctx.set(dut.done, 0)
            for _ in range(100):
                yield

    bench.script(settings)
    bench.source(dut.i, [{**place, "slot": slot} for slot, place in enumerate(places)])
    pages, words = bench.sink(dut.o), bench.sink(dut.o_data)
    bench.run(lambda: len(words.items) == 4 * 8, idle=20)
    assert [page["row"] for page in pages.items] == [0, 3, 1, 2]
    assert bench.still > 300


def test_a_reset_leaves_nothing_to_wait_for():
    """Pages ordered and never given; the counts of them lie in a memory, which no reset reaches."""
    feeder, again = ProgramFeeder(GEOMETRY), Signal()
    held = []

    async def bench(ctx):
        for row in range(SLOTS):
            ctx.set(feeder.i.payload, {"die": 1, "row": row, "slot": row})
            ctx.set(feeder.i.valid, 1)
            while not ctx.get(feeder.i.ready):
                await ctx.tick()
            await ctx.tick()
        ctx.set(feeder.i.valid, 0)
        ctx.set(feeder.asked_die, 1)
        for reset in (0, 1):
            ctx.set(again, reset)
            await ctx.tick().repeat(2)
            ctx.set(again, 0)
            await ctx.tick().repeat(GEOMETRY.dies << KEY_BITS)
            for row in range(1 << KEY_BITS):
                ctx.set(feeder.asked_row, row)
                held.append(ctx.get(feeder.asked_waits))

    sim = Simulator(ResetInserter(again)(feeder))
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    ordered = [row < SLOTS for row in range(1 << KEY_BITS)]
    assert held == ordered + [False] * (1 << KEY_BITS)
