"""cocotb side of test_manager.py: random transfers of the drive's movers on an AXI4 bus."""

import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout

from cosim.axi_memory import AxiMemory
from cosim.axi_rules import AxiRules, watch
from cosim.bfm import StreamSink, StreamSource, pack, stalls, unpack
from rtl.axi.signatures import AxiSignature
from rtl.memory import request_layout, word_layout
from tests.rtl.axi.movers import BURSTS, PAIRS, WRITE
from tests.rtl.axi.paths import no_path_inside

BASE, SIZE = 0x1_2345_0000, 1 << 16
"""The first half is read, of the second half each writer has its part."""

BAD = range(BASE + SIZE // 4, BASE + SIZE // 4 + 512)


class Bench:
    """The movers, a memory, the rules, and what the memory should hold in the end."""

    def __init__(self, dut, *, stall, seed, bad=False, decode_error=False):
        self.dut, self.stall, self.rng = dut, stall, random.Random(seed)
        self.memory_bytes = np.frombuffer(self.rng.randbytes(SIZE), np.uint8).copy()
        self.wanted = self.memory_bytes.copy()
        self.rules = AxiRules(8)
        self.bad = BAD if bad else range(0)
        self.memory = AxiMemory(
            dut,
            "axi_",
            self.memory_bytes,
            dut.clk,
            base=BASE,
            stall=stall,
            seed=seed,
            decode_error=decode_error,
        )
        self.errors = 0

    async def start(self):
        cocotb.start_soon(Clock(self.dut.clk, 2, unit="ns").start())
        self.pairs = range(PAIRS)
        make = [(n, StreamSource) for n in ("i_reads", "i_writes", "i_data")]
        make += [(n, StreamSink) for n in ("o", "done")]
        self.ends = {
            (name, n): kind(self.dut, f"{name}__{n}", stalls(self.rng, self.stall))
            for name, kind in make
            for n in self.pairs
        }
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        if self.bad:
            self.memory.bad.append(self.bad)
        cocotb.start_soon(watch(self.dut, "axi__", self.rules, self.dut.clk))

    def place(self, low, high):
        """A transfer anywhere in a part of the memory, often across 4096 bytes."""
        words = self.rng.choice([1, 2, 3, self.rng.randint(1, 40), self.rng.randint(1, 400)])
        words = min(words, (high - low) // 8)
        near = low + self.rng.randrange(0, high - low, 4096) - 8 * self.rng.randrange(words + 1)
        start = self.rng.choice([near, low + 8 * self.rng.randrange((high - low) // 8)])
        return min(max(start, low), high - 8 * words), words

    def is_bad(self, start):
        """Whether a word answers with an error."""
        return BASE + start in self.bad

    async def reads(self, n, count):
        for _ in range(count):
            start, words = self.place(0, SIZE // 2)
            request = pack(request_layout(), address=BASE + start, words=words)
            cocotb.start_soon(self.ends["i_reads", n].send([request]))
            got = await self.ends["o", n].receive(words)
            for index, word in enumerate(got):
                at = start + 8 * index
                fields = unpack(word_layout(), word)
                assert fields["last"] == (index == words - 1)
                assert fields["error"] == self.is_bad(at)
                self.errors += fields["error"]
                if not fields["error"]:
                    assert fields["data"] == int.from_bytes(self.wanted[at : at + 8], "little")

    async def writes(self, n, count):
        part = SIZE // 2 // PAIRS
        low = SIZE // 2 + n * part
        for _ in range(count):
            start, words = self.place(low, low + part)
            strobe = self.rng.choice([255, 255, self.rng.randrange(256)])
            data = self.rng.randbytes(8 * words)
            lanes = np.array([strobe >> lane & 1 for lane in range(8)] * words, bool)
            self.wanted[start : start + 8 * words][lanes] = np.frombuffer(data, np.uint8)[lanes]
            request = pack(WRITE, address=BASE + start, words=words, strobe=strobe)
            cocotb.start_soon(self.ends["i_writes", n].send([request]))
            numbers = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]
            cocotb.start_soon(self.ends["i_data", n].send(numbers))
            (done,) = await self.ends["done", n].receive(1)
            assert done == 0

    async def run(self, count):
        """As many transfers of each of the four movers, side by side."""
        tasks = [cocotb.start_soon(self.reads(n, count)) for n in self.pairs]
        tasks += [cocotb.start_soon(self.writes(n, count)) for n in self.pairs]
        for task in tasks:
            await task
        await ClockCycles(self.dut.clk, 4)
        assert self.rules.settled()
        assert np.array_equal(self.memory_bytes, self.wanted)


async def transfers(dut, count, limit_us=2000, **options):
    bench = Bench(dut, seed=cocotb.RANDOM_SEED, **options)
    await bench.start()
    await with_timeout(bench.run(count), limit_us, "us")
    dut._log.info(f"{bench.rules.bursts} bursts, {bench.rules.beats} beats")
    return bench


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.4])
async def random_transfers(dut, stall):
    await transfers(dut, count=60, stall=stall)


@cocotb.test()
async def ten_thousand_bursts(dut):
    bench = await transfers(dut, count=1700, stall=0.3, limit_us=40_000)
    assert bench.rules.bursts >= 10_000


@cocotb.test()
@cocotb.parametrize(decode_error=[False, True])
async def errors_of_reads_come_with_their_words(dut, decode_error):
    bench = await transfers(dut, count=60, stall=0.2, bad=True, decode_error=decode_error)
    assert bench.errors > 20


@cocotb.test()
@cocotb.parametrize(decode_error=[False, True])
async def errors_of_writes_come_with_their_request(dut, decode_error):
    bench = Bench(dut, stall=0.2, seed=cocotb.RANDOM_SEED, decode_error=decode_error)
    await bench.start()
    low = BASE + SIZE // 2
    bench.memory.bad.append(range(low + 4096 + 256, low + 4096 + 264))
    for start, words, error in ((0, 512, 0), (4096 - 64, 60, 1), (4096 - 64, 8, 0), (4400, 9, 0)):
        request = pack(WRITE, address=low + start, words=words, strobe=255)
        cocotb.start_soon(bench.ends["i_writes", 0].send([request]))
        cocotb.start_soon(bench.ends["i_data", 0].send([7] * words))
        done = await with_timeout(bench.ends["done", 0].receive(1), 100, "us")
        assert done == [error], (start, words)


@cocotb.test()
async def a_memory_may_take_an_address_after_its_data(dut):
    """It waits with ``awready`` until ``wvalid`` came, as A3.3.1 lets it."""
    bench = Bench(dut, stall=0.0, seed=cocotb.RANDOM_SEED)
    await bench.start()
    channel = bench.memory.channels["aw"]

    async def after_data():
        while True:
            channel.pause = not dut.axi__wvalid.value
            await RisingEdge(dut.clk)

    cocotb.start_soon(after_data())
    await with_timeout(bench.run(20), 500, "us")
    assert max(BURSTS) == 256


@cocotb.test()
async def no_output_follows_an_input(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    for n in range(PAIRS):
        for name, word in (
            ("i_reads", pack(request_layout(), address=BASE + 8 * n, words=40)),
            ("i_writes", pack(WRITE, address=BASE + SIZE // 2, words=7, strobe=255)),
            ("i_data", 5),
        ):
            getattr(dut, f"{name}__{n}__valid").value = 1
            getattr(dut, f"{name}__{n}__payload").value = word
        getattr(dut, f"o__{n}__ready").value = getattr(dut, f"done__{n}__ready").value = 1
    moved = await no_path_inside(dut, AxiSignature(), rng)
    assert {"awvalid", "wvalid", "arvalid", "rready"} <= moved
