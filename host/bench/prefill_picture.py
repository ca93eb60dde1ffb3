"""The picture of ``instinfer bench prefill``: what host, link and dies do, layer by layer.

A row of panels for each host time, its layers waited for on the left and under way on the right,
over the same time; the title says when all was on flash. A host that is far slower than the drive
is shown around the end of a layer.
"""

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .picture import GRID, INK, PAPER, QUIET
from .prefill_report import host_text, prompt_text

__all__ = ["save_prefill"]

HOST, LINK, DIES = ("#f2c879", "#e0a63c"), ("#0f5e73", "#5fa3b5"), "#c9a0dc"
FAR_SLOWER = 5
"""A host whose layer takes so many times that of the drive leaves nothing of it to be seen."""


def save_prefill(path, record):
    """Draw a record and save it as PNG; see `host.bench.prefill`."""
    hosts = {}
    for run in record["runs"]:
        hosts.setdefault(run["host_name"], {})[run["overlap"]] = run
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 9}):
        figure = Figure(figsize=(14, 1.7 + 2.7 * len(hosts)), dpi=130, facecolor=PAPER)
        FigureCanvasAgg(figure)
        height = figure.get_figheight()
        panels = figure.subplots(
            len(hosts), 2, squeeze=False,
            gridspec_kw={"left": 0.06, "right": 0.985, "top": 1 - 1.35 / height,
                         "bottom": 0.5 / height, "hspace": 0.55, "wspace": 0.08},
        )  # fmt: skip
        for row, pair in zip(panels, hosts.values(), strict=True):
            first, last, around = _window(pair[True], pair[False], record)
            where = "" if around is None else f" (0: end of layer {around})"
            for axes, overlap in zip(row, (False, True), strict=True):
                run = pair[overlap]
                zero = 0 if around is None else run["rows"][around]["host_end"]
                _panel(axes, run, record, first, last, zero)
                kind = "layers under way" if overlap else "layers waited for"
                on_flash = 1e3 * run["programmed"] / record["clock_hz"]
                axes.set_title(
                    f"{host_text(run)}: {kind}, {on_flash:,.2f} ms{where}",
                    loc="left", color=INK, fontsize=9.5, weight="bold",
                )  # fmt: skip
        figure.text(
            0.06, 1 - 0.4 / height, "Prefill: the drive writes a layer while the host computes",
            fontsize=16, weight="bold", color=INK,
        )  # fmt: skip
        figure.text(
            0.06, 1 - 0.66 / height,
            f"{prompt_text(record)}   ·   "
            f"preset {record['preset']}, {record['dies']} dies, {record['clock_hz'] / 1e6:g} MHz",
            fontsize=10, color=QUIET,
        )  # fmt: skip
        figure.legend(
            handles=[
                Patch(color=HOST[0], label="host computes a layer"),
                Patch(color=LINK[0], label="drive takes its K and V"),
                Patch(color=DIES, label="share of dies that program"),
            ],
            loc="upper right", bbox_to_anchor=(0.985, 1 - 0.45 / height), frameon=False,
            labelcolor=INK, ncol=3,
        )  # fmt: skip
        figure.savefig(path)


def _window(under_way, waited, record):
    """First and last clock to be shown of both runs; the layer at whose end zero is, or None."""
    layers = record["layers"]
    layer, drive = under_way["host"] / layers, under_way["bound"] / layers
    if layer < FAR_SLOWER * max(drive, 1):
        return 0, 1.01 * max(under_way["programmed"], waited["programmed"]), None
    return -drive, 3 * drive, layers // 2


def _panel(axes, run, record, first, last, zero):
    factor = 1e3 / record["clock_hz"]
    for row in run["rows"]:
        for level, name, colours in ((2, "host", HOST), (1, "link", LINK)):
            begin = max(row[f"{name}_start"] - zero, first)
            end = min(row[f"{name}_end"] - zero, last)
            if end > begin:
                colour = colours[row["layer"] % 2]
                bar = begin * factor, (end - begin) * factor
                axes.broken_barh([bar], (level + 0.1, 0.8), color=colour)
                if end - begin > 0.03 * (last - first):
                    axes.text(
                        (begin + end) / 2 * factor, level + 0.5, f"{row['layer']}", ha="center",
                        va="center", fontsize=8, color=PAPER if name == "link" else INK,
                    )  # fmt: skip
    edges = np.array(run["programs"], dtype=float).reshape(-1, 2) - zero
    at = np.concatenate([edges[:, 0], edges[:, 1]])
    change = np.concatenate([np.ones(len(edges)), -np.ones(len(edges))])
    order = np.argsort(at, kind="stable")
    busy = np.cumsum(change[order]) / record["dies"]
    axes.fill_between(at[order] * factor, 0.9 * busy, step="post", color=DIES, linewidth=0)
    axes.set_xlim(first * factor, last * factor)
    axes.set_ylim(0, 3)
    axes.set_yticks([0.45, 1.5, 2.5], ["dies", "link", "host"], color=INK)
    axes.axhline(0.9, color=GRID, linewidth=0.8, linestyle=":")
    axes.tick_params(colors=QUIET, labelcolor=INK, length=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} ms")
    for side in axes.spines.values():
        side.set_color(GRID)
