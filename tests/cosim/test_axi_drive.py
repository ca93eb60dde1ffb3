"""The whole drive behind AXI4 and AXI4-Lite, as exported: what the other lanes do, bit for bit.

cocotbext-axi's master and memories are on its buses and stall them; `cosim.axi_rules` watches.
"""

from cosim.axi_top import AXI_TOP_NAME, AxiSimTop
from cosim.cocotb_runner import run
from cosim.native_build import kept_verilog
from hls_attention.verilog import to_verilog
from tests.cosim.cocotb_drive import CONFIG


def test_drive():
    verilog = kept_verilog(
        AXI_TOP_NAME, repr(CONFIG), lambda: to_verilog(AxiSimTop(CONFIG), AXI_TOP_NAME)
    )
    assert run("tests.cosim.cocotb_axi_drive", verilog, AXI_TOP_NAME, seed=1) == 2
