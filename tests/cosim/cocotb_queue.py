"""cocotb side of test_cocotb_runner.py: a queue passes words, whatever the stalls."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, with_timeout

from cosim.bfm import StreamSink, StreamSource, stalls


@cocotb.test()
@cocotb.parametrize(source=[0, 0.5], sink=[0, 0.6])
async def passes_words(dut, source, sink):
    rng = random.Random(cocotb.RANDOM_SEED)
    dut.rst.value = 1
    i = StreamSource(dut, "i", stalls(rng, source))
    o = StreamSink(dut, "o", stalls(rng, sink))
    cocotb.start_soon(Clock(dut.clk, 2, unit="ns").start())
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    words = [rng.getrandbits(70) for _ in range(200)]
    cocotb.start_soon(i.send(words))
    assert await with_timeout(o.receive(len(words)), 5, "us") == words


@cocotb.test()
async def fails(dut):
    raise AssertionError("on purpose")
