"""The channel as Verilog: no combinational loops, no names that are keywords."""

import re

import pytest

from cosim.verilator import WAIVERS, run_tool, toolchain
from flash_model.package import ChannelDies
from flash_model.profiles import profile
from hls_attention.verilog import to_verilog
from rtl.nand.controller import ChannelController

PARTS = {
    "channel_controller": lambda: ChannelController(profile("paper"), 285_000_000, 32),
    "controller_of_planes": lambda: ChannelController(profile("tlc_onfi5"), 300_000_000, 32),
    "channel_dies": lambda: ChannelDies(profile("paper"), 285_000_000),
}


@pytest.mark.parametrize("name", PARTS)
def test_lint(name, tmp_path):
    text = to_verilog(PARTS[name](), name)
    plain = re.findall(r"\\([A-Za-z_]\w*) ", text)
    assert not plain, f"names escaped as keywords: {sorted(set(plain))}"
    source = tmp_path / f"{name}.v"
    source.write_text(text)
    command = [toolchain().verilator, "--lint-only", "-Wall", str(WAIVERS), str(source)]
    run_tool([*command, "--top-module", name], tmp_path)
