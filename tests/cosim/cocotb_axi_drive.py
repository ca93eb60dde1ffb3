"""cocotb side of test_axi_drive.py: the host's driver and firmware on the drive's AXI buses."""

import cocotb
from cocotb.task import bridge
from cocotb.triggers import with_timeout

from cosim.axi_lane import AxiLane
from tests.cosim.cocotb_drive import CONFIG, decode

STALL = 0.2


@cocotb.test()
async def decodes_over_axi(dut):
    lane = AxiLane(dut, CONFIG, stall=STALL, seed=cocotb.RANDOM_SEED)
    await lane.start()
    await with_timeout(bridge(decode)(lane, dut._log, cocotb.RANDOM_SEED), 5, "ms")
    for prefix, rules in lane.buses.items():
        dut._log.info(f"{prefix}: {rules.bursts} bursts, {rules.beats} beats in {rules.clocks}")
        assert rules.bursts > 50
