"""The picture of ``instinfer bench dense``: how near to the bus bound, and where the rest goes."""

import numpy as np
from matplotlib.ticker import FuncFormatter, PercentFormatter

from flash_model.profiles import PROFILES
from flash_model.timing import cycles

from .bound import READ_CYCLES, first_page_clocks
from .dense_cases import BASE, Case
from .dense_measure import PARTS
from .picture import GRID, INK, QUIET, four_panels, titled

__all__ = ["save_dense"]

SERIES = {"paper": "#0f5e73", "tlc_onfi5": "#c2571a", "tiny": "#7b2d8b"}
PART_COLOURS = ("#9aa5ab", "#f2c879", "#0f5e73", "#5fa3b5", "#d9534f", "#7b2d8b")
PAPER_SHARE = 0.68
"""Of its channels' bandwidth, which InstInfer's authors report."""


def save_dense(path, rows):
    """Draw the rows of a run and save them as PNG.

    Parameters
    ----------
    path : path
    rows : list of dict
        See `host.bench.dense_measure.measure`; at least one.
    """
    with four_panels(
        path,
        "Dense attention in the drive against what its flash buses allow",
        subtitle=f"unless said otherwise {BASE.channels} channels, head_dim {BASE.head_dim}, "
        f"{BASE.queries_per_kv} query heads to each of {BASE.kv_heads} KV heads; cycles from the "
        "host's doorbell to its results",
        top=0.875,
        bottom=0.105,
        hspace=0.28,
        wspace=0.24,
    ) as axes:
        _by_tokens(axes[0, 0], rows)
        _roofline(axes[0, 1], rows)
        _where(axes[1, 0], rows)
        _shapes(axes[1, 1], rows)


def _like_base(row, *free):
    return all(row[name] == value for name, value in BASE.as_dict().items() if name not in free)


def _profiles(rows, *free):
    """Profile -> rows that differ from the base case in ``free`` fields alone, by tokens."""
    found = {}
    for row in sorted(rows, key=lambda row: row["tokens"]):
        if _like_base(row, "profile", *free):
            found.setdefault(row["profile"], []).append(row)
    return found


def _tokens_axis(axes, rows):
    tokens = sorted({row["tokens"] for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(tokens, [f"{n // 1024} k" if n >= 1024 else str(n) for n in tokens])
    axes.minorticks_off()
    axes.set_xlabel("tokens", color=QUIET)


def _by_tokens(axes, rows):
    titled(axes, "by tokens: of the bus bound, and of the channels' peak rate")
    series = _profiles(rows, "tokens")
    for profile, mine in series.items():
        tokens = [row["tokens"] for row in mine]
        for name, style, label in (
            ("bus_fraction", "-o", "of the bus bound"),
            ("peak_fraction", "--o", "user bytes, of peak"),
        ):
            axes.plot(
                tokens, [row[name] for row in mine], style, color=SERIES[profile], markersize=4,
                linewidth=1.6, label=f"{profile}: {label}",
            )  # fmt: skip
    axes.axhline(PAPER_SHARE, color=QUIET, linewidth=1, linestyle=":")
    axes.text(
        0.99, PAPER_SHARE + 0.01, "the paper's drive: 68 % of its channels' bandwidth",
        transform=axes.get_yaxis_transform(), ha="right", color=QUIET, fontsize=8,
    )  # fmt: skip
    if series:
        _tokens_axis(axes, [row for mine in series.values() for row in mine])
        axes.legend(frameon=False, labelcolor=INK, loc="lower right")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _roofline(axes, rows):
    titled(axes, "roofline of a channel: bytes of K and V a clock that reach the engine")
    for profile in dict.fromkeys(row["profile"] for row in rows):
        mine = [row for row in rows if row["profile"] == profile]
        config = Case(profile=profile).config
        timing, clock = PROFILES[profile].timing, config.clock_hz
        peak = float(timing.bytes_per_clock(clock))
        words = PROFILES[profile].geometry.page_bytes // 8
        page = timing.data_cycles(words, clock) + READ_CYCLES * cycles(timing.t_wc_ns, clock)
        bus, latency = 8 * words / page, first_page_clocks(config)
        reached = [row["user_bytes"] / row["channels"] for row in mine]
        span = np.geomspace(min(reached) / 2, max(reached) * 2, 200)
        colour = SERIES[profile]
        axes.plot(span, np.minimum(span / latency, bus), color=colour, linewidth=1.2)
        axes.plot(span, span / (latency + span / bus), color=colour, linewidth=1.2, linestyle=":")
        axes.axhline(peak, color=colour, linewidth=0.8, linestyle="--")
        axes.text(
            span[0], peak * 1.03, f"{profile}: peak {peak:.2f}, with commands {bus:.2f}",
            color=colour, fontsize=8,
        )  # fmt: skip
        axes.plot(
            reached, [x / row["cycles"] for x, row in zip(reached, mine, strict=True)], "o",
            color=colour, markersize=4, alpha=0.8,
        )  # fmt: skip
    axes.axhline(8, color=QUIET, linewidth=0.8)
    axes.text(
        0.99, 8.2, "engine: a beat of 8 bytes a clock", color=QUIET, fontsize=8, ha="right",
        transform=axes.get_yaxis_transform(),
    )  # fmt: skip
    axes.text(
        0.98, 0.04, "slope: latency of the first page\ndotted: latency, then the bus (the bound)\n"
        "points: measured", color=QUIET, fontsize=8, ha="right", transform=axes.transAxes,
    )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_ylim(top=11)
    axes.set_xlabel("K and V per channel", color=QUIET)
    axes.set_ylabel("bytes a clock", color=QUIET)
    axes.xaxis.set_major_formatter(FuncFormatter(_bytes))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _where(axes, rows):
    titled(axes, "where the time goes, at the channel that is last")
    bars = [row for mine in _profiles(rows, "tokens").values() for row in mine]
    bottom = np.zeros(len(bars))
    for (name, label), colour in zip(PARTS.items(), PART_COLOURS, strict=True):
        share = np.array([row["parts"][name] / row["cycles"] for row in bars])
        axes.bar(range(len(bars)), share, bottom=bottom, color=colour, width=0.8, label=label)
        bottom += share
    labels = [f"{_short(row['tokens'])}\n{row['profile']}" for row in bars]
    axes.set_xticks(range(len(bars)), labels, fontsize=7 if len(bars) > 10 else 8)
    if len(bars) > 10:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(
        frameon=False, labelcolor=INK, fontsize=8, ncol=3, loc="upper left",
        bbox_to_anchor=(0, -0.14),
    )  # fmt: skip


def _shapes(axes, rows):
    titled(axes, "by shape: of the bus bound")
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    points = []
    for field, text in (
        ("head_dim", "head_dim {}"), ("queries_per_kv", "{} query heads"),
        ("kv_heads", "{} KV heads"), ("channels", "{} channels"),
    ):  # fmt: skip
        mine = [row for row in rows if _like_base(row, field, "tokens")]
        tokens = max(
            (row["tokens"] for row in mine),
            key=lambda n: (len({r[field] for r in mine if r["tokens"] == n}), n),
            default=0,
        )
        mine = sorted((r for r in mine if r["tokens"] == tokens), key=lambda row: row[field])
        if len(mine) > 1:
            points += [(f"{text.format(row[field])}, {_short(tokens)}", row) for row in mine]
    if not points:
        axes.text(0.5, 0.5, "one shape only", ha="center", color=QUIET, transform=axes.transAxes)
        axes.set_axis_off()
        return
    for place, (_, row) in enumerate(points):
        value = row["bus_fraction"]
        axes.plot([0, value], [place, place], color=GRID, linewidth=4, zorder=1)
        axes.plot(value, place, "o", color=SERIES[row["profile"]], markersize=5, zorder=2)
        axes.annotate(
            f"{100 * value:.1f} %", (value, place), xytext=(6, 0), textcoords="offset points",
            va="center", fontsize=7, color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(points)), [label for label, _ in points], fontsize=7.5)
    axes.set_ylim(len(points) - 0.5, -0.5)
    low = min((row["bus_fraction"] for _, row in points), default=0.9)
    axes.set_xlim(max(0, np.floor(low * 20 - 0.5) / 20), 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))


def _short(tokens):
    return f"{tokens // 1024} k" if tokens >= 1024 else str(tokens)


def _bytes(value, _):
    for size, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g} B"
