"""The whole drive with its pages in a memory behind AXI4, as exported; see test_axi_drive.py.

A soak: `tests/host/test_page_memory.py` has the same drive on the native lane.
"""

import pytest

from cosim.axi_top import AXI_TOP_NAME, AxiSimTop
from cosim.cocotb_runner import run
from cosim.native_build import kept_verilog
from hls_attention.verilog import to_verilog
from tests.cosim.cocotb_axi_pages import CONFIG


@pytest.mark.soak
def test_drive():
    verilog = kept_verilog(
        AXI_TOP_NAME, repr(CONFIG), lambda: to_verilog(AxiSimTop(CONFIG), AXI_TOP_NAME)
    )
    assert run("tests.cosim.cocotb_axi_pages", verilog, AXI_TOP_NAME, seed=1) == 2
