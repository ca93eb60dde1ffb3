"""cocotb side of test_axi_pages.py: host software on a drive with its pages in an AXI memory."""

import cocotb
import numpy as np
import pytest
from cocotb.task import bridge
from cocotb.triggers import with_timeout

from cosim.axi_lane import AxiLane
from host import DriveConfig, DriveError, KvDrive
from rtl.commands import Status
from tests.cosim.cocotb_drive import HEAD_DIM, decode

CONFIG = DriveConfig.preset("tiny", sparse_tokens=64, page_store="memory", page_base=0x12_3456_7000)
STALL = 0.2


def faulty(lane, log):
    """What a page memory answers with SLVERR is never taken for data."""
    drive = KvDrive(lane.config, backend="rtl", lane=lane)
    number = drive.open(layers=1, kv_heads=1, head_dim=HEAD_DIM, max_tokens=64)
    rng = np.random.default_rng(1)
    k, v = rng.standard_normal((2, 40, 1, HEAD_DIM)).astype(np.float16)
    drive.append(number, 0, k, v)
    drive.flush(number)
    q = np.ones((1, HEAD_DIM), np.float16)
    before = drive.attend(number, 0, q)
    memory = lane.memories["pages_1"]
    memory.bad.append(range(lane.config.page_base, lane.config.page_base + memory.contents.size))
    with pytest.raises(DriveError) as caught:
        drive.attend(number, 0, q)
    assert caught.value.status == Status.UNRECOVERED_READ
    memory.bad.clear()
    assert np.array_equal(before, drive.attend(number, 0, q))


@cocotb.test()
async def decodes_with_pages_over_axi(dut):
    lane = AxiLane(dut, CONFIG, stall=STALL, seed=cocotb.RANDOM_SEED)
    await lane.start()
    await with_timeout(bridge(decode)(lane, dut._log, cocotb.RANDOM_SEED), 5, "ms")
    for prefix, rules in lane.buses.items():
        dut._log.info(f"{prefix}: {rules.bursts} bursts, {rules.beats} beats in {rules.clocks}")
        assert rules.bursts > 50


@cocotb.test()
async def errors_of_pages_reach_the_completion(dut):
    lane = AxiLane(dut, CONFIG, seed=cocotb.RANDOM_SEED)
    await lane.start()
    await with_timeout(bridge(faulty)(lane, dut._log), 5, "ms")
