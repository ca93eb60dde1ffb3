"""Verilator, Yosys and slang accept the drive's Verilog, and refuse what they should."""

import pytest

from cosim.front_ends import FRONT_ENDS, findings
from host.boards.folder import BoardFolder
from host.boards.wrappers import IP_TOP
from rtl.boards import BOARDS
from tests.host.verilog_hashes import DESIGNS
from tests.rtl.phy.black_boxes import black_boxes

SOUND = """\
module inner(input wire clk, input wire [3:0] a, output reg [3:0] b);
  always @(posedge clk) b <= a;
endmodule
module top(input wire clk, input wire s, input wire [3:0] a, output wire [3:0] o);
  reg [3:0] kept;
  wire [3:0] b;
  inner inner_0(.clk(clk), .a(a), .b(b));
  always @* begin
    kept = b;
    if (s) kept = a;
  end
  assign o = kept;
endmodule
"""

FAULTS = {
    "an unknown name": ("o = kept", "o = keep", FRONT_ENDS),
    "an unknown port": (".a(a)", ".c(a)", FRONT_ENDS),
    "an unknown module": ("  inner inner_0", "  outer inner_0", FRONT_ENDS),
    "a port too wide": ("[3:0] a, output reg", "[4:0] a, output reg", {"yosys", "slang"}),
    "a latch": ("    kept = b;\n", "", {"verilator", "yosys"}),
    "two drivers": ("assign o = kept;", "assign o = kept;\n  assign o = b;", {"yosys"}),
    "a loop": ("kept = b;", "kept = o;", {"verilator", "yosys"}),
}
"""Fault -> what is changed in `SOUND`, into what, and who sees it."""


ALIKE = "paper", "daisyplus"
"""Designs that differ from another one in sizes only: in soak."""


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize(
    "design",
    [pytest.param(d, marks=pytest.mark.soak) if d in ALIKE else d for d in DESIGNS],
)
def test_the_verilog_of_a_folder_is_accepted(design, front_end):
    """Of a board with its preset, or of any; primitives of its FPGA are black boxes."""
    board = BOARDS.get(design, BOARDS["generic"])
    folder = BoardFolder(board, DESIGNS[design], preset=design)
    files = folder.rtl()
    if folder.top != IP_TOP:
        del files["rtl/instinfer_csd.v"]  # another top
    text = "\n".join(files.values())
    assert findings(front_end, text + black_boxes(text), folder.top) == []


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_faults_are_found(front_end):
    assert findings(front_end, SOUND, "top") == []
    for name, (sound, faulty, seen_by) in FAULTS.items():
        assert sound in SOUND
        told = findings(front_end, SOUND.replace(sound, faulty, 1), "top")
        assert bool(told) == (front_end in seen_by), f"{name}: {told}"
