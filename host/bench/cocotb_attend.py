"""cocotb side of ``instinfer bench lanes``: the attention it asks for, on the drive's ports."""

import json
import os
from pathlib import Path

import cocotb
from cocotb.task import bridge

from cosim.cocotb_lane import CocotbLane
from host.bench.lanes import RESULT_VARIABLE, SHAPE_VARIABLE, attend_once
from rtl.config import DriveConfig


@cocotb.test()
async def attends(dut):
    shape = json.loads(os.environ[SHAPE_VARIABLE])
    config = DriveConfig(**shape.pop("config"))
    lane = CocotbLane(dut, config, host_bytes=16 << 20)
    await lane.start()
    result = await bridge(attend_once)(config, lane=lane, **shape)
    Path(os.environ[RESULT_VARIABLE]).write_text(json.dumps(result))
