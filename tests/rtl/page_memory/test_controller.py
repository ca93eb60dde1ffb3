"""A channel's pages in a memory, against a bytearray that takes one operation after the other."""

import random

import pytest

from flash_model.geometry import Geometry
from rtl.nand.operations import Activity, Cause, NandOp
from rtl.page_memory.controller import MemoryController
from tests.rtl.streams_bench import CROSS, Bench

GEOMETRY = Geometry(channels=2, dies=3, planes=1, blocks=3, pages=4, page_bytes=128, spare_bytes=8)
BASE = 4096 - 456  # pages lie across 4096 bytes
SIZE = 16384
ERASED = b"\xff" * 8
READY = 0xE0


class Reference:
    """What the memory holds and what is answered, one operation after the other."""

    def __init__(self, raw):
        self.raw = bytearray(raw)
        self.reads, self.done = [], []

    def place(self, op):
        g = GEOMETRY
        page = op["die"] * g.rows + op["row"]
        return BASE + page * g.page_total + 8 * op["column"]

    def run(self, op, words):
        g, cause = GEOMETRY, Cause.NONE
        if op["op"] == NandOp.READ_ID:
            cause = Cause.NOT_ALLOWED
        elif op["die"] >= g.dies:
            cause = Cause.BAD_DIE
        elif op["op"] in (NandOp.READ, NandOp.PROGRAM, NandOp.ERASE) and op["row"] >= g.rows:
            cause = Cause.BAD_ROW
        elif op["op"] in (NandOp.READ, NandOp.PROGRAM):
            if op["words"] == 0:
                cause = Cause.NO_WORDS
            elif op["column"] + op["words"] > g.page_words:
                cause = Cause.BEYOND_PAGE
        good, size = cause == Cause.NONE, 8 * op["words"]
        if op["op"] in (NandOp.READ, NandOp.READ_ID):
            at = self.place(op)
            raw = self.raw[at : at + size] if good else bytes(size or 8)
            if op["op"] == NandOp.READ_ID:
                raw = bytes(8)
            numbers = [int.from_bytes(raw[n : n + 8], "little") for n in range(0, len(raw), 8)]
            self.reads += [
                {"data": number, "last": int(n == len(numbers) - 1), "cause": cause.value}
                for n, number in enumerate(numbers)
            ]
            return
        if op["op"] == NandOp.PROGRAM and good:
            at = self.place(op)
            self.raw[at : at + size] = b"".join(word.to_bytes(8, "little") for word in words)
        if op["op"] == NandOp.ERASE and good:
            first = op["row"] // g.pages * g.pages
            at = self.place({**op, "row": first, "column": 0})
            self.raw[at : at + g.pages * g.page_total] = ERASED * (g.pages * g.page_words)
        self.done.append(
            {
                "op": op["op"].value,
                "die": op["die"],
                "tag": op["tag"],
                "status": READY if good else 0,
                "failed": int(not good),
                "cause": cause.value,
            }
        )


class Channel:
    """The controller on the bench, with a memory of random bytes."""

    def __init__(self, ops, seed=1, depth=8, latency=9, bad=(), closed=(), timeout=20_000, **rates):
        rng = random.Random(seed)
        self.dut = MemoryController(GEOMETRY, depth)
        self.bench = Bench(self.dut, quiet=True, timeout=timeout, seed=seed, **rates)
        self.memory = self.bench.memory(self.dut.pages, SIZE, latency=latency, bad=bad)
        self.memory.put(0, rng.randbytes(SIZE))
        self.reference = Reference(self.memory.bytes)
        words = []
        for op in ops:
            new = [rng.getrandbits(64) for _ in range(op["words"])]
            words += new if op["op"] == NandOp.PROGRAM else []
            self.reference.run(op, new)
        self.source = self.bench.source(self.dut.ops, ops)
        self.words = self.bench.source(self.dut.w_data, words)
        gates = {"gate": lambda: self.bench.clock >= closed} if closed else {}
        self.reads = self.bench.sink(self.dut.r_data, name="r_data", **gates)
        self.done = self.bench.sink(self.dut.done, name="done")
        pulses = [self.dut.page_read, self.dut.page_programmed, self.dut.block_erased]
        self.activity = self.bench.watch(self.dut.activity)
        self.pulses = self.bench.watch(*pulses)
        self.bench.script(self._set_base)

    def _set_base(self, ctx):
        ctx.set(self.dut.base, BASE)
        yield

    def run(self):
        wanted = self.reference
        self.bench.run(
            lambda: (
                len(self.reads.items) >= len(wanted.reads)
                and len(self.done.items) >= len(wanted.done)
            ),
            idle=40,
        )
        assert not self.source.items and not self.words.items
        return self


def operation(op, die=0, row=0, column=0, words=1, tag=0):
    return {"op": op, "die": die, "row": row, "column": column, "words": words, "tag": tag}


def random_operations(rng, count):
    """Often on one die and one block, and some that no die can do."""
    kinds = [NandOp.READ] * 6 + [NandOp.PROGRAM] * 4 + [NandOp.ERASE] * 2 + list(NandOp)
    g, ops = GEOMETRY, []
    for tag in range(count):
        op = rng.choice(kinds)
        column = rng.randrange(g.page_words)
        ops.append(
            operation(
                op,
                rng.choice([0, 0, 1, 2, 2, rng.randrange(4)]),
                rng.choice([rng.randrange(4), rng.randrange(g.rows + 1)]),
                column,
                rng.choice([1, g.page_words - column, rng.randrange(g.page_words + 2 - column)]),
                tag,
            )
        )
    return ops


@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_every_operation_sees_those_of_its_die_before_it(stall, backpressure):
    seed = int(10 * stall + 3 * backpressure)
    ops = random_operations(random.Random(seed), 90)
    assert {op["op"] for op in ops} == set(NandOp)
    c = Channel(ops, seed, stall=stall, backpressure=backpressure).run()
    wanted = c.reference
    assert c.reads.items == wanted.reads
    assert c.done.items == wanted.done
    assert {item["cause"] for item in wanted.reads + wanted.done} == {0, 5, 6, 7, 8, 9}
    assert c.memory.bytes == wanted.raw
    good = {
        op: sum(not d["failed"] for d in wanted.done if d["op"] == op.value)
        for op in (NandOp.PROGRAM, NandOp.ERASE)
    }
    reads = sum(item["last"] and not item["cause"] for item in wanted.reads)
    counts = [sum(row) for row in zip(*c.pulses, strict=True)]
    assert counts == [reads, good[NandOp.PROGRAM], good[NandOp.ERASE]]


def last_clocks(channel):
    """Clocks in which the last words of READs were taken."""
    return [
        clock
        for clock, item in zip(channel.reads.clocks, channel.reads.items, strict=True)
        if item["last"]
    ]


@pytest.mark.parametrize("latency", [1, 60])
def test_words_come_one_a_clock(latency):
    g = GEOMETRY
    ops = [
        operation(NandOp.READ, n % g.dies, n // g.dies % g.rows, words=g.page_words)
        for n in range(60)
    ]
    c = Channel(ops, latency=latency).run()
    assert c.reads.items == c.reference.reads
    clocks = c.reads.clocks
    assert clocks[-1] - clocks[0] == len(clocks) - 1 == 60 * g.page_words - 1
    busy = [row[0] for row in c.activity]
    assert busy.count(Activity.DATA) == len(clocks)
    assert busy.count(Activity.WAITING) == latency + 2  # while the first READ is placed and comes


def test_reads_pass_programs_and_erases_of_other_dies():
    g = GEOMETRY
    ops = [
        operation(NandOp.ERASE, 0, 5),
        operation(NandOp.PROGRAM, 2, 1, words=g.page_words),
        operation(NandOp.READ, 1, 7, words=g.page_words),
        operation(NandOp.READ, 0, 5, words=1),  # this one sees what was erased
        operation(NandOp.READ, 2, 1, words=1),
    ]
    c = Channel(ops).run()
    assert c.reads.items == c.reference.reads and c.done.items == c.reference.done
    first, second, _ = last_clocks(c)
    assert first < 40 < g.pages * g.page_words < c.done.clocks[0] < second


def test_writes_wait_for_the_reads_of_their_die_alone():
    ops = [
        operation(NandOp.PROGRAM, 1, 3),
        operation(NandOp.READ, 0, 2),
        operation(NandOp.PROGRAM, 2, 3),
        operation(NandOp.ERASE, 0, 2),
    ]
    c = Channel(ops, closed=500).run()
    assert c.reads.items == c.reference.reads and c.memory.bytes == c.reference.raw
    assert c.done.clocks[1] < 100 and c.done.clocks[2] > 500


def test_errors_of_the_memory_mark_what_they_are_of():
    g = GEOMETRY
    ops = [
        operation(NandOp.READ, 0, 0, words=g.page_words),
        operation(NandOp.PROGRAM, 1, 0, words=g.page_words, tag=1),
        operation(NandOp.PROGRAM, 1, 1, words=g.page_words, tag=2),
        operation(NandOp.ERASE, 2, 5, tag=3),
        operation(NandOp.ERASE, 2, 8, tag=4),
        operation(NandOp.READ, 0, 1, words=g.page_words),
    ]

    def address(die, row, word):
        return BASE + (die * g.rows + row) * g.page_total + 8 * word

    bad = {address(0, 0, 3), address(1, 1, 16), address(2, 4, 0)}
    c = Channel(ops, bad=bad).run()
    marked = {"data": 0, "last": 0, "cause": Cause.MEMORY.value}
    assert c.reads.items == [*c.reference.reads[:3], marked, *c.reference.reads[4:]]
    assert [(d["tag"], d["failed"], d["status"], d["cause"]) for d in c.done.items] == [
        (1, 0, READY, 0),
        (2, 1, READY | 1, Cause.MEMORY.value),
        (3, 1, READY | 1, Cause.MEMORY.value),
        (4, 0, READY, 0),
    ]
    assert c.memory.bytes == c.reference.raw  # what was not bad was written all the same


@pytest.mark.parametrize("depth", [0, 257])
def test_impossible_depth_is_refused(depth):
    with pytest.raises(ValueError, match=f"depth = {depth}.*1..256"):
        MemoryController(GEOMETRY, depth)
