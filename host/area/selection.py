"""``instinfer area --selection``: the units of sparse attention beside the paper's argtopk.

They are mapped one by one, for a drive's channels, query heads, head_dim and clock. What a drive
with all of them takes is what ``instinfer area --set sparse_tokens=N`` says.
"""

import dataclasses
import json

from ..options import BadOption, write_figures
from .cells import Count
from .ecc import add_counts

__all__ = ["MOST_TOKENS", "PAPER", "UNITS", "run_selection", "selection_text"]

MOST_TOKENS = 131_072

PAPER = (5.83, 3.87, 24, 0)
"""LUT, FF (thousands), BRAM and DSP of argtopk in Table II, for up to 4096 tokens of one head."""

UNITS = {
    "top_channels": "top channels",
    "radix_select": "radix select, tokens in groups",
    "radix_select_units": "radix select, units of K by channel first",
    "temperature": "temperature",
    "reciprocal": "1 / Z",
    "selection_keys": "selection keys",
    "selector": "**selector**: all but the keys, with units, and its query loader",
    "estimator": "**estimator**: estimated scores, their memory, keys",
    "column_walker": "column walker",
    "token_walker": "token walker",
}
"""Units -> what they are called. The first makes an argtopk with either of the next two."""

WHOLE = ("selector", "estimator", "column_walker", "token_walker")
"""What sparse attention adds, but for what the beat fronts and the merge of requests take more."""

ARGTOPK = {
    "radix_select": "**argtopk, tokens in groups**",
    "radix_select_units": "**argtopk, units of K by channel first**",
}

EACH_CHANNEL = ("selection_keys", "estimator")

FIGURES = ("lut", "ff", "bram36", "dsp")


def _unit(name, config, tokens):
    from hls_attention import selection_kernels
    from hls_attention.estimator import Estimator
    from hls_attention.hls import Pipeline
    from hls_attention.radix_select import RadixSelect
    from hls_attention.select_config import SelectConfig
    from hls_attention.selection_keys import SelectionKeys
    from hls_attention.selector import Selector
    from hls_attention.top_channels import TopChannels, mask_layout
    from rtl.engine_config import engine_config
    from rtl.sparse.column_walker import ColumnWalker
    from rtl.sparse.token_walker import TokenWalker

    engine = dataclasses.replace(engine_config(config), sparse_tokens=tokens)
    select = SelectConfig(
        channels=config.channels,
        max_tokens=tokens,
        max_group=max(map(config.group_tokens, config.head_dims)),
        max_unit=config.codeword_bytes // 2 if name == "radix_select_units" else 0,
    )
    match name:
        case "top_channels":
            return TopChannels(engine)
        case "radix_select" | "radix_select_units":
            return RadixSelect(select)
        case "selection_keys":
            return SelectionKeys(engine)
        case "selector":
            return Selector(engine)
        case "estimator":
            return Estimator(engine)
        case "column_walker":
            return ColumnWalker(config, mask_layout(engine))
        case "token_walker":
            return TokenWalker(config, engine.select.lane_rows)
        case _:
            return Pipeline(getattr(selection_kernels, name), clock_hz=config.clock_hz)


def _record(config, tokens, family, progress):
    from cosim.yosys import instances, synthesise, yosys_version
    from hls_attention.verilog import to_verilog
    from hls_attention.verilog_names import split_modules

    units = {}
    for name, title in UNITS.items():
        progress(title)
        verilog = to_verilog(_unit(name, config, tokens), name)
        cells = synthesise(verilog, name, family)
        number = config.channels if name in EACH_CHANNEL else 1
        count = add_counts(instances(split_modules(verilog)), cells, name) * number
        units[name] = {"instances": number, **dataclasses.asdict(count)}
    return {
        "family": family,
        "tool": yosys_version(),
        "tokens": tokens,
        "config": config.as_dict() | {"hash": config.digest},
        "units": units,
    }


def selection_text(record):
    """The record as a table for the documents."""
    lines = ["| unit | n | LUT | FF | BRAM36 | DSP |", "|---|---|---|---|---|---|"]
    counts = {
        name: Count(**{figure: unit[figure] for figure in FIGURES})
        for name, unit in record["units"].items()
    }
    for name, title in UNITS.items():
        lines.append(_row(title, record["units"][name]["instances"], counts[name]))
    for name, title in ARGTOPK.items():
        lines.append(_row(title, "", counts["top_channels"] + counts[name]))
    lut, ff, bram, dsp = PAPER
    lines.append(f"| paper: argtopk | | {lut} k | {ff} k | {bram} | {dsp} |")
    lines.append(_row("**all**", "", sum((counts[name] for name in WHOLE), Count())))
    return "\n".join(lines)


def _row(title, number, count):
    return f"| {title} | {number} | {count.lut:,} | {count.ff:,} | {count.bram36:g} | {count.dsp} |"


def run_selection(options, config, families):
    """The command with ``--selection``."""
    from rich.console import Console

    from cosim.yosys import FAMILIES

    tokens = options.selection
    if not 2 <= tokens <= MOST_TOKENS:
        raise BadOption(f"--selection {tokens} is not possible: choose 2..{MOST_TOKENS} tokens")
    data = {}
    with Console(stderr=True).status("") as status:
        for family in families:
            data[family] = _record(
                config,
                tokens,
                family,
                lambda title, family=family: status.update(f"synthesis for {family}: {title}"),
            )
    if options.json:
        write_figures(options.json, json.dumps(data, indent=2) + "\n")
    if options.json != "-":
        for family, record in data.items():
            print(f"{FAMILIES[family]}, {tokens:,} tokens\n\n{selection_text(record)}\n")
    return 0
