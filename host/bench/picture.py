"""What the pictures of all benchmarks look like: a title, four panels, quiet lines."""

from contextlib import contextmanager

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["GRID", "INK", "PAPER", "QUIET", "four_panels", "titled"]

INK, QUIET, PAPER, GRID = "#22313a", "#7a868c", "#ffffff", "#e3e7e9"


@contextmanager
def four_panels(path, title, *, subtitle="", **spaces):
    """Gives two by two axes to be drawn on; saves the picture as PNG afterwards.

    Parameters
    ----------
    path : path
    title, subtitle : str
    **spaces
        ``top``, ``bottom``, ``hspace``, ``wspace`` of the axes.
    """
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 9}):
        figure = Figure(figsize=(14, 10), dpi=130, facecolor=PAPER)
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 2, gridspec_kw={"left": 0.065, "right": 0.975, **spaces})
        yield axes
        for panel in axes.flat:
            panel.tick_params(colors=QUIET, labelcolor=INK, length=0)
            for side in panel.spines.values():
                side.set_color(GRID)
        figure.text(0.065, 0.955, title, fontsize=16, weight="bold", color=INK)
        figure.text(0.065, 0.93, subtitle, fontsize=10, color=QUIET)
        figure.savefig(path)


def titled(axes, text):
    """Names a panel, and gives it lines across."""
    axes.set_title(text, loc="left", color=INK, fontsize=10.5, weight="bold", pad=10)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
