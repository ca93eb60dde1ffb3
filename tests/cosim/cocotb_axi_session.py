"""cocotb side of test_axi_drive.py: random calls under random stalls, resets amid transactions."""

import os
import random

import cocotb
import numpy as np
from cocotb.task import bridge
from cocotb.triggers import with_timeout

from cosim.axi_lane import AxiLane
from host import KvDrive
from host.packing import pack_append
from rtl.commands import Opcode
from tests.cosim.axi_session import play
from tests.cosim.cocotb_drive import CONFIG, HEAD_DIM

STALLS = (0.0, 0.1, 0.3, 0.6)
SEED, CALLS, RESETS = (int(os.environ[f"AXI_{name}"]) for name in ("SEED", "CALLS", "RESETS"))


def managed(lane):
    """Bursts and beats of the drive's managers."""
    rules = [lane.buses[f"m_axi_{name}"] for name in ("host", "dram")]
    return np.array([sum(one.bursts for one in rules), sum(one.beats for one in rules)])


def same_calls(lane, log):
    """Plays the session whose outputs the native lane has written down."""
    drive, begin = KvDrive(lane.config, backend="rtl", lane=lane), managed(lane)
    stalls = random.Random(SEED)
    wanted = np.load(os.environ["AXI_OUTPUTS"])
    calls = play(drive, SEED, CALLS, before=lambda: lane.stall(stalls.choice(STALLS)))
    for number, outputs in enumerate(calls):
        for n, output in enumerate(outputs):
            assert np.array_equal(output, wanted[f"{number}_{n}"]), f"call {number}, output {n}"
    lane.stall(0.0)
    bursts, beats = managed(lane) - begin
    log.info(f"{CALLS} calls: {bursts} bursts of {beats} beats, {lane.cycle} clocks")
    return bursts


def interrupted(lane, log):
    """Resets while reads and writes are under way; after each the drive begins anew."""
    rng = random.Random(SEED)
    tokens = np.ones((8, 2, HEAD_DIM), np.float16)
    for _ in range(RESETS):
        drive = KvDrive(lane.config, backend="rtl", lane=lane)
        number = drive.open(layers=1, kv_heads=2, head_dim=HEAD_DIM, max_tokens=64)
        lane.stall(0.6)
        drive.backend.driver.submit(
            Opcode.APPEND, data=pack_append(tokens, tokens), sequence=number, layer=0, tokens=8
        )
        lane.idle(rng.randrange(100, 1500))
        while lane.buses["m_axi_dram"].settled() and lane.buses["m_axi_host"].settled():
            lane.idle(1)
        lane.reset()
        lane.stall(0.0)
        assert all(rules.settled() for rules in lane.buses.values())
        for buffer in lane.array.buffers.values():
            buffer[:] = 0
        log.info(f"reset amid transactions, clock {lane.cycle}")


def session(lane, log):
    interrupted(lane, log)
    bursts = same_calls(lane, log)
    assert bursts >= int(os.environ["AXI_BURSTS"]), f"only {bursts} bursts"


@cocotb.test()
async def plays_a_session(dut):
    lane = AxiLane(dut, CONFIG, seed=SEED)
    await lane.start()
    await with_timeout(bridge(session)(lane, dut._log), 1, "sec")
