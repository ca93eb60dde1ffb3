"""PHYs as Verilog: accepted by front ends, with the drive's ports and a family's primitives."""

import dataclasses
import re
from collections import Counter

import pytest

from cosim.front_ends import FRONT_ENDS, findings
from cosim.yosys import run_yosys, synthesise
from flash_model.profiles import profile
from hls_attention.verilog import port_names
from rtl.nand.controller import ChannelController
from rtl.phy.buffers import FAMILIES
from rtl.phy.verilog import PADS_TOP, nv_ddr_phy_verilog, sdr_phy_verilog
from tests.rtl.phy.black_boxes import black_boxes

PRIMITIVES = {
    "series7": {"ODDR": 9, "IDDR": 9, "IOBUF": 9},
    "ultrascale": {"ODDRE1": 9, "IDDRE1": 9, "IOBUF": 9},
    "ultrascaleplus": {"ODDRE1": 9, "IDDRE1": 9, "IOBUF": 9},
}
"""Of DQ and DQS."""

NV_DDR = profile("mlc_cosmos_nv_ddr"), 2, 100_000_000, "series7"

_LIBRARY = (
    "read_verilog -lib +/xilinx/cells_sim.v; read_verilog -lib +/xilinx/cells_xtra.v; "
    "read_verilog design.v; hierarchy -check -top {top}; proc; check -assert; "
    "select -assert-none t:$dlatch"
)


@pytest.fixture(scope="module")
def sdr():
    return sdr_phy_verilog(profile("mlc_cosmos_sdr"), 5, 100_000_000)


@pytest.fixture(scope="module", params=FAMILIES)
def nv_ddr(request):
    return request.param, nv_ddr_phy_verilog(*NV_DDR[:3], request.param)


@pytest.fixture(scope="module")
def one_die():
    part = profile("mlc_cosmos_nv_ddr")
    part = dataclasses.replace(part, geometry=dataclasses.replace(part.geometry, dies=1))
    return nv_ddr_phy_verilog(part, *NV_DDR[1:], paired=("w_rn", "dqs"))


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_the_sdr_phy_is_accepted(sdr, front_end):
    assert findings(front_end, sdr, PADS_TOP) == []


def test_amds_primitives_are_used_as_they_are(nv_ddr, tmp_path):
    """Yosys knows their ports and parameters."""
    family, text = nv_ddr
    (tmp_path / "design.v").write_text(text)
    run_yosys(_LIBRARY.format(top=PADS_TOP), tmp_path)
    placed = re.findall(r"^  ([A-Z][A-Z0-9]+) (?:#|\w)", text, re.M)
    for name, count in PRIMITIVES[family].items():
        assert placed.count(name) == count, name


@pytest.mark.parametrize("front_end", ["verilator", "slang"])
def test_the_nv_ddr_phy_is_accepted(nv_ddr, front_end):
    """With primitives as black boxes, of the ports that are connected."""
    _, text = nv_ddr
    assert findings(front_end, text + black_boxes(text), PADS_TOP) == []


@pytest.mark.parametrize("front_end", ["verilator", "slang"])
def test_one_die_is_accepted(one_die, front_end):
    """Vectors of one bit, and pairs of pins."""
    assert findings(front_end, one_die + black_boxes(one_die), PADS_TOP) == []


def test_synchronisers_of_ready_busy_are_known_to_vivado(sdr, nv_ddr):
    """Two registers one behind the other, the first one from the pin."""
    for text in (sdr, nv_ddr[1]):
        marked = re.findall(r'\(\* ASYNC_REG = "TRUE" \*\)\n  reg \[\d+:0\] (\w+)', text)
        assert len(marked) == 2
        taken = dict(re.findall(r"^ +(\w+) <= (\w+);$", text, re.M))
        first, second = sorted(marked, key=lambda name: taken[name] in marked)
        assert taken[first] == "rb_n" and taken[second] == first


def test_pads_have_the_ports_of_the_controllers_phy(sdr, nv_ddr):
    part = profile("mlc_cosmos_sdr")
    controller = port_names(ChannelController(part, 100_000_000, 16))
    swapped = {"i": "output", "o": "input"}
    theirs = {port: (swapped[flow], bits) for port, flow, bits in controller}
    theirs = {port: rest for port, rest in theirs.items() if port.startswith("phy__")}
    assert phy_ports(sdr) == phy_ports(nv_ddr[1]) == theirs


def phy_ports(text):
    """Ports of ``nand_pads`` to the controller: name -> direction, bits."""
    head = text[text.index(f"module {PADS_TOP}(") :]
    head = head[: head.index(");")]
    found = re.findall(r"(input|output) +wire (?:\[(\d+):0\] )?(phy__\w+)", head)
    return {port: (direction, int(top or 0) + 1) for direction, top, port in found}


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["sdr", "nv_ddr"])
def test_area(kind, request):
    """Of 7 series, without buffers; printed for docs/phy.md."""
    text = request.getfixturevalue("sdr") if kind == "sdr" else nv_ddr_phy_verilog(*NV_DDR)
    logic = text[: text.index("module nand_buffers" if kind == "nv_ddr" else "// A channel's")]
    cells = sum(map(Counter, synthesise(logic, "nand_phy", "xc7").values()), Counter())
    luts = sum(n for name, n in cells.items() if name.startswith("LUT"))
    luts += 4 * cells["RAM32M"]
    registers = sum(n for name, n in cells.items() if name.startswith("FD"))
    print(f"{kind}: {luts} LUT, {registers} FF")
    assert luts < 850 and registers < 500


def test_unknown_families_are_refused():
    with pytest.raises(ValueError, match="'ecp5'.*series7, ultrascale, ultrascaleplus"):
        nv_ddr_phy_verilog(*NV_DDR[:3], "ecp5")


def test_the_same_text_every_time(sdr):
    assert sdr_phy_verilog(profile("mlc_cosmos_sdr"), 5, 100_000_000) == sdr
