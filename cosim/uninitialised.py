"""A design as an ASIC would power it up: registers and memories without initial values.

Verilator gives them random ones instead (``--x-initial unique``, ``+verilator+rand+reset+2``), so
that what only an initial value kept right shows after a reset. Read-only memories keep theirs.
"""

import re

__all__ = ["RANDOM_FLAGS", "RANDOM_PLUSARGS", "uninitialised"]

RANDOM_FLAGS = ("--x-initial", "unique", "--x-assign", "unique", "-fno-dfg", "-fno-table")
"""Verilator flags that make such a design's registers random."""

RANDOM_PLUSARGS = ("+verilator+rand+reset+2",)
"""Arguments of the simulation that go with them; ``+verilator+seed+N`` chooses."""

_REGISTER = re.compile(r"^( +reg (?:\[\d+:0\] )?\S+) = \d+'h[0-9a-f]+;", re.MULTILINE)
_ROWS = re.compile(r"^ +initial begin\n(?: +\S+ ?\[\d+\] = \d+'h0+;\n)+ +end\n", re.MULTILINE)
_RAM = re.compile(
    r"^ +initial begin\n +r_data = .*\n`if.*\n +for \(row .*\n`endif\n +end\n", re.MULTILINE
)


def uninitialised(verilog):
    """The same design, its registers and writable memories without initial values."""
    for pattern, replacement in ((_REGISTER, r"\1;"), (_ROWS, ""), (_RAM, "")):
        verilog, count = pattern.subn(replacement, verilog)
        if not count:
            raise ValueError(
                "the design has no registers, rows or RAMs in the form that Amaranth and "
                "hls_attention.verilog write them: was it made by something else?"
            )
    return verilog
