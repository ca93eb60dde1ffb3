"""cocotb side of test_axi_drive.py: the host's driver and firmware on the drive's AXI buses."""

import cocotb
import numpy as np
import pytest
from cocotb.task import bridge
from cocotb.triggers import with_timeout

from cosim.axi_lane import AxiLane
from cosim.environment import HOST_BASE
from host import DriveError, KvDrive
from host.packing import pack_append
from rtl.commands import MEMORY_PAGE, Opcode, Status
from tests.cosim.cocotb_drive import CONFIG, HEAD_DIM, decode

STALL = 0.2


def faulty(lane, log):
    """Errors of the host's bus end their commands with TRANSFER_ERROR, and nothing else."""
    drive = KvDrive(lane.config, backend="rtl", lane=lane)
    number = drive.open(layers=1, kv_heads=1, head_dim=HEAD_DIM, max_tokens=64)
    tokens = np.ones((3, 1, HEAD_DIM), np.float16)
    drive.append(number, 0, tokens, tokens)
    q = np.ones((1, HEAD_DIM), np.float16)
    before = drive.attend(number, 0, q)
    host, driver = lane.memories["host"], drive.backend.driver

    command = driver.submit(
        Opcode.APPEND, data=pack_append(tokens, tokens), sequence=number, layer=0, tokens=3
    )
    offset = HOST_BASE + command.data[0]
    host.bad.append(range(offset, offset + 8))  # data that the drive fetches
    assert driver.wait(command)["status"] == Status.TRANSFER_ERROR
    host.bad.clear()

    host.bad_writes.append(range(HOST_BASE + 2 * MEMORY_PAGE, HOST_BASE + len(lane.host)))
    with pytest.raises(DriveError) as caught:  # results that it writes; completions arrive
        drive.attend(number, 0, q)
    assert caught.value.status == Status.TRANSFER_ERROR
    host.bad_writes.clear()
    assert np.array_equal(before, drive.attend(number, 0, q))


@cocotb.test()
async def decodes_over_axi(dut):
    lane = AxiLane(dut, CONFIG, stall=STALL, seed=cocotb.RANDOM_SEED)
    await lane.start()
    await with_timeout(bridge(decode)(lane, dut._log, cocotb.RANDOM_SEED), 5, "ms")
    for prefix, rules in lane.buses.items():
        dut._log.info(f"{prefix}: {rules.bursts} bursts, {rules.beats} beats in {rules.clocks}")
        assert rules.bursts > 50


@cocotb.test()
async def errors_reach_the_completion(dut):
    lane = AxiLane(dut, CONFIG, seed=cocotb.RANDOM_SEED)
    await lane.start()
    await with_timeout(bridge(faulty)(lane, dut._log), 5, "ms")
