"""The table of ``instinfer bench sparse``, for a person."""

from fractions import Fraction

from rich.table import Table

from .sparse_cases import SOURCES, WHOLE_CHANNELS

__all__ = ["findings", "ratio_text", "show_sparse"]

NOTES = """\
ch        channels that are simulated of a drive of {whole}, with their part of the tokens
kclk      thousand clocks of a layer in full flow: two layers less the first alone
gain      clocks of dense attention, over these
moved     user bytes of whole codewords, over those of dense attention
sensed    pages sensed, over those of dense attention
data, cmd, wait, idle  of the channels' time: data; commands; pages wanted, dies
          at work, bus free; nothing wanted"""


VARYING = {
    "attention": "kind",
    "source": "source",
    "codeword_bytes": "cw",
    "channels": "ch",
    "tokens": "tokens",
}
"""Columns of which there is one if rows differ in it."""


def show_sparse(console, rows, picture):
    """Print the rows of a run.

    Parameters
    ----------
    console : rich.console.Console
    rows : list of dict
        See `host.bench.sparse_measure.measure_sparse`.
    picture : path
        File to point to.
    """
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("profile", no_wrap=True)
    varying = {
        name: short for name, short in VARYING.items() if len({row[name] for row in rows}) > 1
    }
    columns = (*varying.values(), "dies", "ratio", "kclk", "gain", "moved", "sensed")
    for name in (*columns, "data", "cmd", "wait", "idle"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        dense = row["ratio"] is None
        table.add_row(
            row["profile"],
            *(f"{row[name]}" for name in (*varying, "dies")),
            "dense" if dense else ratio_text(row["ratio"]),
            f"{row['cycles'] / 1e3:,.1f}",
            *(["", "", ""] if dense else _shares(row)),
            *(f"{max(share, 0):.0%}" for share in row["shares"].values()),
        )
    console.print(table)
    console.print(f"\n{NOTES.format(whole=WHOLE_CHANNELS)}\n", highlight=False)
    for source in dict.fromkeys(row["source"] for row in rows):
        console.print(f"{source:12} {SOURCES[source]}", highlight=False)
    for text, style in findings(rows):
        console.print(text, style=style, highlight=False)
    console.print(f"\npicture: {picture}")


def ratio_text(ratio):
    """1/8, or 0.184."""
    fraction = Fraction(ratio).limit_denominator(64)
    return str(fraction) if float(fraction) == ratio else f"{ratio:g}"


def _shares(row):
    return (
        f"{row['speedup_vs_dense']:.2f}",
        f"{row['moved_share']:.1%}",
        f"{row['sensed_share']:.1%}",
    )


def findings(rows):
    """What the comparisons with the twin and with the plan say: pairs of text and style."""
    compared = [row for row in rows if row["as_twin"] is not None]
    planned = [row for row in rows if row["bytes_planned"] is not None]
    wrong = [row for row in compared if not row["as_twin"]]
    other = [row for row in planned if row["bytes_moved"] != row["bytes_planned"]]
    found: list[tuple[str, str | None]] = [
        (f"{len(compared)} of {len(rows)} results compared: bit for bit the twin's", None),
        (f"{len(planned)} selections known: the drive moved the bytes of exactly these", None),
    ]
    if not compared:
        found[0] = ("no result was compared with the twin", None)
    if not planned:
        del found[1]
    if wrong:
        found[0] = (f"{len(wrong)} results of {len(compared)} are not those of the twin", "red")
    if other:
        found[-1] = (f"{len(other)} selections of {len(planned)} are not those planned", "red")
    return found
