"""Depth of logic: hand-made netlists, and Yosys' own longest path of a flattened netlist."""

import dataclasses
import json
import re

import pytest

from cosim.depth import LEVELS, LIBRARY_PS, NANOSECONDS, Costs, Way, depths
from cosim.mapped import library_cell
from cosim.netlist import load_netlist, save_netlist
from cosim.yosys import run_yosys, shell
from hls_attention import operators
from hls_attention.radix_select import RadixSelect
from hls_attention.select_config import SelectConfig
from hls_attention.verilog import to_verilog
from hls_attention.verilog_names import split_modules


def cell(kind, reads, writes, name="", **settings):
    return {
        "type": kind, "ports": reads | writes, "reads": list(reads), "name": name, **settings,
    }  # fmt: skip


def register(d, q, name):
    return cell("FDRE", {"C": [0], "CE": ["1"], "D": [d], "R": ["0"]}, {"Q": [q]}, name)


def table(inputs, o):
    return cell(
        f"LUT{len(inputs)}", {f"I{n}": [bit] for n, bit in enumerate(inputs)}, {"O": [o]}, "t"
    )


INNER = {
    "ports": {"a": ["input", [2, 3]], "b": ["output", [4, 5]], "clk": ["input", [0]]},
    "cells": {
        "one": table([2], 4),  # a[0] -> b[0], no register between
        "two": table([3, 6], 7),  # a[1] -> register
        "kept": register(7, 6, "kept"),
        "three": table([6], 8),
        "four": table([8], 5),  # register -> b[1]
    },
}

OUTER = {
    "ports": {"clk": ["input", [0]], "x": ["input", [9]]},
    "cells": {
        "from": register(12, 10, "from"),
        "left": {"type": "inner", "ports": {"a": [10, 9], "b": [11, 13], "clk": [0]}, "reads": []},
        "right": {"type": "inner", "ports": {"a": [13, 11], "b": [12, 14]}, "reads": []},
    },
}


def test_ways_across_modules():
    """left.kept -2-> left.b[1] = right.a[0] -1-> right.b[0] -> from; from -1-> -1-> right.kept."""
    found = depths({"inner": INNER, "outer": OUTER}, "outer", LEVELS)
    inner = found["inner"]
    assert inner.inside == Way(1, "kept", "kept")
    assert inner.from_input == {("a", 1): (1, "kept")}
    assert inner.to_output == {("b", 1): (2, "kept")}
    assert inner.across == {("b", 0): {("a", 0): 1}}
    assert found["outer"].inside == Way(3, "left.kept", "from")
    assert found["outer"].from_input == {("x", 0): (1, "left.kept")}


def test_carries_go_upwards():
    s, o, co = [2, 3, 4, 5], [6, 7, 8, 9], [10, 11, 12, 13]
    chain = cell(
        "CARRY4", {"CI": ["0"], "CYINIT": ["0"], "DI": ["0"] * 4, "S": s}, {"O": o, "CO": co}
    )
    ports = {"s": ["input", s], "o": ["output", o], "co": ["output", co]}
    across = depths({"top": {"ports": ports, "cells": {"c": chain}}}, "top", LEVELS)["top"].across
    for port in ("o", "co"):
        for n in range(4):
            assert across[port, n].keys() == {("s", below) for below in range(n + 1)}


def test_an_address_of_lut_ram_selects_one_output():
    """Three read ports and one that is only written; a dual-port cell reads where it writes."""
    wide = {f"ADDR{port}": [n] for n, port in enumerate("ABCD", 2)} | {"DIA": [6], "WCLK": [0]}
    narrow = {"A0": [2], "A1": [3], "DPRA0": [4], "DPRA1": [5], "D": [6], "WCLK": [0]}
    outputs = {"x": [10], "y": [11], "z": [12]}
    ports = {f"i{n}": ["input", [n]] for n in range(2, 7)}
    ports |= {name: ["output", bits] for name, bits in outputs.items()}

    def reads(kind, inputs, *names):
        ram = cell(kind, inputs, dict(zip(names, outputs.values())), "ram")
        found = depths({"top": {"ports": ports, "cells": {"ram": ram}}}, "top", LEVELS)["top"]
        assert {port for port, _ in found.from_input} >= {"i6"}  # data
        return {to[0]: {port for port, _ in ways} for to, ways in found.across.items()}

    assert reads("RAM64M", wide, "DOA", "DOB", "DOC") == {"x": {"i2"}, "y": {"i3"}, "z": {"i4"}}
    assert reads("RAM32X1D", narrow, "SPO", "DPO") == {"x": {"i2", "i3"}, "y": {"i4", "i5"}}


def test_a_circle_and_an_unknown_cell_are_refused():
    circle = {"ports": {}, "cells": {"a": table([1], 2), "b": table([2], 1)}}
    with pytest.raises(ValueError, match="the logic of top goes round in a circle"):
        depths({"top": circle}, "top", LEVELS)
    new = {"ports": {}, "cells": {"a": cell("NEW9", {}, {})}}
    with pytest.raises(ValueError, match="the cell NEW9 is not known: add it"):
        depths({"top": new}, "top", LEVELS)


def way(*cells):
    """Length in ns of the way from net 1 to net 9."""
    cells = [register(0, 1, "start"), *cells, register(9, 0, "end")]
    netlist = {"ports": {}, "cells": {str(n): cell for n, cell in enumerate(cells)}}
    return depths({"top": netlist}, "top", NANOSECONDS)["top"].inside.length


def test_nanoseconds():
    """The sums that pipelines are cut by: a table, an adder of 16 bits, a product in one clock."""
    level, start = operators.LEVEL_NS, operators.REGISTER_NS
    assert way(table([1], 9)) == pytest.approx(start + level)
    chain = [
        cell(
            "CARRY4",
            {"CI": [carry], "CYINIT": ["0"], "DI": ["0"] * 4, "S": [2 if first else "0", *"000"]},
            {"CO": ["x", "x", "x", carry + 1], "O": [9 if carry == 23 else "x", *"xxx"]},
        )
        for first, carry in ((True, 20), (False, 21), (False, 22), (False, 23))
    ]
    adder = 4 * operators.CARRY_NS + operators.CARRY_ENDS_NS
    assert way(table([1], 2), *chain) == pytest.approx(start + level + adder)

    def product(registers):
        settings = {name: "1" if name in registers else "0" for name in ("AREG", "MREG", "PREG")}
        settings |= {"BREG": "0", "CREG": "0", "DREG": "0"}
        ports = {"A": [1], "B": ["0"], "C": ["0"], "CLK": [0]}
        return cell("DSP48E1", ports, {"P": [9]}, parameters=settings)

    assert way(product([])) == pytest.approx(start + operators.MULTIPLY_NS)
    assert way(product(["MREG", "PREG"])) == pytest.approx(
        start + operators.CELLS_PS["DSP48E1 A setup, MREG"] / 1000
    )
    assert way(product(["PREG"])) > way(product(["MREG"])) > way(product(["AREG", "PREG"]))


@pytest.mark.parametrize("entry", LIBRARY_PS)
def test_delays_are_those_of_the_library(entry):
    cell, path = entry.split()[:2]
    figure = str(LIBRARY_PS[entry])
    port, to = path.split("->") if "->" in path else (path, "setup")
    lines = [line for line in library_cell(cell).splitlines() if figure in line]
    if cell.startswith("DSP"):  # by functions of the registers set
        wanted = {"C": "C.P.comb", "MREG": "MREG != 0"}[port]
        assert any(wanted in line for line in lines)
    else:
        assert any(port in line and (to in line) for line in lines)


def test_yosys_finds_the_same_length(tmp_path):
    """Every cell on the way counted, across modules: `ltp` of the netlist flattened afterwards."""
    top = "radix_select"
    config = SelectConfig(channels=2, max_tokens=256, max_group=8)
    modules = split_modules(to_verilog(RadixSelect(config), top))
    rams = [name for name in modules if name.startswith("ram_")]
    (tmp_path / "unit.v").write_text(
        "\n".join(shell(text) if name in rams else text for name, text in modules.items())
    )
    run_yosys(
        f"read_verilog unit.v; synth_xilinx -top {top} -noiopad -noclkbuf; "
        "select *; write_json -selected netlist.json; flatten; delete t:FD* t:RAM* t:ram_*; "
        "tee -o ltp.txt ltp",
        tmp_path,
    )
    (length,) = map(int, re.findall(r"length=(\d+)", (tmp_path / "ltp.txt").read_text()))
    written = json.loads((tmp_path / "netlist.json").read_text())
    save_netlist(written, tmp_path / "netlist.json.gz")
    netlists = load_netlist(tmp_path / "netlist.json.gz")
    for module in netlists.values():
        module["cells"] = {n: c for n, c in module["cells"].items() if c["type"] not in rams}
        for about in module["cells"].values():
            about["type"] = about["type"].replace("INV", "LUT1")
            if about["type"].startswith("RAM"):
                about["type"] = "RAMB"  # without ways through it, as for ltp
    every_cell = Costs(table=1, mux=1, chain_in=1, chain=1, chain_out=1)
    found = depths(netlists, top, every_cell)[top]
    ways = [
        found.inside.length,
        *(length for length, _ in (*found.from_input.values(), *found.to_output.values())),
        *(length for ends in found.across.values() for length in ends.values()),
    ]
    assert max(ways) == length > 5


def test_every_cost_is_given_in_nanoseconds():
    assert all(value > 0 for value in dataclasses.asdict(NANOSECONDS).values())
