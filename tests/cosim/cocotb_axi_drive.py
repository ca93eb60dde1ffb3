"""cocotb side of test_axi_drive.py: the host's driver and firmware on the drive's AXI buses."""

import cocotb
import numpy as np
from cocotb.task import bridge
from cocotb.triggers import with_timeout

from cosim.axi_lane import AxiLane
from cosim.environment import HOST_BASE
from host import KvDrive
from host.packing import pack_append
from rtl.commands import Opcode, Status
from tests.cosim.cocotb_drive import CONFIG, HEAD_DIM, decode

STALL = 0.2


def faulty(lane, log):
    """Errors of the buses end their commands with TRANSFER_ERROR, and nothing else."""
    drive = KvDrive(lane.config, backend="rtl", lane=lane)
    number = drive.open(layers=1, kv_heads=1, head_dim=HEAD_DIM, max_tokens=64)
    tokens = np.ones((3, 1, HEAD_DIM), np.float16)
    drive.append(number, 0, tokens, tokens)
    driver = drive.backend.driver
    q = np.ones((1, HEAD_DIM), np.float16)
    before = drive.attend(number, 0, q)
    host = lane.memories["host"]

    def status(**window):
        command = driver.submit(
            Opcode.APPEND, data=pack_append(tokens, tokens), sequence=number, layer=0, tokens=3
        )
        offset = command.data[0]
        host.bad.append(range(HOST_BASE + offset, HOST_BASE + offset + 8))
        answer = driver.wait(command)["status"]
        host.bad.clear()
        return answer

    assert status() == Status.TRANSFER_ERROR
    after = drive.attend(number, 0, q)
    assert np.array_equal(before, after)


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
