"""The picture of ``instinfer bench layouts``: sparse over dense, and what each layout asks for."""

import numpy as np

from .layouts_cases import ACCESSES, LAYOUTS
from .picture import QUIET, four_panels, titled

__all__ = ["save_layouts"]

COLOURS = dict(zip(LAYOUTS, ("#0f5e73", "#5fa3b5", "#c2571a", "#7b2d8b"), strict=True))
STYLES = dict(zip(ACCESSES, ("-", "-", "--"), strict=True))
PANELS = 3
"""Profiles that are drawn."""


def save_layouts(path, rows):
    """Draw the rows of a run and save them as PNG.

    Parameters
    ----------
    path : path
    rows : list of dict
        See `host.bench.layouts_measure.measure_layout` and `with_speedups`; at least one. Of
        several sizes, the first row's are drawn.
    """
    first = [row for row in rows if all(row[n] == rows[0][n] for n in SIZES)]
    profiles = list(dict.fromkeys(row["profile"] for row in first))[:PANELS]
    with four_panels(
        path,
        "K and V of a token group in its two pages",
        subtitle=", ".join(f"{rows[0][name]} {unit}" for name, unit in SIZES.items()),
        top=0.88,
        bottom=0.07,
        hspace=0.3,
        wspace=0.2,
    ) as axes:
        for panel, profile in zip(axes.flat, profiles, strict=False):
            _over_dies(panel, [row for row in first if row["profile"] == profile], profile)
        for panel in axes.flat[len(profiles) : PANELS]:
            panel.set_axis_off()
        _asked(axes.flat[PANELS], [row for row in first if row["profile"] == profiles[0]])


SIZES = {"tokens": "tokens", "head_dim": "elements", "codeword_bytes": "B codewords"}


def _over_dies(axes, rows, profile):
    series: dict = {}
    for row in rows:
        if row["over_dense"]:
            series.setdefault((row["access"], row["layout"]), []).append(row)
    if not series:
        axes.set_axis_off()
        return
    titled(axes, f"{profile}: times as fast as dense in its fastest layout, over dies")
    for (access, layout), mine in series.items():
        mine = sorted(mine, key=lambda row: row["dies"])
        dense = access == "dense"
        axes.plot(
            [row["dies"] for row in mine],
            [row["over_dense"] for row in mine],
            STYLES[access],
            marker="s" if dense else "o",
            color=COLOURS[layout],
            markersize=4,
            alpha=0.45 if dense else 1,
            label=f"{access}, {layout}",
        )
    axes.set_ylim(bottom=0)
    axes.set_xticks(sorted({row["dies"] for row in rows}))
    axes.set_xlabel("dies", color=QUIET)
    axes.legend(frameon=False, fontsize=8, ncol=3, loc="upper left")
    low, high = axes.get_ylim()
    axes.set_ylim(low, 1.3 * high)  # room for the legend


ASKED = {"senses": "senses", "codewords": "codewords", "columns": "changes of the column"}


def _asked(axes, rows):
    most = max(row["dies"] for row in rows)
    rows = [row for row in rows if row["dies"] == most and row["access"] != "dense"]
    if not rows:
        axes.set_axis_off()
        return
    titled(axes, f"{rows[0]['profile']}: asked of the flash for one head by a sparse step")
    rows = sorted(rows, key=lambda r: (list(ACCESSES).index(r["access"]), _layout(r)))
    wide = 0.8 / len(rows)
    for place, row in enumerate(rows):
        bars = axes.bar(
            np.arange(len(ASKED)) + (place - (len(rows) - 1) / 2) * wide,
            [row[name] for name in ASKED],
            0.9 * wide,
            color=COLOURS[row["layout"]],
            alpha=0.4 if row["access"] == "passes" else 1,
            label=f"{row['access']}, {row['layout']}",
        )
        axes.bar_label(bars, fmt="%.0f", fontsize=7, color=QUIET)
    axes.set_xticks(range(len(ASKED)), list(ASKED.values()))
    axes.legend(frameon=False, fontsize=8)


def _layout(row):
    return list(LAYOUTS).index(row["layout"])
