"""``instinfer area --fmax``: Fmax of main blocks in a Lattice ECP5, an open cross-check.

There is no open place and route for the parts that the drive is meant for. Nextpnr's for the ECP5
says which block is slowest, and whether a path that looks deep is one; its figures are not those of
another part (`cosim.ecp5`).
"""

import json

from ..options import BadOption, write_figures

__all__ = ["FMAX_BLOCKS", "fmax_text", "run_fmax"]

FMAX_BLOCKS = {
    "engine": ("channel engine", "engine.channel_0"),
    "controller": ("NAND controller", "channel_0.controller"),
    "decoder": ("decoder of a channel, or its front if it is shared", "channel_0.reader.decoder"),
    "walker": ("walker", "walker"),
}
"""Block -> title, path of an instance in the drive."""

COLUMNS = {
    "LUT4": "TRELLIS_COMB",
    "FF": "TRELLIS_FF",
    "block RAM": "DP16KD",
    "multipliers": "MULT18X18D",
}


def fmax_text(record):
    """The record as a table for a person, with what its figures are and are not."""
    lines = [f"{'block':52}{'MHz':>7}" + "".join(f"{name:>13}" for name in COLUMNS)]
    for block in record["blocks"]:
        used = "".join(f"{block['used'].get(kind, 0):>13,}" for kind in COLUMNS.values())
        lines.append(f"{block['title']:52}{block['mhz']:>7.0f}{used}")
    lines += [
        "",
        f"Placed and routed by {record['tool']} for a Lattice ECP5 (LFE5U-85F, grade 8):",
        "another vendor's 40 nm part, each block alone and without pins. Use it to compare blocks;",
        f"it does not say whether an AMD part reaches {record['clock_hz'] / 1e6:.0f} MHz.",
    ]
    return "\n".join(lines)


def run_fmax(options, config):
    """Place and route the blocks of ``options.fmax``, all if there are none; print or write."""
    from cosim.ecp5 import block_fmax, nextpnr_version
    from cosim.yosys import instances
    from hls_attention.verilog import to_verilog
    from hls_attention.verilog_names import split_modules
    from rtl.drive.drive import Drive

    from .progress import area_bar

    for name in options.fmax:
        if name not in FMAX_BLOCKS:
            raise BadOption(f"--fmax {name}: unknown block; choose of {', '.join(FMAX_BLOCKS)}")
    tool, blocks = nextpnr_version(), []
    with area_bar("blocks") as bar:
        task = bar.add_task("writing the drive's Verilog", total=1)
        verilog = to_verilog(Drive(config), "drive")
        modules = instances(split_modules(verilog))
        wanted = options.fmax or list(FMAX_BLOCKS)
        bar.update(task, total=len(wanted))
        for name in wanted:
            title, path = FMAX_BLOCKS[name]
            bar.update(task, description=f"place and route: {title[:17]}")
            module = _module_at(modules, "drive", path)
            if module is None:
                raise BadOption(f"--fmax {name}: this drive has none ({path})")
            blocks.append({"name": name, "title": title, **block_fmax(verilog, module)})
            bar.advance(task)
    record = {
        "tool": tool,
        "config": config.as_dict() | {"hash": config.digest},
        "clock_hz": config.clock_hz,
        "blocks": blocks,
    }
    if options.json:
        write_figures(options.json, json.dumps(record, indent=2) + "\n")
    if options.json != "-":
        print(fmax_text(record))
    return 0


def _module_at(modules, top, path):
    """Module of an instance, or None."""
    module = top
    for instance in path.split("."):
        module = modules[module].get(instance)
        if module is None:
            return None
    return module
