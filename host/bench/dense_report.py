"""The table of ``instinfer bench dense``, for a person."""

import math

from rich.table import Table

__all__ = ["show_dense"]

NOTES = """\
bound     data and 7 command and address cycles of each page on the fullest
          channel, and the first page's latency; all else overlapped. Data
          are whole codewords, with their check and parity words.
of bound  the bound over the cycles from the host's doorbell to its results
of peak   the same for user bytes at the full data rate of all channels
x ideal   largest error of a query head (L2, against float64), over that of
          the exact result rounded once to FP16"""


def show_dense(console, record, picture):
    """Print the record of a run.

    Parameters
    ----------
    console : rich.console.Console
    record : dict
        ``rows``, ``scaling`` and ``skipped``, see `host.bench.dense`.
    picture : path or None
        File to point to.
    """
    rows = record["rows"]
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("profile", no_wrap=True)
    for name in ("ch", "d", "g", "KV", "tokens", "cycles", "bound"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("of bound", "of peak", "x ideal"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["profile"],
            *(f"{row[n]}" for n in ("channels", "head_dim", "queries_per_kv", "kv_heads")),
            *(f"{row[n]:,}" for n in ("tokens", "cycles", "bound_cycles")),
            f"{row['bus_fraction']:.1%}",
            f"{row['peak_fraction']:.1%}",
            f"{row['accuracy']['error_over_ideal']:.4f}",
        )
    console.print(table)
    console.print(f"\n{NOTES}\n", highlight=False)
    for row in record["scaling"]:
        console.print(
            f"{row['channels']} channels: {row['speedup']:.2f} times as fast as 1 "
            f"({row['efficiency']:.1%}), {_shape(row)}"
        )
    if rows:
        _accuracy(console, rows)
    for row in record["skipped"]:
        minutes = math.ceil(row["seconds"] / 60)
        console.print(
            f"left out: {row['channels']} channels, {_shape(row)}: about {minutes} minutes of "
            "simulation (--limit)",
            style="yellow",
        )
    if picture:
        console.print(f"picture: {picture}")


def _shape(row):
    return (
        f"{row['profile']}, d {row['head_dim']}, g {row['queries_per_kv']}, "
        f"{row['kv_heads']} KV heads, {row['tokens']:,} tokens"
    )


def _accuracy(console, rows):
    """The rows with the worst results, named."""

    def figure(name):
        return lambda row: row["accuracy"][name]

    error, ratio = (max(rows, key=figure(name)) for name in ("error", "error_over_ideal"))
    rounded = min(rows, key=figure("correctly_rounded"))
    console.print(
        f"largest error: {error['accuracy']['error']:.2e} "
        f"(rounding alone {error['accuracy']['ideal_error']:.2e}, torch's FP16 attention "
        f"{error['accuracy']['torch_sdpa_error']:.2e}), {_shape(error)}"
    )
    console.print(f"largest x ideal: {ratio['accuracy']['error_over_ideal']:.4f}, {_shape(ratio)}")
    console.print(
        f"fewest results rounded as the exact ones are: "
        f"{rounded['accuracy']['correctly_rounded']:.1%}, {_shape(rounded)}"
    )
