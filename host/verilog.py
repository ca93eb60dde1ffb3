"""``instinfer verilog``: the drive as Verilog, in a folder with all that a board needs beside it.

There are two tops in the drive's text. ``drive`` (`rtl.drive.drive.Drive`) is everything up to the
control bus, the memory ports and the digital side of the flash PHYs; ``axi_drive``
(`rtl.axi.drive.AxiDrive`) is that with AXI4-Lite and AXI4 for its buses. The folder: `host.boards`.
"""

import sys
import time
from pathlib import Path

from .options import BadOption, drive_config

__all__ = ["AXI_TOP", "TOP", "add_verilog", "drive_verilog"]

TOP = "drive"
AXI_TOP = "axi_drive"


def add_verilog(parser):
    """Give the command line's parser the options of the command."""
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--board",
        default="generic",
        help="cosmos_plus, daisyplus, smartssd, or generic for any other (default: generic)",
    )
    parser.add_argument("--preset", help="configuration of the drive (default: the board's)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="another field of the configuration; may be repeated",
    )
    parser.add_argument(
        "--phy", help="sdr, nv_ddr, or none for one of your own (default: the board's)"
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="default: out/verilog, or out/verilog-BOARD"
    )
    parser.add_argument(
        "--oversize",
        action="store_true",
        help="write it even if the drive is estimated not to fit the board's FPGA",
    )


def drive_verilog(config, announce=print):
    """Verilog of both tops, from the cache if nothing it is made from has changed."""
    from cosim.native_build import kept_verilog
    from hls_attention.verilog import to_verilog
    from rtl.axi.drive import AxiDrive

    design = f"{config!r} {config.flash!r}"
    return kept_verilog(
        AXI_TOP, design, lambda: to_verilog(AxiDrive(config), name=AXI_TOP), announce
    )


def _run(options):
    from rtl.boards import board as board_called

    from .boards.folder import SIDECAR, BoardFolder, write_board
    from .boards.ours import check_folder, left_out

    try:
        board = board_called(options.board)
    except ValueError as error:
        raise BadOption(f"--board: {error}") from error
    options.preset = options.preset or board.preset
    config = drive_config(options)
    default = "out/verilog" if board.name == "generic" else f"out/verilog-{board.name}"
    folder = Path(options.output or default)
    contents = BoardFolder(
        board,
        config,
        preset=options.preset,
        changes=options.set,
        phy=options.phy,
        oversize=options.oversize,
    )
    before = _writable(folder, lambda: check_folder(folder, SIDECAR, board.name))
    for warning in contents.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"board        {board.title}" + (f", {board.part.name}" if board.part else ""))
    print(
        f"drive        {options.preset}: {config.channels} channels x {config.dies} dies, "
        f"{config.clock_hz / 1e6:g} MHz; writing ...",
        flush=True,
    )
    start = time.perf_counter()
    files = contents.files()
    lines = _writable(folder, lambda: write_board(folder, files))
    width = max(map(len, lines))
    for name, number in lines.items():
        print(f"             {folder}/{name:{width}}  {number:>9,} lines")
    if gone := left_out(before, files):
        print(f"removed      of what was there before: {', '.join(gone)}")
    print(f"             {time.perf_counter() - start:.0f} s; begin with {folder / 'README.md'}")
    return 0


def _writable(folder, action):
    try:
        return action()
    except OSError as error:
        raise BadOption(
            f"{folder} cannot be written ({error.strerror}): choose another folder with --output"
        ) from error
