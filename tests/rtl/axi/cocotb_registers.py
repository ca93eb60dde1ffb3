"""cocotb side of test_lite_control.py: cocotbext-axi's AXI4-Lite master on a register file."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from cosim.axi_rules import AxiRules, watch
from cosim.bfm import stalls
from rtl.axi.signatures import AxiLiteSignature
from tests.rtl.axi.paths import no_path_inside
from tests.rtl.axi.registers import REGISTERS


class Bench:
    """A master that may stall on each channel, and the rules."""

    def __init__(self, dut, stall, seed):
        self.dut, self.rng = dut, random.Random(seed)
        self.rules = AxiRules(4)
        cocotb.start_soon(Clock(dut.clk, 2, unit="ns").start())
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "axi_"), dut.clk)
        write, read = self.master.write_if, self.master.read_if
        for part in (write, read):
            part.log.setLevel("ERROR")
        channels = (write.aw_channel, write.w_channel, write.b_channel)
        for channel in (*channels, read.ar_channel, read.r_channel):
            if stall:
                channel.set_pause_generator(stalls(self.rng, stall))

    async def start(self):
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        cocotb.start_soon(watch(self.dut, "axi__", self.rules, self.dut.clk))

    async def write(self, number, value):
        answer = await self.master.write(4 * number, value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY

    async def read(self, number):
        answer = await self.master.read(4 * number, 4)
        assert answer.resp == AxiResp.OKAY
        return int.from_bytes(answer.data, "little")


async def random_traffic(bench, count):
    """Readers and writers at once; each register belongs to one of them, who knows its value."""

    async def user(numbers, rng):
        kept = {}
        for number in numbers:
            kept[number] = number
            await bench.write(number, number)
        for _ in range(count):
            number = rng.choice(numbers)
            if rng.random() < 0.5:
                kept[number] = rng.getrandbits(32)
                await bench.write(number, kept[number])
            else:
                assert await bench.read(number) == kept[number]

    users = [
        cocotb.start_soon(user(range(n, REGISTERS, 4), random.Random(bench.rng.random())))
        for n in range(4)
    ]
    for task in users:
        await task


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.5])
async def registers_keep_what_was_written(dut, stall):
    bench = Bench(dut, stall, cocotb.RANDOM_SEED)
    await bench.start()
    await with_timeout(random_traffic(bench, 150), 200, "us")
    await ClockCycles(dut.clk, 2)
    assert bench.rules.settled() and bench.rules.bursts == 4 * 150 + REGISTERS
    assert int(dut.writes.value) + int(dut.reads.value) == bench.rules.bursts


@cocotb.test()
async def a_register_is_written_whole_or_not(dut):
    bench = Bench(dut, 0.3, cocotb.RANDOM_SEED)
    await bench.start()
    await bench.write(5, 0x1234_5678)
    for offset, data in ((0, b"\1"), (1, b"\1\2\3"), (0, b"\1\2"), (3, b"\1")):
        answer = await bench.master.write(20 + offset, data)
        assert answer.resp == AxiResp.SLVERR
    assert await bench.read(5) == 0x1234_5678
    answer = await bench.master.read(21, 2)  # reads have no strobes: the word is read, part is used
    assert answer.resp == AxiResp.OKAY and answer.data == b"\x56\x34"
    await ClockCycles(dut.clk, 2)
    assert bench.rules.settled() and int(dut.writes.value) == 1


@cocotb.test()
async def neither_reads_nor_writes_wait_for_ever(dut):
    bench = Bench(dut, 0.0, cocotb.RANDOM_SEED)
    await bench.start()
    done = []

    async def endless(action):
        while True:
            await action()

    cocotb.start_soon(endless(lambda: bench.write(1, 1)))
    cocotb.start_soon(endless(lambda: bench.write(2, 1)))
    for _ in range(20):
        done.append(await with_timeout(bench.read(3), 50, "ns"))
    cocotb.start_soon(endless(lambda: bench.read(1)))
    cocotb.start_soon(endless(lambda: bench.read(2)))
    for _ in range(20):
        await with_timeout(bench.write(3, 7), 50, "ns")


@cocotb.test()
async def no_output_follows_an_input(dut):
    moved = await no_path_inside(dut, AxiLiteSignature(), random.Random(cocotb.RANDOM_SEED))
    assert {"awready", "wready", "bvalid", "arready", "rvalid"} <= moved
