"""Blocks of the drive, what they take, and the paper's Table II beside them: record and table."""

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass

from .cells import Count, count_cells

__all__ = ["BLOCKS", "Block", "area_record", "area_text", "by_block", "reachable"]


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
sparse attention (``sparse_tokens``); its units by themselves: `host.area.selection`.
Its mapping and appending are software, hence no row for ours.
"""

PAPER_TOTAL = (175.472, 257.59, 251, 768)
"""Sum of Table II: LUT and FF in thousands, BRAM, DSP."""

FIGURES = ("lut", "ff", "bram36", "uram", "dsp", "carry", "muxf")

DEEPEST = 3
"""Levels of parts in the text."""

SMALL = 0.01
"""Parts below this share of the drive's LUT and FF are left out of the text, not of the JSON."""


def area_record(modules, cells, top, *, part, tool, config, blocks=tuple(BLOCKS)):
    """Counts of a synthesised design as plain data.

    Parameters
    ----------
    modules : dict of str to dict of str to str
        Module -> instance -> its module, see `cosim.yosys.instances`.
    cells : dict of str to dict of str to int
        Module -> cell type -> number, see `cosim.yosys.synthesise`.
    top : str
    part : rtl.boards.Part
        What there is.
    tool : str
    config : dict
    blocks : sequence of str
        Those wanted, of `BLOCKS`.

    Returns
    -------
    dict
        ``family``, ``tool``, ``config``, ``device``; ``blocks``: list of nodes (``name``,
        ``title``, ``instances``, the fields of `Count`, ``children``); ``total``: a `Count`;
        ``share``: of the device, 0 to 1 and above.
    """
    known: dict[str, Count] = {}

    def whole(module):
        if module not in known:
            parts = Counter(modules[module].values())
            known[module] = sum(
                (whole(inner) * number for inner, number in parts.items()),
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
    for name, placed in by_block(modules[top]).items():
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
    there = {name: getattr(part, name) for name in ("lut", "ff", "bram36", "uram", "dsp")}
    return {
        "tool": tool,
        "family": part.family,
        "device": {"name": part.name, **there},
        "config": config,
        "blocks": result,
        "total": _plain(total),
        "share": {name: getattr(total, name) / most for name, most in there.items() if most},
    }


def by_block(placed):
    """Block -> its instances -> their modules."""
    result = {name: {} for name in BLOCKS}
    for instance, module in placed.items():
        name = next(n for n, block in BLOCKS.items() if re.fullmatch(block.instances, instance))
        result[name][instance] = module
    return result


def reachable(modules, top, blocks):
    """Modules that blocks are made of."""
    reached = {top} if "rest" in blocks else set()
    placed = by_block(modules[top])
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
    there = "".join(
        f"{record['device'][name]:>9,}" if name in record["share"] else " " * 9 for name in figures
    )
    share = "".join(
        f"{record['share'][name]:>9.1%}" if name in record["share"] else " " * 9 for name in figures
    )
    lines.append(f"{'the ' + record['device']['name'] + ' has':53}{there}".rstrip())
    lines.append(f"{'of the ' + record['device']['name']:53}{share}".rstrip())
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
