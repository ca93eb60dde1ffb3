"""``instinfer area --codes`` and ``--selection``: units of error correction and of selection."""

import json

import pytest

from cosim import yosys
from host.cli import main

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
