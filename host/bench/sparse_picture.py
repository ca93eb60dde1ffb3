"""The picture of ``instinfer bench sparse``: gains over dies, bytes, and where time goes."""

import numpy as np
from matplotlib.ticker import PercentFormatter

from .picture import QUIET, four_panels, titled
from .sparse_cases import WHOLE_CHANNELS
from .sparse_measure import SHARES
from .sparse_report import ratio_text

__all__ = ["save_sparse"]

RATIO_COLOURS = {1 / 4: "#5fa3b5", 0.184: "#c2571a", 1 / 8: "#0f5e73", 1 / 16: "#7b2d8b"}
LINES = {"sparf": "-o", "bounds": "--D"}
SHARE_COLOURS = dict(zip(SHARES, ("#0f5e73", "#5fa3b5", "#c2571a", "#d9dde0"), strict=True))
SHARE_TEXTS = {"waiting": "waiting for dies"}
SHOWN = 1 / 8


def save_sparse(path, rows):
    """Draw the rows of a run and save them as PNG.

    Parameters
    ----------
    path : path
    rows : list of dict
        See `host.bench.sparse_measure.measure_sparse`; at least one. Of several sizes, the first
        row's are drawn over dies.
    """
    first = [row for row in rows if all(row[name] == rows[0][name] for name in SIZES)]
    profiles = list(dict.fromkeys(row["profile"] for row in first))[:2]
    with four_panels(
        path,
        "Sparse attention in the drive against dense attention on the same drive",
        subtitle=f"{rows[0]['tokens']} tokens of a drive of {WHOLE_CHANNELS} channels, "
        f"{rows[0]['codeword_bytes']} B codewords, head_dim {rows[0]['head_dim']}; a layer in full "
        "flow",
        top=0.88,
        bottom=0.09,
        hspace=0.36,
        wspace=0.18,
    ) as axes:
        for panel, profile in zip(axes[0], profiles, strict=False):
            _gains(panel, [row for row in first if row["profile"] == profile], profile)
        for panel in axes[0][len(profiles) :]:
            panel.set_axis_off()
        _bytes(axes[1, 0], rows)
        _where(axes[1, 1], [row for row in first if row["profile"] in profiles])


SIZES = ("source", "tokens", "codeword_bytes", "channels")


def _gains(axes, rows, profile):
    titled(axes, f"{profile}: times as fast as dense, over dies of a channel")
    kinds = dict.fromkeys((row["attention"], row["ratio"]) for row in rows if row["ratio"])
    for kind, ratio in sorted(kinds, key=lambda pair: (pair[0] != "sparf", -pair[1])):
        mine = [row for row in rows if (row["attention"], row["ratio"]) == (kind, ratio)]
        mine.sort(key=lambda row: row["dies"])
        axes.plot(
            [row["dies"] for row in mine],
            [row["speedup_vs_dense"] for row in mine],
            LINES[kind],
            color=RATIO_COLOURS[ratio],
            markersize=4,
            label=f"{kind} {ratio_text(ratio)}",
        )
    axes.axhline(1, color=QUIET, linewidth=1, linestyle=":")
    axes.set_xscale("log", base=2)
    dies = sorted({row["dies"] for row in rows})
    axes.set_xticks(dies, [str(n) for n in dies])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("dies", color=QUIET)
    axes.legend(frameon=False)


def _bytes(axes, rows):
    titled(axes, f"ratio {ratio_text(SHOWN)}: of dense attention's bytes and senses")
    kinds: dict = {}
    for row in rows:
        if row["ratio"] == SHOWN:
            kinds.setdefault(
                (row["source"], row["codeword_bytes"], row["profile"], row["attention"]), row
            )
    if not kinds:
        axes.set_axis_off()
        return
    for place, (name, colour) in enumerate(
        (("moved_share", "#0f5e73"), ("sensed_share", "#c2571a"))
    ):
        bars = axes.bar(
            np.arange(len(kinds)) + (place - 0.5) * 0.4,
            [row[name] for row in kinds.values()],
            0.36,
            color=colour,
            label={"moved_share": "bytes moved", "sensed_share": "pages sensed"}[name],
        )
        axes.bar_label(bars, fmt=lambda share: f"{share:.0%}", fontsize=7, color=QUIET)
    labels = [
        f"{profile}\n{kind}\nd {row['head_dim']}, {size} B"
        for (_, size, profile, kind), row in kinds.items()
    ]
    axes.set_xticks(range(len(kinds)), labels, fontsize=7)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False)


def _where(axes, rows):
    titled(axes, f"where the channels' time goes: ratio {ratio_text(SHOWN)}")
    bars = [row for row in rows if row["ratio"] == SHOWN]
    bottom = np.zeros(len(bars))
    for name, colour in SHARE_COLOURS.items():
        share = np.array([row["shares"][name] for row in bars])
        label = SHARE_TEXTS.get(name, name)
        axes.bar(range(len(bars)), share, bottom=bottom, color=colour, width=0.8, label=label)
        bottom += share
    axes.set_xticks(
        range(len(bars)),
        [f"{row['dies']} dies\n{row['profile']}\n{row['attention']}" for row in bars],
        fontsize=7,
    )
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, fontsize=8, ncol=4, loc="upper left", bbox_to_anchor=(0, -0.13))
