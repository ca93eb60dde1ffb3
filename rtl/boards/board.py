"""The boards: what is on each of them, and which drive is meant for it.

Package pins are facts of the boards' public projects (`Board.pins_source`), kept as tables in
``pins/``: channel, signal, index, pin, I/O standard.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from .parts import PARTS, Part
from .processor import PROCESSORS, Processor

__all__ = ["BOARDS", "Board", "Pin", "board"]


TIMED = ("dq", "dqs", "cle", "ale", "we", "re")
"""Pins whose edges count."""


@dataclass(frozen=True)
class Pin:
    """A package pin: of which flash channel's which signal, and its I/O standard."""

    channel: int
    signal: str
    index: int
    pin: str
    standard: str


@dataclass(frozen=True, kw_only=True)
class Board:
    """An FPGA board.

    Parameters
    ----------
    name : str
        What `board` knows it by; of its drive's preset, too, but for ``generic``.
    title : str
    part : Part or None
        None: not known, a script's user names it.
    preset : str
        Configuration of the drive that is meant for it.
    phy : str
        How flash is reached: ``nv_ddr`` or ``sdr`` (`rtl.phy`), or ``memory``: no NAND pins.
    channels, ways : int
        NAND channels of the board and chip enables of each; 0: not known.
    pins_source : str
        Where its pins are from; empty: they are not known.
    vref_banks : tuple of int
        I/O banks whose inputs take an internal reference of 0.9 V.
    fast_pins : tuple of str
        Pins with fast edges, without what follows ``_``; the others have slow ones.
    control, host, dram, clock : str
        What to connect the drive's buses and clock to.
    processor : Processor or None
        Processing system beside the fabric that a block design can be made with.
    cautions : tuple of str
        What is particular about the board, or not known.
    """

    name: str
    title: str
    part: Part | None
    preset: str
    phy: str
    channels: int = 0
    ways: int = 0
    pins_source: str = ""
    vref_banks: tuple[int, ...] = ()
    fast_pins: tuple[str, ...] = TIMED
    control: str
    host: str
    dram: str
    clock: str
    processor: Processor | None = None
    cautions: tuple[str, ...] = ()

    def pins(self):
        """Its NAND pins as far as they are public: list of `Pin`."""
        if not self.pins_source:
            return []
        with (Path(__file__).parent / "pins" / f"{self.name}.csv").open(newline="") as file:
            return [
                Pin(int(r["channel"]), r["signal"], int(r["index"]), r["pin"], r["iostandard"])
                for r in csv.DictReader(file)
            ]


_ZYNQ_CLOCK = "a clock of the processing system (`FCLK_CLK0`, `pl_clk0`) or of a clocking wizard"


def _module(board):
    """Of the flash module that a board's drive is meant for: what is assumed, and what to do."""
    return (
        "Whether the module's dies have NV-DDR is not known. The boards' public firmware sets them "
        "to ONFI's NV-DDR2 (SET FEATURES 01h = 20h, differential strobes), which these PHYs do not "
        "speak, and no data sheet is public. A die without NV-DDR does not answer. "
        "SDR is what every ONFI die speaks after power-on, so the first light to try is "
        f"`instinfer verilog --board {board} --phy sdr --set profile=mlc_cosmos_sdr -o DIR`, "
        "at half the bus's rate.",
        "The profile has one of the two LUNs behind each chip enable: the other half of the module "
        "is not used. Its array times (tR, tPROG, tBERS) are those of a Micron MT29F128G, as none "
        "are published for the module's part; the drive waits for R/B#, and takes a die for late "
        "at twice to eight times these.",
        "All dies of the configuration are needed. For a module with fewer chip enables say so: "
        "`--set dies=2`. For one with other dies (Micron, Toshiba) no profile comes with this: "
        "enter one in `flash_model/profiles.py` beside `mlc_cosmos_nv_ddr` (blocks, pages, bytes, "
        "times, rate) and choose it by `--set profile=`.",
    )


BOARDS = {
    b.name: b
    for b in (
        Board(
            name="cosmos_plus",
            title="Cosmos+ OpenSSD",
            part=PARTS["XC7Z045"],
            preset="cosmos_plus",
            phy="nv_ddr",
            channels=8,
            ways=8,
            pins_source="constraints of the board's public projects (Hanyang University, CRZ)",
            control="`M_AXI_GP0` of the processing system, through an AXI interconnect that makes "
            "AXI4-Lite of it",
            host="the board's PCIe endpoint as a memory (its address translation is yours), or "
            "`S_AXI_HP0` (AXI3: through an AXI interconnect) while host memory is the board's own "
            "DDR3",
            dram="`S_AXI_HP2` of the processing system (AXI3: through an AXI interconnect): 1 GB "
            "DDR3 on the board",
            clock=_ZYNQ_CLOCK,
            processor=PROCESSORS["cosmos_plus"],
            cautions=(
                "The flash modules have differential DQS and RE#: the top drives both legs, NV-DDR "
                "itself uses one. The public projects have R/B# as SSTL18 without an internal "
                "reference: VREF pins of its banks have to be supplied, or R/B# made LVCMOS18.",
                "The preset corrects 16 bits a codeword, which is what fits: enough up to a raw "
                "bit error rate of some 1e-4 (docs/ecc.md of the project has the "
                "figures), too little for worn MLC.",
                *_module("cosmos_plus"),
            ),
        ),
        Board(
            name="daisyplus",
            title="DaisyPlus OpenSSD",
            part=PARTS["ZU17EG"],
            preset="daisyplus",
            phy="nv_ddr",
            channels=4,
            ways=8,
            pins_source="constraints of the board's public projects (CRZ)",
            vref_banks=(68, 69, 70, 71),
            fast_pins=(),
            control="`M_AXI_HPM0_FPD` of the processing system, through an AXI interconnect that "
            "makes AXI4-Lite of it",
            host="the PCIe 3.0 endpoint as a memory (its address translation is yours), or "
            "`S_AXI_HP0_FPD` while host memory is the board's own DDR",
            dram="`S_AXI_HP1_FPD` of the processing system: 2 GB on the board",
            clock=_ZYNQ_CLOCK,
            processor=PROCESSORS["daisyplus"],
            cautions=(
                "The public projects place one leg of channel 0's and 1's DQS and RE#, `dqs_n` and "
                "`re_n`; `pins.xdc` leaves the other without a pin, too, for Vivado to find it. "
                "All edges are slow there.",
                "The flash module assumed is the Hynix one of Cosmos+.",
                *_module("daisyplus"),
                "There are boards with two kinds of LPDDR4, A and B, which differ in ranks and "
                "rows: `vivado/build.tcl` takes A, with `-tclargs B` the other.",
            ),
        ),
        Board(
            name="smartssd",
            title="Samsung SmartSSD",
            part=PARTS["KU15P"],
            preset="smartssd",
            phy="memory",
            control="the platform's AXI4-Lite (user BAR)",
            host="the platform's host memory port, or a window of the same DDR4",
            dram="4 GB DDR4 of the board, through the platform's memory interconnect",
            clock="a kernel clock of the platform",
            cautions=(
                "The KU15P has no processor. `software/` wants one that reaches `s_axi`, host "
                "memory and DDR4 by addresses: a MicroBlaze in your design, or the host, with the "
                "registers' BAR and the DDR4 (by its peer-to-peer BAR) mapped and `board.c` "
                "changed to that. Neither was tried.",
                "The FPGA has no NAND pins: pages are read from and written to DDR4 "
                "(`m_axi_pages_n`). Whoever moves them between the SSD and that DDR4, by "
                "peer-to-peer copies of the host, is not part of this and is not tested.",
                "The board runs inside the vendor's platform (Vitis shell), which has the PCIe "
                "endpoint, the DDR4 controller and the clocks: there is no block design to make. "
                "`package_ip.tcl` makes an IP; an RTL kernel of it is not made here.",
            ),
        ),
        Board(
            name="generic",
            title="any board",
            part=None,
            preset="default",
            phy="sdr",
            control="any AXI4-Lite manager with 32 bits of data",
            host="an AXI4 memory that the host can reach, or the host's own over PCIe",
            dram="an AXI4 memory of at least the preset's `dram_bytes`",
            clock="any clock",
            cautions=(),
        ),
    )
}
"""Boards by name."""


def board(name):
    """The board called ``name``."""
    if name not in BOARDS:
        raise ValueError(f"unknown board {name!r}: choose one of {', '.join(BOARDS)}")
    return BOARDS[name]
