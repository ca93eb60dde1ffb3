"""The picture of ``instinfer endurance``: write amplification by refresh over the read limit."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .endurance import refresh_amplification

__all__ = ["save_refresh"]

COLOURS = {256: "#5fa3b5", 1024: "#0f5e73", 4096: "#c2571a", 16384: "#7b2d8b"}
"""Steps that attend a token -> colour of its line."""


def save_refresh(path, pages):
    """Draw times that a page is written, for blocks of ``pages`` pages, and save it as PNG."""
    figure = Figure(figsize=(8, 5), dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    limits = np.unique(np.geomspace(pages, 1e7, 400).astype(int)).tolist()
    for steps, colour in COLOURS.items():
        times = [refresh_amplification(steps, pages, limit) for limit in limits]
        axes.loglog(limits, times, color=colour, label=f"{steps:,} steps")
    axes.set_xlabel("reads of a block after which it is refreshed")
    axes.set_ylabel("times that a page is written")
    axes.set_title(f"Refresh when every step reads every page once, blocks of {pages} pages")
    axes.grid(color="#e3e7e9", which="both", linewidth=0.6)
    axes.legend(frameon=False)
    figure.savefig(path)
