"""``instinfer area``: what the drive takes of an FPGA, block by block, beside the paper's Table II.

Yosys maps the drive's Verilog to the cells of AMD's 7 series (``xc7``) or UltraScale+ (``xcup``).
How they are counted: `host.area.cells`; blocks: `host.area.blocks`. With ``--board``, the drive and
the part of a board (`rtl.boards`); with ``--depth``, how deep its logic is, too: `host.area.depth`.

Instead: with ``--fmax``, blocks placed and routed: `host.area.fmax`; with ``--codes``, units of the
error correction: `host.area.ecc`; with ``--selection``, those of sparse selection:
`host.area.selection`.
"""

import json

from ..options import BadOption, add_drive_options, drive_config, write_figures
from .blocks import BLOCKS, area_record, area_text, reachable
from .depth import depth_record, depth_text
from .ecc import UNITS, run_codes
from .fmax import FMAX_BLOCKS, run_fmax
from .progress import area_bar
from .selection import run_selection

__all__ = ["add_area"]

USUAL_PARTS = {"xc7": "XC7Z045", "xcup": "ZU17EG"}
"""Part of a family where no board is named: the paper's device, and that of its newer board."""


def _notes(record):
    config = record["config"]
    return (
        f"Counted after synthesis by {record['tool']}, hierarchy kept, without place and\n"
        "route; the paper's are Vivado's for a Zynq-7045. LUT includes memories, inverters do not\n"
        "count (how cells are counted: host/area/cells.py).\n"
        f"This drive: {config['channels']} channels, {config['max_queries_per_kv']} query heads to "
        f"a KV head in one pass (GQA), head_dim up to {config['max_head_dim']}.\n"
        "The paper's table: 4 flash controllers, one query head to a KV head (MHA), mapping and\n"
        "appending in software."
    )


def add_area(parser):
    """Give the command line's parser the options of the command."""
    parser.set_defaults(run=_run)
    add_drive_options(parser)
    parser.set_defaults(preset=None)  # a board has its own
    parser.add_argument(
        "--board", metavar="NAME", help="part and preset of a board: cosmos_plus, daisyplus, ..."
    )
    parser.add_argument(
        "--queries-per-kv", type=int, metavar="N", help="most query heads of a KV head"
    )
    parser.add_argument("--head-dim", type=int, metavar="N", help="largest head_dim")
    parser.add_argument(
        "--family", help="xc7 (7 series), xcup (UltraScale+) or both (default: the board's, or xc7)"
    )
    parser.add_argument(
        "--blocks", nargs="+", metavar="BLOCK", help=f"only these of {', '.join(BLOCKS)}"
    )
    parser.add_argument(
        "--depth", action="store_true", help="also the longest ways from register to register"
    )
    parser.add_argument(
        "--fmax",
        nargs="*",
        metavar="BLOCK",
        help="instead, Fmax of blocks in a Lattice ECP5, placed and routed by nextpnr: "
        f"{', '.join(FMAX_BLOCKS)} (default: all; minutes each)",
    )
    parser.add_argument(
        "--codes",
        nargs="+",
        type=int,
        metavar="T",
        help="instead of the drive, encoder and decoder of codes that correct so many errors, at a "
        "word a clock, for the configuration's codeword_bytes and bit_error_rate",
    )
    parser.add_argument(
        "--units", nargs="+", metavar="UNIT", help=f"with --codes, only these of {', '.join(UNITS)}"
    )
    parser.add_argument(
        "--selection",
        type=int,
        metavar="TOKENS",
        help="instead of the drive, the units of sparse selection, for up to so many tokens",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write all figures as JSON; with -, to standard output, and no table",
    )


def _run(options):
    from cosim.yosys import FAMILIES, yosys_version

    part = _choose(options)
    if options.family not in (*FAMILIES, "both"):
        raise BadOption(
            f"--family {options.family}: unknown family; choose {', '.join(FAMILIES)} or both"
        )
    blocks = options.blocks or list(BLOCKS)
    for name in blocks:
        if name not in BLOCKS:
            raise BadOption(f"--blocks {name}: unknown block; choose of {', '.join(BLOCKS)}")
    config = drive_config(options)
    yosys_version()
    families = list(FAMILIES) if options.family == "both" else [options.family]
    if options.codes:
        return run_codes(options, config, families)
    if options.selection is not None:
        return run_selection(options, config, families)
    if options.fmax is not None:
        return run_fmax(options, config)
    records = _synthesise(config, families, blocks, part, options.depth)
    if options.json:
        first, *others = records
        data = first | {record["family"]: record for record in others}
        write_figures(options.json, json.dumps(data, indent=2) + "\n")
    if options.json != "-":
        for record in records:
            print(f"\n{FAMILIES[record['family']]}\n\n{area_text(record)}\n\n{_notes(record)}")
            if options.depth:
                print(f"\n{depth_text(record['depth'])}")
    return 0


def _choose(options):
    """The part of the board, if there is one; fills in preset and family that are not given."""
    from rtl.boards import BOARDS

    if options.board is None:
        options.preset = options.preset or "default"
        options.family = options.family or "xc7"
        return None
    board = BOARDS.get(options.board)
    if board is None or board.part is None:
        known = ", ".join(name for name, board in BOARDS.items() if board.part)
        raise BadOption(f"--board {options.board}: no board whose FPGA is known; choose {known}")
    part = board.part
    if options.family not in (None, part.family):
        raise BadOption(
            f"--family {options.family}: the {part.name} of {board.name} is {part.family}; "
            "leave --family out"
        )
    options.preset = options.preset or board.preset
    options.family = part.family
    return part


def _synthesise(config, families, blocks, part, with_depth):
    """Records of a drive, with a progress bar on standard error."""
    from cosim.yosys import instances, synthesise, yosys_version
    from hls_attention.verilog import to_verilog
    from hls_attention.verilog_names import split_modules
    from rtl.boards import PARTS
    from rtl.drive.drive import Drive

    top = "drive"
    records = []
    with area_bar("lines") as bar:
        writing = bar.add_task("writing the drive's Verilog", total=1)
        verilog = to_verilog(Drive(config), top)
        bar.remove_task(writing)
        modules = instances(split_modules(verilog))
        only = reachable(modules, top, blocks)
        for family in families:
            task = bar.add_task(f"synthesis for {family}", total=1)

            def progress(done, total, task=task):
                bar.update(task, completed=done, total=total)

            cells = synthesise(verilog, top, family, only=only, progress=progress)
            record = area_record(
                modules,
                cells,
                top,
                part=part or PARTS[USUAL_PARTS[family]],
                tool=yosys_version(),
                config=config.as_dict() | {"hash": config.digest},
                blocks=blocks,
            )
            if with_depth:
                netlists = synthesise(verilog, top, family, only=only, wanted="netlist")
                record["depth"] = depth_record(
                    modules,
                    netlists,
                    top,
                    family=family,
                    clock_hz=config.clock_hz,
                    blocks=blocks,
                )
            records.append(record)
    return records
