"""``instinfer area``: what the drive takes of an FPGA, block by block, beside the paper's Table II.

Yosys maps the drive's Verilog to the cells of AMD's 7 series (``xc7``) or UltraScale+ (``xcup``).
How they are counted: `host.area_cells`. With ``--codes``, units of the error correction instead:
`host.area_ecc`; with ``--selection``, those of sparse selection: `host.area_selection`.
"""

import dataclasses
import json
import re
from collections import Counter
from dataclasses import dataclass

from .area_cells import Count, count_cells
from .area_ecc import UNITS, run_codes
from .area_selection import run_selection
from .options import BadOption, add_drive_options, drive_config, write_figures

__all__ = ["BLOCKS", "Block", "add_area", "area_record", "area_text"]


@dataclass(frozen=True)
class Block:
    """A block of the report.

    Parameters
    ----------
    title : str
    instances : str
        Regular expression for the names of the drive's instances that belong to it.
    paper : tuple, optional
        LUT, FF (thousands), BRAM and DSP of the nearest row of Table II.
    paper_title : str
        What the paper calls that row.
    """

    title: str
    instances: str
    paper: tuple | None = None
    paper_title: str = ""


BLOCKS = {
    "attention": Block(
        "attention kernels", "engine", (99.2, 207.3, 96, 768), "attention kernels (2)"
    ),
    "flash": Block(
        "flash channels: NAND controller, error correction",
        r"(channel|decoder)_\d+",
        (58.332, 27.8, 96, 0),
        "4 NFCs incl. filter",
    ),
    "commands": Block(
        "command queue, executor, results",
        "queue|executor|results",
        (7.99, 12.45, 27.5, 0),
        "NVMe controller",
    ),
    "memory": Block("memory port arbiters", r"\w+_ports", (4.12, 6.17, 7.5, 0), "interconnect"),
    "map": Block("walker, map, tail reader", r"(\w+_)?walker|requests|sequences|tails"),
    "append": Block("append path, page allocator", "append|allocator"),
    "rest": Block("the rest: registers, counters, queues", ".*"),
}
"""Blocks by name; an instance of the drive belongs to the first that matches.

The paper's argtopk (5.83 k LUT, 3.87 k FF, 24 BRAM) is in the attention block of a drive with
sparse attention (``sparse_tokens``); its units by themselves: `host.area_selection`.
Its mapping and appending are software, hence no row for ours.
"""

PAPER_TOTAL = (175.472, 257.59, 251, 768)
"""Sum of Table II: LUT and FF in thousands, BRAM, DSP."""

DEVICES = {
    "xc7": ("Zynq-7045", {"lut": 218_600, "ff": 437_200, "bram36": 545, "dsp": 900}),
    "xcup": ("ZU17EG", {"lut": 423_403, "ff": 846_806, "bram36": 796, "uram": 102, "dsp": 1590}),
}
"""What there is: the paper's device for its table (DS190), and the one on its board (DS891)."""

FIGURES = ("lut", "ff", "bram36", "uram", "dsp", "carry", "muxf")

DEEPEST = 3
"""Levels of parts in the text."""

SMALL = 0.01
"""Parts below this share of the drive's LUT and FF are left out of the text, not of the JSON."""


def area_record(modules, cells, top, *, family, tool, config, blocks=tuple(BLOCKS)):
    """Counts of a synthesised design as plain data.

    Parameters
    ----------
    modules : dict of str to dict of str to str
        Module -> instance -> its module, see `cosim.yosys.instances`.
    cells : dict of str to dict of str to int
        Module -> cell type -> number, see `cosim.yosys.synthesise`.
    top : str
    family, tool : str
    config : dict
    blocks : sequence of str
        Those wanted, of `BLOCKS`.

    Returns
    -------
    dict
        ``family``, ``tool``, ``config``, ``device``; ``blocks``: list of nodes (``name``,
        ``title``, ``instances``, the fields of `Count`, ``children``); ``total``: a `Count`.
    """
    known: dict[str, Count] = {}

    def whole(module):
        if module not in known:
            parts = Counter(modules[module].values())
            known[module] = sum(
                (whole(part) * number for part, number in parts.items()),
                count_cells(cells.get(module, {})),
            )
        return known[module]

    def nodes(placed, times):
        """Nodes for instances -> modules, those of the same module together."""
        alike: dict[str, list[str]] = {}
        for instance, module in placed.items():
            alike.setdefault(module, []).append(instance)
        for module, names in alike.items():
            number = times * len(names)
            yield {
                "name": names[0] if len(names) == 1 else module,
                "module": module,
                "instances": number,
                **_plain(whole(module) * number),
                "children": list(nodes(modules[module], number)),
            }

    result, total = [], Count()
    for name, placed in _by_block(modules[top]).items():
        if name not in blocks:
            continue
        own = count_cells(cells.get(top, {})) if name == "rest" else Count()
        count = sum((whole(module) for module in placed.values()), own)
        total += count
        result.append(
            {
                "name": name,
                "title": BLOCKS[name].title,
                "instances": max(Counter(placed.values()).values(), default=1),
                **_plain(count),
                "children": list(nodes(placed, 1)),
            }
        )
    return {
        "tool": tool,
        "family": family,
        "device": {"name": DEVICES[family][0], **DEVICES[family][1]},
        "config": config,
        "blocks": result,
        "total": _plain(total),
    }


def _by_block(placed):
    """Block -> its instances -> their modules."""
    result = {name: {} for name in BLOCKS}
    for instance, module in placed.items():
        name = next(n for n, block in BLOCKS.items() if re.fullmatch(block.instances, instance))
        result[name][instance] = module
    return result


def _reachable(modules, top, blocks):
    """Modules that blocks are made of."""
    reached = {top} if "rest" in blocks else set()
    placed = _by_block(modules[top])
    left = [module for name in blocks for module in placed[name].values()]
    while left:
        module = left.pop()
        if module not in reached:
            reached.add(module)
            left += modules[module].values()
    return reached


def _plain(count):
    return dataclasses.asdict(count)


def area_text(record):
    """The record as a table for a person, with what its figures are and are not."""
    uram = record["total"]["uram"] > 0
    figures = [name for name in FIGURES if name != "uram" or uram]
    lines = [
        f"{'block':48}{'n':>5}" + "".join(f"{name.upper():>9}" for name in figures),
    ]
    least = {name: SMALL * record["total"][name] for name in ("lut", "ff")}
    for block in record["blocks"]:
        lines.append(_row(block["title"], None, block, figures))
        lines += _children(block, figures, least, depth=1)
        if (about := BLOCKS[block["name"]]).paper:
            lines.append(_paper_row(f"paper: {about.paper_title}", about.paper, figures))
    lines.append("")
    complete = len(record["blocks"]) == len(BLOCKS)
    lines.append(
        _row("whole drive" if complete else "these blocks", None, record["total"], figures)
    )
    lines.append(_paper_row("paper: whole table", PAPER_TOTAL, figures))
    device = record["device"]
    share = "".join(
        f"{record['total'][name] / device[name]:>9.1%}" if name in device else " " * 9
        for name in figures
    )
    lines.append(f"{'of a ' + device['name']:53}{share}")
    return "\n".join(lines)


def _children(node, figures, least, depth):
    """Lines of a node's parts; one that is all there is in the node gets none of its own."""
    for child in node["children"]:
        large = any(child[name] >= least[name] for name in least)
        if not (large or child["bram36"] or child["uram"] or child["dsp"]):
            continue
        if all(child[name] == node[name] for name in figures):
            yield from _children(child, figures, least, depth)
        elif depth <= DEEPEST:
            yield _row("  " * depth + child["name"], child["instances"], child, figures)
            yield from _children(child, figures, least, depth + 1)


def _row(name, number, count, figures):
    cells = "".join(
        f"{count[figure]:>9,.1f}" if figure == "bram36" else f"{count[figure]:>9,}"
        for figure in figures
    )
    return f"{name:48}{'' if number is None else number:>5}{cells}"


def _paper_row(name, paper, figures):
    figure = dict(zip(("lut", "ff", "bram36", "dsp"), paper))
    texts = {n: f"{v:,.1f} k" if n in ("lut", "ff") else f"{v:,g}" for n, v in figure.items()}
    return (f"  {name:51}" + "".join(f"{texts.get(n, ''):>9}" for n in figures)).rstrip()


def _notes(record):
    config = record["config"]
    return (
        f"Counted after synthesis by {record['tool']}, hierarchy kept, without place and\n"
        "route; the paper's are Vivado's for a Zynq-7045. LUT includes memories, inverters do not\n"
        "count (how cells are counted: host/area_cells.py).\n"
        f"This drive: {config['channels']} channels, {config['max_queries_per_kv']} query heads to "
        f"a KV head in one pass (GQA), head_dim up to {config['max_head_dim']}.\n"
        "The paper's table: 4 flash controllers, one query head to a KV head (MHA), mapping and\n"
        "appending in software."
    )


def add_area(parser):
    """Give the command line's parser the options of the command."""
    parser.set_defaults(run=_run)
    add_drive_options(parser)
    parser.add_argument(
        "--queries-per-kv", type=int, metavar="N", help="most query heads of a KV head"
    )
    parser.add_argument("--head-dim", type=int, metavar="N", help="largest head_dim")
    parser.add_argument(
        "--family", default="xc7", help="xc7 (7 series), xcup (UltraScale+) or both (default: xc7)"
    )
    parser.add_argument(
        "--blocks", nargs="+", metavar="BLOCK", help=f"only these of {', '.join(BLOCKS)}"
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
    records = _synthesise(config, families, blocks)
    if options.json:
        first, *others = records
        data = first | {record["family"]: record for record in others}
        write_figures(options.json, json.dumps(data, indent=2) + "\n")
    if options.json != "-":
        for record in records:
            print(f"\n{FAMILIES[record['family']]}\n\n{area_text(record)}\n\n{_notes(record)}")
    return 0


def _synthesise(config, families, blocks):
    """Records of a drive, with a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from cosim.yosys import instances, synthesise, yosys_version
    from hls_attention.verilog import to_verilog
    from hls_attention.verilog_names import split_modules
    from rtl.drive import Drive

    top = "drive"
    bar = Progress(
        TextColumn("{task.description:34}"),
        BarColumn(),
        TextColumn("{task.completed:>6,.0f} / {task.total:,.0f} lines"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    records = []
    with bar:
        writing = bar.add_task("writing the drive's Verilog", total=1)
        verilog = to_verilog(Drive(config), top)
        bar.remove_task(writing)
        modules = instances(split_modules(verilog))
        only = _reachable(modules, top, blocks)
        for family in families:
            task = bar.add_task(f"synthesis for {family}", total=1)
            cells = synthesise(
                verilog,
                top,
                family,
                only=only,
                progress=lambda done, total, task=task: bar.update(
                    task, completed=done, total=total
                ),
            )
            records.append(
                area_record(
                    modules,
                    cells,
                    top,
                    family=family,
                    tool=yosys_version(),
                    config=config.as_dict() | {"hash": config.digest},
                    blocks=blocks,
                )
            )
    return records
