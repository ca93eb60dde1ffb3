"""The whole drive in cocotb: reset, driver, firmware, pages of flash, against twin and golden."""

from cosim.cocotb_runner import run
from cosim.native_build import config_verilog
from cosim.top import TOP_NAME
from rtl.config import DriveConfig


def test_drive():
    """Registers without initial values get random ones, so that a missing reset shows."""
    verilog = config_verilog(DriveConfig.preset("tiny"))
    flags = ("--x-initial", "unique", "--x-assign", "unique", "-fno-dfg", "-fno-table")
    assert run("tests.cosim.cocotb_drive", verilog, TOP_NAME, seed=1, flags=flags) == 1
