"""The picture of ``instinfer bench flash``: latencies, bus over dies, what a rate brings."""

import numpy as np
from matplotlib.ticker import PercentFormatter

from .picture import GRID, INK, PAPER, QUIET, four_panels, titled

__all__ = ["save_flash"]

COLOURS = ("#0f5e73", "#c2571a", "#7b2d8b", "#5b8c2a", "#d9534f", "#5fa3b5", "#8a6d1f", "#444444")
HISTOGRAMS = 5
"""Rows whose latencies are drawn: more would hide each other."""


def save_flash(path, rows):
    """Draw the rows of a run and save them as PNG.

    Parameters
    ----------
    path : path
    rows : list of dict
        See `host.bench.flash_measure.measure_flash`; at least one.
    """
    with four_panels(
        path,
        "One NAND channel against what its bus and its dies allow",
        top=0.88,
        bottom=0.07,
        hspace=0.3,
        wspace=0.46,
    ) as axes:
        _latencies(axes[0, 0], rows)
        _over_dies(axes[0, 1], rows)
        _over_rates(axes[1, 0], rows)
        _patterns(axes[1, 1], rows)


def _name(row, *without):
    parts = [row["profile"], row["pattern"]]
    if "dies" not in without:
        parts.append(f"{row['dies']} dies")
    if row["planes"] > 1:
        parts.append(f"{row['planes']} planes")
    if row["codeword_bytes"]:
        parts.append(f"{row['codeword_bytes']} B")
    return ", ".join(parts)


def _empty(axes, text):
    axes.text(0.5, 0.5, text, ha="center", color=QUIET, transform=axes.transAxes)
    axes.set_axis_off()


def _spread(rows):
    """The slowest and the fastest, and some between them."""
    ordered = sorted(rows, key=lambda row: row["latency_p50_ns"])
    places = np.linspace(0, len(ordered) - 1, min(HISTOGRAMS, len(ordered)))
    return [ordered[round(place)] for place in places]


def _latencies(axes, rows):
    titled(axes, "latency of reads, taken to last word; lines: p50, dotted: p99")
    for row, colour in zip(_spread(rows), COLOURS, strict=False):
        found = row["latencies"]
        reads = np.array(found["reads"]) / max(found["reads"])  # of its fullest bin
        edges = np.array(found["edges_ns"]) / 1e3
        axes.stairs(reads, edges, fill=True, alpha=0.45, color=colour, label=_name(row))
        axes.axvline(row["latency_p50_ns"] / 1e3, color=colour, linewidth=1)
        axes.axvline(row["latency_p99_ns"] / 1e3, color=colour, linewidth=1, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlabel("microseconds", color=QUIET)
    axes.set_yticks([])
    axes.set_ylim(0, 1.6)
    axes.set_ylabel("reads", color=QUIET)
    axes.legend(
        facecolor=PAPER, edgecolor=PAPER, framealpha=1, labelcolor=INK, fontsize=8,
        loc="upper center", ncol=2,
    )  # fmt: skip


def _over_dies(axes, rows):
    titled(axes, "of the bus bound, over dies; dotted: what arrays allow")
    series = {}
    for row in rows:
        if row["pattern"] != "single":
            series.setdefault(_name(row, "dies"), []).append(row)
    series = {
        name: sorted(mine, key=lambda row: row["dies"])
        for name, mine in series.items()
        if len({row["dies"] for row in mine}) > 1
    }
    if not series:
        _empty(axes, "one number of dies only")
        return
    for number, (name, mine) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        dies = [row["dies"] for row in mine]
        allowed = [min(1, row["bound_cycles"] / row["arrays_cycles"]) for row in mine]
        axes.plot(dies, [row["bus_fraction"] for row in mine], "-o", color=colour, markersize=4,
                  label=name)  # fmt: skip
        axes.plot(dies, allowed, ":", color=colour, linewidth=1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("dies read", color=QUIET)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower right")


def _over_rates(axes, rows):
    titled(axes, "user bytes of the bus's peak, over its data rate")
    most = {}
    for row in rows:
        most[row["profile"]] = max(row["dies"], most.get(row["profile"], 0))
    series = {}
    for row in rows:
        if "@" in row["profile"] and row["dies"] == most[row["profile"]]:
            size = f", {row['codeword_bytes']} B" if row["codeword_bytes"] else ""
            planes = f", {row['planes']} planes" if row["planes"] > 1 else ""
            name = f"{row['profile'].split('@')[0]}, {row['pattern']}{planes}{size}"
            series.setdefault(name, []).append(row)
    series = {name: mine for name, mine in series.items() if len(mine) > 1}
    if not series:
        _empty(axes, "one data rate only")
        return
    for number, (name, mine) in enumerate(series.items()):
        mine = sorted(mine, key=lambda row: row["rate_mts"])
        axes.plot([row["rate_mts"] for row in mine],
                  [row["wanted_fraction_of_peak"] for row in mine], "-o", markersize=4,
                  color=COLOURS[number % len(COLOURS)], label=name)  # fmt: skip
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("MT/s", color=QUIET)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)


def _patterns(axes, rows):
    titled(axes, "of the bus bound, all rows")
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    shown = [row for row in rows if row["pattern"] != "single"] or rows
    for place, row in enumerate(shown):
        value = row["bus_fraction"]
        axes.plot([0, value], [place, place], color=GRID, linewidth=3, zorder=1)
        axes.plot(value, place, "o", color=COLOURS[0], markersize=4, zorder=2)
    size = 7.5 if len(shown) <= 30 else 4.5
    axes.set_yticks(range(len(shown)), [_name(row) for row in shown], fontsize=size)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
