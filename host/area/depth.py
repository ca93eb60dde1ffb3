"""``instinfer area --depth``: the longest ways from register to register, block by block.

In look-up tables, and for the 7 series in nanoseconds, too, by the delays that pipelines are cut
with. What a way is: `cosim.depth`.
"""

from .blocks import BLOCKS, by_block

__all__ = ["depth_record", "depth_text"]

DEEPEST = 12
"""Modules in the text."""

WIDTH = 62
"""Characters of an end of a way in the text."""


def depth_record(modules, netlists, top, *, family, clock_hz, blocks=tuple(BLOCKS)):
    """The longest ways as plain data.

    Parameters
    ----------
    modules : dict of str to dict of str to str
        Module -> instance -> its module.
    netlists : dict
        See `cosim.netlist`.
    top : str
    family : str
    clock_hz : int
        The drive's clock.
    blocks : sequence of str
        Those wanted, of `host.area.blocks.BLOCKS`.

    Returns
    -------
    dict
        ``period_ns``; ``blocks``: name -> ways inside of a block; ``modules``: the same of each
        module whose longest way is in none of its parts; ``drive``: all blocks together, if all are
        wanted. Ways: ``levels`` and, for the 7 series, ``ns``, each with ``length``, ``start`` and
        ``end``.
    """
    from cosim.depth import LEVELS, NANOSECONDS, depths

    units = {"levels": LEVELS} | ({"ns": NANOSECONDS} if family == "xc7" else {})
    placed = by_block(modules[top])
    whole = set(blocks) == set(BLOCKS)
    roots = [top] if whole else [m for name in blocks for m in placed[name].values()]
    found: dict[str, dict] = {}
    for unit, costs in units.items():
        found[unit] = {}
        for root in dict.fromkeys(roots):
            found[unit] |= depths(netlists, root, costs)

    def ways(names):
        result = {}
        for unit, depth in found.items():
            inside = [
                way._asdict() | {"module": name}
                for name in names
                if (way := depth[name].inside) is not None
            ]
            if inside:
                result[unit] = max(inside, key=lambda way: way["length"])
        return result

    def own(name):
        """Whether the longest way of a module is in none of its parts."""
        depth = found["levels"]
        parts = [depth[part].inside for part in modules[name].values()]
        mine = depth[name].inside
        return mine and all(part is None or part.length < mine.length for part in parts)

    record = {
        "period_ns": 1e9 / clock_hz,
        "blocks": {name: ways(placed[name].values()) for name in blocks},
        "modules": {name: ways([name]) for name in found["levels"] if own(name)},
    }
    return record | ({"drive": ways([top])} if whole else {})


def depth_text(record):
    """The record as a table for a person, with what its figures are and are not."""
    timed = any("ns" in ways for ways in record["blocks"].values())
    lines = [f"{'longest way between registers':48}{'LUTs':>6}{'ns' if timed else '':>7}  from, to"]
    for name, ways in record["blocks"].items():
        lines += _rows(BLOCKS[name].title, ways)
    if "drive" in record:
        lines += _rows("whole drive, across blocks", record["drive"])
    lines += ["", "the deepest modules by themselves"]
    deepest = sorted(record["modules"].items(), key=lambda item: -item[1]["levels"]["length"])
    for name, ways in deepest[:DEEPEST]:
        lines += _rows(f"  {name}", ways)
    text = (
        "LUTs: look-up tables one after the other, of the way that has most; carry chains and\n"
        "slice multiplexers come on top. Hierarchy kept: nothing is optimised across ports of\n"
        "modules. Ways that are never taken count, too."
    )
    if timed:
        text += (
            "\nns: the slowest way, estimated (hls_attention/operators.py), wires a third of a\n"
            f"level; a clock period of this drive is {record['period_ns']:.1f} ns."
        )
    return "\n".join([*lines, "", text])


def _rows(title, ways):
    if not ways:
        return
    ns = f"{ways['ns']['length']:7.1f}" if "ns" in ways else " " * 7
    yield f"{title:48}{ways['levels']['length']:6.0f}{ns}  {_short(ways['levels']['start'])}"
    yield f"{'':48}{'':13}  {_short(ways['levels']['end'])}"


def _short(end):
    """An end of a way; of names that tools made, the instances alone."""
    named = [part for part in end.split(".") if "$" not in part]
    text = end if "$" not in end else ".".join(part for part in named if part) + " (a net of Yosys)"
    return text if len(text) <= WIDTH else "..." + text[3 - WIDTH :]
