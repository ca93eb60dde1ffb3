"""The whole drive in cocotb: reset, driver, firmware, pages of flash, against twin and golden.

Its registers and memories power up with random values, so that a missing reset shows.
"""

from cosim.cocotb_runner import run
from cosim.native_build import config_verilog
from cosim.top import TOP_NAME
from cosim.uninitialised import RANDOM_FLAGS, RANDOM_PLUSARGS, uninitialised
from tests.cosim.cocotb_drive import CONFIG


def test_drive():
    verilog = uninitialised(config_verilog(CONFIG))
    assert (
        run(
            "tests.cosim.cocotb_drive",
            verilog,
            TOP_NAME,
            seed=1,
            flags=RANDOM_FLAGS,
            plusargs=(*RANDOM_PLUSARGS, "+verilator+seed+7"),
        )
        == 1
    )
