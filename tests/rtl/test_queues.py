"""The command queue against a host that keeps its rings as NVMe tells it to."""

import random
import struct

import pytest

from rtl.queues import CommandQueue
from tests.rtl.streams_bench import CROSS, Bench

SQ, CQ = 0x1000, 0x3000


def sqe(rng, cid):
    """Bytes 0-3: opcode, flags, cid; the rest random."""
    return struct.pack("<BBH", rng.randrange(256), rng.randrange(256), cid) + rng.randbytes(60)


class Host:
    """Fills the submission ring, reads completions by their phase bit, rings doorbells.

    Parameters
    ----------
    commands : list of bytes
    lazy : int
        Completions left in the ring before its head doorbell is rung.
    """

    def __init__(self, bench, dut, read, write, commands, sizes, lazy=0):
        self.bench, self.dut, self.read, self.write = bench, dut, read, write
        self.commands, self.sizes, self.lazy = commands, sizes, lazy
        self.completions = []

    def completion(self, head):
        return struct.unpack("<IIHHHH", self.write.bytes[CQ + 16 * head : CQ + 16 * head + 16])

    def script(self, ctx):
        dut = self.dut
        sq_size, cq_size = self.sizes
        for name, value in (
            ("sq_base", SQ),
            ("cq_base", CQ),
            ("sq_size", sq_size),
            ("cq_size", cq_size),
        ):
            ctx.set(getattr(dut, name), value)
        ctx.set(dut.enable, 1)
        yield
        tail = sq_head = head = kept = 0
        phase = 1
        waiting = list(self.commands)
        while len(self.completions) < len(self.commands):
            if waiting and (tail + 1) % sq_size != sq_head and self.bench.rng.random() < 0.5:
                self.read.put(SQ + 64 * tail, waiting.pop(0))
                tail = (tail + 1) % sq_size
                ctx.set(dut.sq_tail, tail)
                ctx.set(dut.sq_tail_write, 1)
                yield
                ctx.set(dut.sq_tail_write, 0)
            result, index, sqhd, sqid, cid, status = self.completion(head)
            if status & 1 == phase:
                self.completions.append((result, index, cid, status >> 1))
                assert sqid == 0
                sq_head = sqhd
                head = (head + 1) % cq_size
                phase ^= head == 0
                kept += 1
                if kept > self.lazy:
                    kept = 0
                    ctx.set(dut.cq_head, head)
                    ctx.set(dut.cq_head_write, 1)
                    yield
                    ctx.set(dut.cq_head_write, 0)
            yield


@pytest.mark.parametrize("sizes, lazy", [((2, 2), 0), ((5, 4), 2), ((16, 3), 0)])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_every_command_once_and_in_order(sizes, lazy, stall, backpressure):
    rng = random.Random(sizes[0])
    dut = CommandQueue()
    bench = Bench(dut, quiet=True, stall=stall, backpressure=backpressure)
    read = bench.memory(dut.read, 1 << 14, latency=5)
    write = bench.memory(dut.write, 1 << 14, latency=5)
    commands = [sqe(rng, 100 + n) for n in range(9)]
    answers = [
        {
            "status": rng.choice([0, 0, 1, 0x7FF]),
            "result": rng.getrandbits(32),
            "index": rng.getrandbits(32),
        }
        for _ in commands
    ]
    done = bench.source(dut.i)
    sink = bench.sink(dut.o, then=lambda _: done.items.append(answers[len(sink.items) - 1]))
    host = Host(bench, dut, read, write, commands, sizes, lazy)
    bench.script(host.script)
    irq = bench.watch(dut.irq)
    bench.run(lambda: len(sink.items) == len(commands), idle=30)
    assert sink.items == [int.from_bytes(c, "little") for c in commands]
    assert host.completions == [
        (a["result"], a["index"], 100 + n, a["status"] | (a["status"] != 0) << 14)
        for n, a in enumerate(answers)
    ]
    assert sum(pulse for (pulse,) in irq) == len(commands)


def place(ctx, dut, cq_size):
    """Where the queues are, the submission queue of 8 entries."""
    for name, value in (("sq_base", SQ), ("cq_base", CQ), ("sq_size", 8), ("cq_size", cq_size)):
        ctx.set(getattr(dut, name), value)


def ring(ctx, port, strobe, value):
    ctx.set(port, value)
    ctx.set(strobe, 1)
    yield
    ctx.set(strobe, 0)
    yield


def test_a_full_completion_queue_waits_for_its_doorbell():
    rng = random.Random(1)
    dut = CommandQueue()
    bench = Bench(dut, quiet=True, timeout=6000)
    read = bench.memory(dut.read, 1 << 14)
    write = bench.memory(dut.write, 1 << 14)
    for n in range(8):
        read.put(SQ + 64 * n, sqe(rng, n))
    done = bench.source(dut.i)
    sink = bench.sink(dut.o, then=lambda _: done.items.append({"status": 0}))

    def script(ctx):
        place(ctx, dut, cq_size=4)
        ctx.set(dut.enable, 1)
        yield from ring(ctx, dut.sq_tail, dut.sq_tail_write, 7)
        for _ in range(250):
            yield
        assert len(write.writes) == 3 and ctx.get(dut.quiet)
        yield from ring(ctx, dut.cq_head, dut.cq_head_write, 4)  # outside the ring
        yield from ring(ctx, dut.sq_tail, dut.sq_tail_write, 8)
        for _ in range(100):
            yield
        assert len(write.writes) == 3
        yield from ring(ctx, dut.cq_head, dut.cq_head_write, 2)
        for _ in range(150):
            yield

    bench.script(script)
    bench.run()
    assert [address for address, _ in write.writes] == [CQ + 16 * n for n in (0, 1, 2, 3, 0)]
    assert [write.bytes[CQ + 16 * n + 14] & 1 for n in range(4)] == [0, 1, 1, 1]
    assert len(sink.items) == 6, "one command is taken up while its completion cannot be posted"


@pytest.mark.parametrize("executing", [False, True])
def test_disabling_resets_both_rings(executing):
    rng = random.Random(2)
    dut = CommandQueue()
    bench = Bench(dut, timeout=6000)
    read = bench.memory(dut.read, 1 << 14)
    write = bench.memory(dut.write, 1 << 14)
    first, second = sqe(rng, 1), sqe(rng, 2)
    done = bench.source(dut.i)
    sink = bench.sink(dut.o)

    def script(ctx):
        place(ctx, dut, cq_size=4)
        for number, command in enumerate((first, second)):
            ctx.set(dut.enable, 1)
            read.put(SQ, command)
            yield from ring(ctx, dut.sq_tail, dut.sq_tail_write, 1)
            while len(sink.items) <= number:
                yield
            if number == 0 and executing:
                ctx.set(dut.enable, 0)  # and on again before the command has ended
                yield
                ctx.set(dut.enable, 1)
            done.items.append({"status": 0, "result": number})
            for _ in range(60):
                yield
            if number == 0 and not executing:
                ctx.set(dut.enable, 0)
                yield

    bench.script(script)
    bench.run()
    assert sink.items == [int.from_bytes(c, "little") for c in (first, second)]
    result, _, sqhd, _, cid, status = struct.unpack("<IIHHHH", write.bytes[CQ : CQ + 16])
    assert (result, sqhd, status) == (1, 1, 1)


@pytest.mark.parametrize("word", range(8))
@pytest.mark.parametrize("stall, backpressure", CROSS[::3])
def test_an_entry_that_cannot_be_fetched_stops_the_queues(word, stall, backpressure):
    rng = random.Random(3)
    dut = CommandQueue()
    bench = Bench(dut, quiet=True, stall=stall, backpressure=backpressure)
    read = bench.memory(dut.read, 1 << 14)
    write = bench.memory(dut.write, 1 << 14)
    commands = [sqe(rng, n) for n in range(4)]
    read.put(SQ, b"".join(commands))
    done = bench.source(dut.i)
    sink = bench.sink(dut.o, then=lambda _: done.items.append({"status": 0}))
    irq = bench.watch(dut.irq)

    def script(ctx):
        place(ctx, dut, cq_size=8)
        ctx.set(dut.enable, 1)
        read.bad.add(SQ + 64 + 8 * word)  # of the second entry
        yield from ring(ctx, dut.sq_tail, dut.sq_tail_write, 3)
        while not ctx.get(dut.fault):
            yield
        read.bad.clear()
        yield from ring(ctx, dut.sq_tail, dut.sq_tail_write, 4)
        for _ in range(80):
            yield
        assert len(sink.items) == 1 and ctx.get(dut.fault), "only a reset of the queues helps"
        ctx.set(dut.enable, 0)
        yield
        ctx.set(dut.enable, 1)
        yield
        assert not ctx.get(dut.fault)
        yield from ring(ctx, dut.sq_tail, dut.sq_tail_write, 2)

    bench.script(script)
    bench.run(lambda: len(sink.items) == 3, idle=60)
    assert sink.items == [int.from_bytes(commands[n], "little") for n in (0, 0, 1)]
    assert sum(pulse for (pulse,) in irq) == 3
    assert [write.bytes[CQ + 16 * n + 12] for n in range(3)] == [0, 1, 0]


def test_a_completion_that_cannot_be_posted_stops_the_queues():
    rng = random.Random(4)
    dut = CommandQueue()
    bench = Bench(dut, quiet=True)
    read = bench.memory(dut.read, 1 << 14)
    write = bench.memory(dut.write, 1 << 14, bad={CQ + 24})  # the second half of the second one
    commands = [sqe(rng, n) for n in range(4)]
    read.put(SQ, b"".join(commands))
    done = bench.source(dut.i)
    sink = bench.sink(dut.o, then=lambda _: done.items.append({"status": 0}))
    irq = bench.watch(dut.irq)

    def script(ctx):
        place(ctx, dut, cq_size=8)
        ctx.set(dut.enable, 1)
        yield from ring(ctx, dut.sq_tail, dut.sq_tail_write, 4)
        while not ctx.get(dut.fault):
            yield
        for _ in range(80):
            yield
        assert len(sink.items) == 2 and sum(pulse for (pulse,) in irq) == 1
        write.bad.clear()
        write.put(CQ, bytes(64))
        ctx.set(dut.enable, 0)
        yield
        ctx.set(dut.enable, 1)
        yield from ring(ctx, dut.sq_tail, dut.sq_tail_write, 4)

    bench.script(script)
    bench.run(lambda: len(sink.items) == 6, idle=60)
    assert sum(pulse for (pulse,) in irq) == 5
    assert [write.bytes[CQ + 16 * n + 12] for n in range(4)] == [0, 1, 2, 3]
