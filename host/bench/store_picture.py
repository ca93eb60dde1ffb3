"""The picture of ``instinfer bench store``: amplification, erases, where the space is."""

import numpy as np
from matplotlib.ticker import PercentFormatter

from .picture import INK, PAPER, QUIET, four_panels, titled

__all__ = ["save_store"]

COLOURS = ("#0f5e73", "#c2571a", "#7b2d8b", "#5b8c2a", "#d9534f", "#5fa3b5", "#8a6d1f", "#444444")
SPACE = {
    "live": "#0f5e73",
    "dead": "#c2571a",
    "left": "#e8b48f",
    "filling": "#5fa3b5",
    "erased": "#e3e7e9",
}
ASKED = 1.05
"""Amplification that the drive is to keep to at 80 %."""

MOST_BARS = 14

LONGEST = 1.8
"""Amplification that bars are cut off at."""


def save_store(path, rows):
    """Draw the rows of a run and save them as PNG.

    Parameters
    ----------
    path : path
    rows : list of dict
        See `host.bench.store_measure.measure_store`; at least one.
    """
    done = [row for row in rows if not row["full"]]
    with four_panels(
        path,
        "The space of a drive that serves: what is written, what is erased, where it is",
        top=0.88,
        bottom=0.07,
        hspace=0.3,
        wspace=0.55,
    ) as axes:
        _over_fill(axes[0, 0], done)
        _designs(axes[0, 1], done)
        _erases(axes[1, 0], done)
        _space(axes[1, 1], done)


def _name(row):
    parts = [row["profile"], row["model"], row["design"]]
    if row["parts"] > 1:
        parts.append(f"1/{row['parts']}" + (f"+{row['own']}" if row["own"] else ""))
    if row["kept"]:
        parts.append(f"{row['kept']:.0%} stay")
    if row["declared"] != 1:
        parts.append(f"declared {row['declared']:g}x")
    if row["longer"] != 1:
        parts.append(f"{row['longer']:g}x as long")
    if row["index"] != "none":
        parts.append("K by channel")
    if row["sequences"]:
        parts.append(f"{row['sequences']} seq.")
    return ", ".join(parts)


def _legend(axes, **where):
    axes.legend(facecolor=PAPER, edgecolor=PAPER, framealpha=1, labelcolor=INK, fontsize=8, **where)


def _over_fill(axes, rows):
    titled(axes, "pages written over pages appended, by live share")
    names = list(dict.fromkeys(map(_name, rows)))
    lines = [name for name in names if sum(_name(row) == name for row in rows) > 1]
    for name, colour in zip(lines or names, COLOURS, strict=False):
        mine = sorted((row["live"], row["amplification"]) for row in rows if _name(row) == name)
        axes.plot(*zip(*mine, strict=True), "o-", color=colour, label=name, markersize=4)
    axes.axhline(ASKED, color=INK, linewidth=1, linestyle=":")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("live pages of all usable ones (dotted: 1.05)", color=QUIET)
    axes.set_ylim(bottom=1 - 0.02)
    _legend(axes, loc="upper left")


def _at_80(rows):
    return [row for row in rows if row["fill"] == 0.8][:MOST_BARS] or rows[:MOST_BARS]


def _bars(axes, rows):
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def _designs(axes, rows):
    rows = _at_80(rows)
    titled(axes, f"the same at {rows[0]['fill']:.0%}" if rows else "")
    for place, row in enumerate(rows):
        axes.barh(place, row["amplification"] - 1, left=1, color=COLOURS[0], height=0.6)
        axes.barh(
            place,
            row["levelling"],
            left=row["amplification"] - row["levelling"],
            color=COLOURS[1],
            height=0.6,
        )
        end = min(row["amplification"], LONGEST)
        axes.text(end, place, f" {row['amplification']:.3f}", va="center", size=7)
    axes.axvline(ASKED, color=INK, linewidth=1, linestyle=":")
    most = max([row["amplification"] for row in rows], default=1)
    axes.set_xlim(1, min(most, LONGEST) * 1.1)
    axes.set_xlabel("orange: by static wear levelling", color=QUIET)
    _bars(axes, rows)


def _erases(axes, rows):
    titled(axes, "erases of each group over their mean, from the fewest to the most")
    for row, colour in zip(_at_80(rows), COLOURS, strict=False):
        erases = np.sort(row["erases"]) / np.mean(row["erases"])
        axes.plot(np.linspace(0, 1, len(erases)), erases, color=colour, label=_name(row))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("groups", color=QUIET)
    _legend(axes, loc="lower right")


def _space(axes, rows):
    rows = _at_80(rows)
    titled(axes, "where the space is")
    left = np.zeros(len(rows))
    for name, colour in SPACE.items():
        share = np.array([row[name] for row in rows])
        axes.barh(range(len(rows)), share, left=left, color=colour, height=0.6, label=name)
        left += share
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlim(0, 1)
    _bars(axes, rows)
    axes.legend(
        facecolor=PAPER, edgecolor=PAPER, labelcolor=INK, fontsize=8, ncol=5,
        loc="upper center", bbox_to_anchor=(0.4, -0.06),
    )  # fmt: skip
