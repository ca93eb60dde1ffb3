"""Engine regression in cocotb: {stalls} x {backpressure}, against the twin and the golden model."""

from cosim.cocotb_runner import run
from hls_attention.engine import Engine
from hls_attention.verilog import to_verilog
from tests.cosim.engine_config import CONFIG


def test_engine():
    verilog = to_verilog(Engine(CONFIG), name="engine")
    assert run("tests.cosim.cocotb_engine", verilog, "engine", seed=1) == 4
