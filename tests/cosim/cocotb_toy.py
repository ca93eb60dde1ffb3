"""cocotb side of test_cocotb_runner.py: the toy design in Python's surroundings."""

import json
import os
from hashlib import sha256

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout

from cosim.bfm import CsrMaster
from cosim.bfm_environment import ArrayPort, MemoryPort
from cosim.environment import HOST_BASE
from flash_model.array import NandArray
from rtl.config import DriveConfig


@cocotb.test()
async def same_clocks_as_the_native_lane(dut):
    want = json.loads(os.environ["TOY_WANT"])
    config = DriveConfig.preset("tiny")
    array = NandArray(config.flash.geometry)
    host = np.zeros(65536, np.uint8)
    dram = np.arange(65536).astype(np.uint8)
    dut.rst.value, dut.skip.value = 1, 0
    csr = CsrMaster(dut)
    cocotb.start_soon(Clock(dut.clk, 2, unit="ns").start())
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    for model in (
        MemoryPort(dut, "host", host, base=HOST_BASE, **want["host"]),
        MemoryPort(dut, "dram", dram, **want["dram"]),
        *(ArrayPort(dut, f"array__{n}", array, n) for n in range(config.channels)),
    ):
        cocotb.start_soon(model.run())
    edge = RisingEdge(dut.clk)

    async def until_irq():
        await edge
        while not dut.irq.value:
            await edge

    for source, target, words in want["copies"]:
        for address, value in ((0x00, source), (0x04, target), (0x08, words)):
            await csr.write(address, value)
        await with_timeout(until_irq(), 20, "us")
    assert sha256(host).hexdigest() == want["host_sha"]
    assert await csr.read(0x30) == want["clocks"]
    assert await csr.read(0x0C) == want["errors"]
    array.register(1, 1)[8:16] = range(8)
    await csr.write(0x14, 1)
    await csr.write(0x28, 1 << 8 | 1 << 4)
    assert await csr.read(0x20) | await csr.read(0x24) << 32 == 0x0706050403020100
