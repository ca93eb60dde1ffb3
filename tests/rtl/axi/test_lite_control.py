"""The control bus behind AXI4-Lite, judged by cocotbext-axi's master and the rules of AXI4-Lite."""

from cosim.cocotb_runner import run
from hls_attention.verilog import to_verilog
from tests.rtl.axi.registers import RegisterFile


def test_registers():
    verilog = to_verilog(RegisterFile(), name="registers")
    assert run("tests.rtl.axi.cocotb_registers", verilog, "registers", seed=1) == 5
