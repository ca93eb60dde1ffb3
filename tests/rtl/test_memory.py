"""Movers between streams and memory ports, against a memory model with latency."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.memory import BurstReader, BurstWriter, PortArbiter, request_layout, word_layout
from rtl.memory_port import MemoryPortSignature
from tests.rtl.streams_bench import CROSS, Bench

SIZE = 1 << 15


def requests(rng, count, most=80, stride=SIZE // 16):
    """Random transfers in places that do not overlap, some of them across 4096 bytes."""
    places = rng.sample(range(15), count)
    items = []
    for place in places:
        words = rng.randint(1, most)
        start = place * stride + 8 * rng.randrange(stride // 8)
        items.append(
            {"address": min(start, (place + 1) * stride + stride - 8 * words), "words": words}
        )
    return items


def fill(memory, seed=5):
    memory.put(0, random.Random(seed).randbytes(len(memory.bytes)))


@pytest.mark.parametrize("depth, burst", [(8, 8), (16, 4), (64, 32)])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_reader_gives_the_words_in_order(depth, burst, stall, backpressure):
    rng = random.Random(depth)
    dut = BurstReader(depth=depth, burst=burst)
    bench = Bench(dut, quiet=True, stall=stall, backpressure=backpressure)
    memory = bench.memory(dut.port, SIZE, latency=rng.choice([1, 5, 12]))
    fill(memory)
    items = [{"address": 4096 - 24, "words": 20}, *requests(rng, 3)]
    bench.source(dut.i, items)
    sink = bench.sink(dut.o)
    wanted = []
    for item in items:
        words = memory.words(item["address"], item["words"])
        wanted += [
            {"data": w, "last": int(n == len(words) - 1), "error": 0} for n, w in enumerate(words)
        ]
    bench.run(lambda: len(sink.items) == len(wanted), idle=40)
    assert sink.items == wanted
    assert max(beats for _, beats in memory.reads) <= burst


def test_reader_moves_a_word_a_clock():
    dut = BurstReader(depth=128, burst=64)
    bench = Bench(dut)
    memory = bench.memory(dut.port, SIZE, latency=8)
    bench.source(dut.i, [{"address": 0, "words": 400}])
    sink = bench.sink(dut.o)
    bench.run(lambda: len(sink.items) == 400)
    assert sink.clocks[-1] - sink.clocks[0] < 400 + 8
    assert sum(beats for _, beats in memory.reads) == 400


def test_reader_never_asks_for_more_than_it_has_room_for():
    dut = BurstReader(depth=16, burst=8)
    bench = Bench(dut, quiet=True)
    memory = bench.memory(dut.port, SIZE)
    bench.source(dut.i, [{"address": 0, "words": 100}])
    sink = bench.sink(dut.o, gate=lambda: bench.clock > 200)
    bench.run(lambda: bench.clock == 199)
    assert memory.reads == [(0, 8), (64, 8)] and memory.moved == 16 and not sink.items
    assert bench.still > 100


def test_reader_passes_errors_with_their_word():
    dut = BurstReader(depth=8, burst=4)
    bench = Bench(dut)
    bench.memory(dut.port, SIZE, bad={24, 80})
    bench.source(dut.i, [{"address": 0, "words": 20}])
    sink = bench.sink(dut.o)
    bench.run(lambda: len(sink.items) == 20)
    assert [n for n, item in enumerate(sink.items) if item["error"]] == [3, 10]


def test_reader_refuses_a_burst_beyond_its_depth():
    with pytest.raises(ValueError, match="not 64"):
        BurstReader(depth=32, burst=64)


@pytest.mark.parametrize("burst", [2, 16, 64])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_writer_puts_the_words_in_their_places(burst, stall, backpressure):
    rng = random.Random(burst)
    dut = BurstWriter(burst=burst)
    bench = Bench(dut, quiet=True, stall=stall, backpressure=backpressure)
    memory = bench.memory(dut.port, SIZE, latency=rng.choice([1, 6]))
    fill(memory)
    model = bytearray(memory.bytes)
    items, words = [], []
    for item in [{"address": 4096 - 16, "words": 9}, *requests(rng, 3)]:
        strobe = rng.choice([0xFF, 0xFF, 0x0F, 0xF0])
        items.append({**item, "strobe": strobe})
        for n in range(item["words"]):
            raw = rng.randbytes(8)
            words.append(int.from_bytes(raw, "little"))
            for lane in range(8):
                if strobe >> lane & 1:
                    model[item["address"] + 8 * n + lane] = raw[lane]
    bench.source(dut.i, items)
    bench.source(dut.i_data, words)
    sink = bench.sink(dut.done)
    bench.run(lambda: len(sink.items) == len(items), idle=40)
    assert memory.bytes == model
    assert sink.items == [{"error": 0}] * len(items)
    assert max(beats for _, beats in memory.writes) <= burst


def test_writer_says_which_request_failed():
    dut = BurstWriter(burst=4)
    bench = Bench(dut)
    bench.memory(dut.port, SIZE, bad={1000 * 8}, latency=9)
    addresses = [0, 998 * 8, 2048]
    bench.source(dut.i, [{"address": a, "words": 10, "strobe": 255} for a in addresses])
    bench.source(dut.i_data, range(30))
    sink = bench.sink(dut.done)
    bench.run(lambda: len(sink.items) == 3)
    assert [item["error"] for item in sink.items] == [0, 1, 0]


class Shared(wiring.Component):
    """Burst readers and writers behind an arbiter."""

    def __init__(self, readers, writers, depth=16, burst=8):
        self._shape = (readers, writers)
        self._movers = (
            [BurstReader(depth=depth, burst=burst) for _ in range(readers)],
            [BurstWriter(burst=burst) for _ in range(writers)],
        )
        write = self._movers[1][0].i.payload.shape()
        super().__init__(
            {
                "i": In(stream.Signature(request_layout())).array(readers),
                "o": Out(stream.Signature(word_layout())).array(readers),
                "i_write": In(stream.Signature(write)).array(writers),
                "i_data": In(stream.Signature(64)).array(writers),
                "done": Out(stream.Signature(data.StructLayout({"error": 1}))).array(writers),
                "port": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        readers, writers = self._shape
        m.submodules.arbiter = arbiter = PortArbiter(readers=readers, writers=writers)
        connect(m, arbiter.port, flipped(self.port))
        quiet = arbiter.quiet
        for index, reader in enumerate(self._movers[0]):
            m.submodules[f"reader_{index}"] = reader
            for name in ("ar", "r"):
                connect(m, getattr(reader.port, name), getattr(arbiter.readers[index], name))
            connect(m, flipped(self.i[index]), reader.i)
            connect(m, reader.o, flipped(self.o[index]))
            quiet = quiet & reader.quiet
        for index, writer in enumerate(self._movers[1]):
            m.submodules[f"writer_{index}"] = writer
            for name in ("aw", "w", "b"):
                connect(m, getattr(writer.port, name), getattr(arbiter.writers[index], name))
            connect(m, flipped(self.i_write[index]), writer.i)
            connect(m, flipped(self.i_data[index]), writer.i_data)
            connect(m, writer.done, flipped(self.done[index]))
            quiet = quiet & writer.quiet
        m.d.comb += self.quiet.eq(quiet)
        return m


@pytest.mark.parametrize("readers, writers", [(1, 1), (3, 3), (5, 1)])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_arbiter_keeps_everyones_words_apart(readers, writers, stall, backpressure):
    rng = random.Random(readers)
    dut = Shared(readers, writers)
    bench = Bench(dut, quiet=True, stall=stall, backpressure=backpressure)
    memory = bench.memory(dut.port, 2 * SIZE, latency=rng.choice([1, 7]))
    fill(memory)
    read_sinks, read_wanted = [], []
    for index in range(readers):
        items = requests(rng, 2, most=20)
        bench.source(dut.i[index], items)
        read_sinks.append(bench.sink(dut.o[index]))
        read_wanted.append(
            [w for item in items for w in memory.words(item["address"], item["words"])]
        )
    done_sinks, written = [], []
    for index in range(writers):
        base = SIZE + index * 8192
        items = [{"address": base + 4096 - 40 * n, "words": 5, "strobe": 255} for n in range(4)]
        words = [rng.getrandbits(64) for _ in range(20)]
        bench.source(dut.i_write[index], items)
        bench.source(dut.i_data[index], words)
        done_sinks.append(bench.sink(dut.done[index]))
        written += [
            (item["address"] + 8 * n, words[5 * k + n])
            for k, item in enumerate(items)
            for n in range(5)
        ]
    bench.run(
        lambda: (
            all(len(s.items) == len(w) for s, w in zip(read_sinks, read_wanted))
            and all(len(s.items) == 4 for s in done_sinks)
        ),
        idle=40,
    )
    for sink, wanted in zip(read_sinks, read_wanted):
        assert [item["data"] for item in sink.items] == wanted
    for address, word in written:
        assert memory.word(address) == word


def test_a_stalled_consumer_stalls_itself_alone():
    dut = Shared(3, 1)
    bench = Bench(dut)
    memory = bench.memory(dut.port, SIZE, latency=5)
    fill(memory)
    for index in range(3):
        bench.source(dut.i[index], [{"address": 2048 * index, "words": 100}])
    stopped = bench.sink(dut.o[0], gate=lambda: False)
    others = [bench.sink(dut.o[index]) for index in (1, 2)]
    bench.run(lambda: all(len(sink.items) == 100 for sink in others))
    assert not stopped.items and memory.blocked == 0
    assert [i["data"] for i in others[1].items] == memory.words(4096, 100)
