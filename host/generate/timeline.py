"""The picture of one token: what every die and every channel's bus did, and when.

Two panels over the same rows (channels, and in each its bus and its dies): the whole token, and one
layer of it. A page is sensed in its die (light), then crosses the bus (dark).
"""

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cosim.native_lane import TRACE_KINDS

__all__ = ["Timeline", "intervals", "save_timeline"]

COLOURS = {
    "sense": "#f2c879",
    "data out": "#0f5e73",
    "program": "#c9a0dc",
    "data in": "#7b2d8b",
    "erase": "#d9534f",
}
LABELS = {
    "sense": "page being sensed (tR {})",
    "data out": "page crossing the bus to the engine",
    "program": "page being programmed (tPROG {})",
    "data in": "page crossing the bus to the die",
    "erase": "block being erased (tBERS {})",
}
INK, QUIET, PAPER, BAND = "#22313a", "#7a868c", "#ffffff", "#f3f5f6"


@dataclass(frozen=True)
class Timeline:
    """What is drawn.

    Parameters
    ----------
    trace : numpy structured array
        Of `cosim.native_lane.TRACE_DTYPE`.
    begin, end : int
        First cycle and the cycle after the last.
    layers : list of int
        Cycle at which each layer was done, in order; may be empty.
    title, subtitle : str
    """

    trace: np.ndarray
    begin: int
    end: int
    layers: list
    title: str
    subtitle: str


def intervals(trace, config):
    """Begin, end (in cycles), channel, die and kind (a name) of each event.

    An array operation is drawn for the time that the flash profile gives; a transfer for the time
    that it took.
    """
    kinds = np.array([TRACE_KINDS.get(int(kind), "?") for kind in trace["kind"]], dtype=object)
    length = trace["clocks"].astype(np.int64)
    for name, ns in _array_times(config).items():
        length = np.where(kinds == name, round(ns * config.clock_hz / 1e9), length)
    begin = trace["cycle"].astype(np.int64)
    return begin, begin + length, trace["channel"].astype(int), trace["die"].astype(int), kinds


def save_timeline(path, timeline, config):
    """Draw a timeline and save it as PNG.

    Parameters
    ----------
    path : path
    timeline : Timeline
    config : DriveConfig
    """
    bars = intervals(timeline.trace, config)
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 9}):
        figure = Figure(figsize=(14, 10), dpi=140, facecolor=PAPER)
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            2, 2, height_ratios=(1, 1), width_ratios=(1, 0.09),
            left=0.06, right=0.975, top=0.885, bottom=0.055, hspace=0.2, wspace=0.015,
        )  # fmt: skip
        whole, share = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
        part, part_share = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
        window = _one_layer(timeline, bars)
        _panel(whole, bars, config, timeline.begin, timeline.end, _unit(timeline, config))
        _layers(whole, timeline, config, window)
        _panel(part, bars, config, window[0], window[1], ("µs", 1e6))
        for axes, span in ((share, (timeline.begin, timeline.end)), (part_share, window[:2])):
            _bus_share(axes, bars, config, *span)
        whole.set_title("the whole token", loc="left", color=INK, fontsize=10, pad=14)
        part.set_title(window[2], loc="left", color=INK, fontsize=10)
        figure.text(0.06, 0.965, timeline.title, fontsize=16, weight="bold", color=INK)
        figure.text(0.06, 0.941, timeline.subtitle, fontsize=10, color=QUIET)
        present = [name for name in COLOURS if (bars[4] == name).any()]
        figure.legend(
            handles=[Patch(color=COLOURS[name], label=_label(name, config)) for name in present],
            loc="upper right", bbox_to_anchor=(0.975, 0.985), frameon=False, labelcolor=INK,
        )  # fmt: skip
        figure.savefig(path)


def _label(name, config):
    times = _array_times(config)
    return LABELS[name].format(f"{times[name] / 1e3:g} µs") if name in times else LABELS[name]


def _array_times(config):
    """Nanoseconds of each array operation."""
    timing = config.flash.timing
    return {"sense": timing.t_r_ns, "program": timing.t_prog_ns, "erase": timing.t_bers_ns}


def _unit(timeline, config):
    seconds = (timeline.end - timeline.begin) / config.clock_hz
    return ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)


def _one_layer(timeline, bars):
    """Window of a layer in the middle: first and last cycle, and its heading."""
    ends = timeline.layers
    if len(ends) >= 2:
        middle = len(ends) // 2
        return ends[middle - 1], ends[middle], f"layer {middle} of it, framed above"
    span = (timeline.end - timeline.begin) // 10
    middle = (timeline.begin + timeline.end) // 2
    return middle - span // 2, middle + span // 2, "a tenth of it"


def _panel(axes, bars, config, first, last, unit):
    begin, end, channel, die, kind = bars
    name, factor = unit
    factor /= config.clock_hz
    rows = config.dies + 2  # the bus takes the height of two dies, at the channel's bottom
    shown = (end > first) & (begin < last)
    for colour in COLOURS:
        chosen = shown & (kind == colour)
        left = (np.maximum(begin[chosen], first) - first) * factor
        right = (np.minimum(end[chosen], last) - first) * factor
        row = channel[chosen] * rows + die[chosen]
        axes.add_collection(_boxes(left, right, row + 0.1, row + 0.9, COLOURS[colour]))
        if colour in ("data out", "data in"):
            low = channel[chosen] * rows + config.dies + 0.2
            axes.add_collection(_boxes(left, right, low, low + 1.3, COLOURS[colour]))
    for number in range(config.channels):
        if number % 2 == 0:
            axes.axhspan(number * rows, (number + 1) * rows, color=BAND, zorder=-2, linewidth=0)
    _style(axes, config, rows)
    dies = f"\n{config.dies} dies, bus" if config.channels <= 8 else ""
    axes.set_yticks(
        [number * rows + config.dies / 2 for number in range(config.channels)],
        [f"channel {number}{dies}" for number in range(config.channels)],
    )
    axes.tick_params(axis="y", length=0, labelsize=7.5, colors=INK)
    axes.tick_params(axis="x", colors=QUIET)
    axes.set_xlim(0, (last - first) * factor)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} {name}")


def _style(axes, config, rows):
    axes.set_ylim(config.channels * rows, 0)
    for side in axes.spines.values():
        side.set_visible(False)


def _boxes(left, right, low, high, colour):
    low, high = np.broadcast_to(low, left.shape), np.broadcast_to(high, left.shape)
    corners = np.stack(
        [np.stack([left, low], -1), np.stack([right, low], -1),
         np.stack([right, high], -1), np.stack([left, high], -1)], axis=1,
    )  # fmt: skip
    # the thin edge keeps transfers shorter than a pixel visible
    return PolyCollection(list(corners), facecolors=colour, edgecolors=colour, linewidths=0.25)


def _layers(axes, timeline, config, window):
    """Marks where each layer ends, and frames the one that the lower panel shows."""
    name, factor = _unit(timeline, config)
    factor /= config.clock_hz
    top = axes.get_xaxis_transform()
    for cycle in timeline.layers[:-1]:
        axes.axvline((cycle - timeline.begin) * factor, color=PAPER, linewidth=0.8)
    starts = [timeline.begin, *timeline.layers]
    for layer in range(0, len(timeline.layers), 5 if len(timeline.layers) > 12 else 1):
        middle = (starts[layer] + starts[layer + 1]) / 2
        axes.text(
            (middle - timeline.begin) * factor, 1.01, f"layer {layer}",
            transform=top, ha="center", fontsize=7.5, color=QUIET,
        )  # fmt: skip
    axes.axvspan(
        *((cycle - timeline.begin) * factor for cycle in window[:2]),
        fill=False, edgecolor=INK, linewidth=1.2, zorder=5,
    )  # fmt: skip


def _bus_share(axes, bars, config, first, last):
    """Part of the window in which each channel's bus carried pages."""
    begin, end, channel, _, kind = bars
    rows = config.dies + 2
    moved = np.maximum(np.minimum(end, last) - np.maximum(begin, first), 0)
    moved = np.where((kind == "data out") | (kind == "data in"), moved, 0)
    busy = np.bincount(channel, weights=moved, minlength=config.channels) / max(last - first, 1)
    middle = np.arange(config.channels) * rows + rows / 2
    axes.barh(middle, 1, height=rows * 0.45, color=BAND)
    axes.barh(middle, busy, height=rows * 0.45, color=COLOURS["data out"])
    for row, value in zip(middle, busy, strict=True):
        inside = value > 0.6
        axes.text(
            value - 0.03 if inside else value + 0.04, row, f"{100 * value:.0f} %", fontsize=8,
            ha="right" if inside else "left", va="center", color=PAPER if inside else INK,
        )  # fmt: skip
    _style(axes, config, rows)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title("bus: data", loc="left", fontsize=8.5, color=QUIET)
