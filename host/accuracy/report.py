"""The tables of ``instinfer eval``, for a person."""

from rich.table import Table

from .names import FORCED, METHODS

__all__ = ["show_needles", "show_text"]

NOTES = """\
asked      nominal ratio x: sparf has r = x d channels of K and k = x S / 2 of S
           tokens, (S r + 2 k d) / (2 S d) = x; the others x of all K and V,
           their bounds included
moved      bytes of the codewords read, over those of all K and V: {layout}
elements   the same if single elements could be read
{forced}"""

TEXT_NOTES = """\
perplexity of the text, and its change over dense attention
KL         nats a token from dense attention's predictions; top-1: share of
           first choices that are dense attention's"""

NEEDLE_NOTES = """\
found      answers of which every token was the model's first choice; right: share
           of their tokens"""


def show_text(console, record, picture):
    """Print the rows of a run over text.

    Parameters
    ----------
    console : rich.console.Console
    record : dict
        See `host.accuracy.command`.
    picture : path
        File to point to.
    """
    heads = ("perplexity", "change", "KL", "top-1")
    _show(
        console,
        record,
        heads,
        TEXT_NOTES,
        lambda row: (
            f"{row['perplexity']:.3f}",
            f"{100 * row['change']:+.1f} %" if row["method"] != "dense" else "",
            f"{row['kl']:.4f}" if row["method"] != "dense" else "",
            f"{row['top1']:.3f}" if row["method"] != "dense" else "",
        ),
    )
    console.print(f"\nPicture: {picture}")


def show_needles(console, record):
    """Print the rows of a run over needles; parameters as of `show_text`."""
    _show(
        console,
        record,
        ("found", "right"),
        NEEDLE_NOTES,
        lambda row: (f"{row['found']} of {row['trials']}", f"{row['right']:.0%}"),
    )


def _show(console, record, heads, notes, figures):
    console.print(record["what"], highlight=False, soft_wrap=True)
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("method", no_wrap=True)
    for name in ("asked", "moved", "elements", *heads):
        table.add_column(name, justify="right", no_wrap=True)
    for row in record["rows"]:
        shares = (f"{100 * row[name]:.1f} %" for name in ("moved", "elements"))
        table.add_row(row["method"], _ratio(row["ratio"]), *shares, *figures(row))
    console.print(table)
    for text in record["left_out"]:
        console.print(f"left out: {text}", highlight=False)
    layout = (
        f"{record['codeword_bytes']} bytes,\n           {record['codeword_tokens']} tokens of K "
        f"or V, {record['codeword_bytes'] // 2} of one channel"
    )
    forced = (
        f"{record['forced']:10} the first {record['sinks']} and last {record['local']} tokens are "
        f"always attended:\n           {FORCED[record['forced']]}"
    )
    note = NOTES.format(layout=layout, forced=forced)
    console.print(f"\n{note}\n{notes}\n", highlight=False)
    for name in dict.fromkeys(row["method"] for row in record["rows"]):
        if name in METHODS:
            console.print(f"{name:12} {METHODS[name]}", highlight=False)


def _ratio(value):
    inverse = 1 / value
    return f"1/{inverse:.0f}" if abs(inverse - round(inverse)) < 1e-9 else f"{value:.4g}"
