"""Engine regression in cocotb: {stalls} x {backpressure}, against the twin and the golden model.

Every bin of `engine_coverage` must have been seen; resets come in mid-operation; and all of it is
repeated with registers and memories that power up with random values.
"""

import pytest

from cosim.cocotb_runner import run
from cosim.uninitialised import RANDOM_FLAGS, RANDOM_PLUSARGS, uninitialised
from hls_attention.engine import Engine
from hls_attention.verilog import to_verilog
from tests.cosim.engine_config import CONFIG

TESTS = 4 + 1 + 1


def test_engine():
    verilog = to_verilog(Engine(CONFIG), name="engine")
    assert run("tests.cosim.cocotb_engine", verilog, "engine", seed=1) == TESTS


@pytest.mark.parametrize("power_up", [11, pytest.param(12, marks=pytest.mark.soak)])
def test_engine_with_random_power_up(power_up):
    verilog = uninitialised(to_verilog(Engine(CONFIG), name="engine"))
    passed = run(
        "tests.cosim.cocotb_engine",
        verilog,
        "engine",
        test_filter="reset_in_mid",
        seed=power_up,
        flags=RANDOM_FLAGS,
        plusargs=(*RANDOM_PLUSARGS, f"+verilator+seed+{power_up}"),
    )
    assert passed == 1
