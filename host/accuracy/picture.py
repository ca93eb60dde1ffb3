"""The picture of ``instinfer eval``: what is lost over what is moved, all methods."""

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from ..bench.picture import INK, PAPER, QUIET, titled

__all__ = ["save_pareto"]

STYLES = {
    "sparf": ("#0f5e73", "o", "-"),
    "sparf-plain": ("#c2571a", "s", "-"),
    "sparq": ("#5fa3b5", "o", ":"),
    "sparq-plain": ("#e8a27a", "s", ":"),
    "bounds": ("#7b2d8b", "D", "-"),
    "local": ("#7a868c", "v", "--"),
}
"""Method -> colour, marker, line."""

SHARES = (0.02, 0.05, 0.1, 0.2, 0.5, 1)


def save_pareto(path, rows, title):
    """Draw the rows of a run over text and save them as PNG.

    Parameters
    ----------
    path : path
    rows : list of dict
        See `host.accuracy.measure.measure_text`.
    title : str
        Below the picture's own: model, text, positions.
    """
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 10}):
        figure = Figure(figsize=(13, 6.2), dpi=120, facecolor=PAPER)
        FigureCanvasAgg(figure)
        left, right = figure.subplots(
            1, 2, gridspec_kw=dict(left=0.06, right=0.985, top=0.8, bottom=0.1, wspace=0.16)
        )
        _panel(left, rows, "kl", "KL from dense attention, nats a token")
        left.set_yscale("log")
        left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.yaxis.set_minor_locator(NullLocator())
        left.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        _panel(right, rows, "top1", "first choices that are dense attention's")
        right.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f} %"))
        right.legend(facecolor=PAPER, edgecolor=PAPER, labelcolor=INK, loc="lower right")
        figure.text(
            0.06, 0.94, "Sparse attention: what is lost over what is moved", fontsize=15,
            weight="bold", color=INK,
        )  # fmt: skip
        figure.text(0.06, 0.9, title, color=QUIET)
        figure.savefig(path)


def _panel(axes, rows, figure, title):
    titled(axes, title)
    axes.grid(axis="x", color="#eef1f2", linewidth=0.8)
    for name, (colour, marker, line) in STYLES.items():
        mine = sorted((row["moved"], row[figure]) for row in rows if row["method"] == name)
        if mine:
            axes.plot(
                *zip(*mine, strict=True), marker + line, color=colour, label=name, markersize=6
            )
    axes.set_xscale("log")
    moved = [row["moved"] for row in rows if row["method"] != "dense"]
    axes.set_xlim(min(moved) * 0.85, max(*moved, 0.5) * 1.15)
    axes.xaxis.set_major_locator(FixedLocator(SHARES))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.0f} %"))
    axes.set_xlabel("bytes moved, of dense attention's", color=QUIET)
    axes.tick_params(colors=QUIET, labelcolor=INK, length=0)
    for side in axes.spines.values():
        side.set_color("#e3e7e9")
