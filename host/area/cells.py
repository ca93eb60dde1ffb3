"""Cells of a synthesised module, counted as an FPGA has them.

LUT
    LUT1..LUT6, and the look-up tables that memories and shift registers occupy (`MEMORY_LUTS`).
    Two small functions that share one table are counted as two; a placer may pack them.
FF
    FDRE, FDSE, FDCE, FDPE and latches.
BRAM36
    RAMB36 + RAMB18 / 2; UltraRAM separately.
DSP
    DSP48E1, DSP48E2.
CARRY, MUXF
    CARRY4 or CARRY8, MUXF7..9: part of the slices, shown, not in LUT.
INV
    Not counted: inverters vanish into the look-up table or register behind them. Shown in the JSON.
"""

import re
from collections import Counter
from dataclasses import astuple, dataclass

__all__ = ["Count", "count_cells"]

MEMORY_LUTS = {
    **dict.fromkeys(("RAM16X1S", "RAM32X1S", "RAM64X1S", "SRL16E", "SRLC16E", "SRLC32E"), 1),
    **dict.fromkeys(("RAM16X1D", "RAM32X1D", "RAM64X1D", "RAM128X1S", "RAM32X2S"), 2),
    **dict.fromkeys(("RAM32M", "RAM64M", "RAM128X1D", "RAM256X1S"), 4),
    **dict.fromkeys(("RAM32M16", "RAM64M8", "RAM64X8SW", "RAM256X1D", "RAM512X1S"), 8),
}
"""Look-up tables a memory cell takes: one for each read port and 64 bits (UG474, UG574)."""

KINDS = (
    (re.compile(r"LUT[1-6]"), "lut"),
    (re.compile(r"(FD[RSCP]E|LD[CP]E)(_1)?"), "ff"),
    (re.compile(r"RAMB36E[12]"), "bram36"),
    (re.compile(r"RAMB18E[12]"), "bram18"),
    (re.compile(r"DSP48E[12]"), "dsp"),
    (re.compile(r"URAM288"), "uram"),
    (re.compile(r"CARRY[48]"), "carry"),
    (re.compile(r"MUXF[789]"), "muxf"),
    (re.compile(r"INV"), "inv"),
    (re.compile(r"VCC|GND"), None),
)


@dataclass(frozen=True)
class Count:
    """Cells of a part of a design, see the head of the file.

    Parameters
    ----------
    lut, ff, dsp, uram, carry, muxf, inv : int
    lutram : int
        Those of the ``lut`` that are memory.
    bram36 : float
    """

    lut: int = 0
    lutram: int = 0
    ff: int = 0
    bram36: float = 0.0
    uram: int = 0
    dsp: int = 0
    carry: int = 0
    muxf: int = 0
    inv: int = 0

    def __add__(self, other):
        mine, theirs = astuple(self), astuple(other)
        return Count(*(a + b for a, b in zip(mine, theirs)))

    def __mul__(self, times):
        return Count(*(value * times for value in astuple(self)))


def count_cells(cells):
    """Count a module's own cells.

    Parameters
    ----------
    cells : dict of str to int
        Cell type -> number.
    """
    found: Counter = Counter()
    for cell, number in cells.items():
        if cell in MEMORY_LUTS:
            found["lut"] += MEMORY_LUTS[cell] * number
            found["lutram"] += MEMORY_LUTS[cell] * number
            continue
        kinds = [kind for pattern, kind in KINDS if pattern.fullmatch(cell)]
        if not kinds:
            raise ValueError(f"the cell {cell} is not counted: add it to host/area/cells.py")
        if kinds[0] == "bram18":
            found["bram36"] += number / 2
        elif kinds[0]:
            found[kinds[0]] += number
    return Count(**found)
