"""The drive's movers behind `AxiManager`, judged by cocotbext-axi and by the rules of AXI4.

cocotbext-axi's subordinate holds the memory, and refuses bursts across 4096 bytes and a misplaced
``wlast``; `cosim.axi_rules` sees every handshake.
"""

import pytest

from cosim.cocotb_runner import run
from hls_attention.verilog import to_verilog
from tests.rtl.axi.movers import Movers

TESTS = {"random_transfers": 2, "errors_of": 4, "a_memory_may": 1, "no_output": 1}


def check(name, seed=1):
    verilog = to_verilog(Movers(), name="movers")
    return run("tests.rtl.axi.cocotb_movers", verilog, "movers", test_filter=name, seed=seed)


@pytest.mark.parametrize("name", TESTS)
def test_transfers(name):
    assert check(name) == TESTS[name]


@pytest.mark.soak
def test_ten_thousand_bursts():
    assert check("ten_thousand") == 1
