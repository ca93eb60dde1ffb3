"""The table of ``instinfer bench store``, for a person."""

from rich.table import Table

from .store_cases import DESIGNS

__all__ = ["show_store"]

NOTES = """\
design     /8: a block group is a block number on 1 of 8 parts of the dies; +2: a
           sequence has a stream of its own from 2 groups on, not from half of these
group      MiB of a block group
seqs       sequences open, on average; fill: live share aimed at; k: of it, what
           is never closed; d: answer tokens declared over those that came;
           x: prompts and answers so many times as long; 2K: K a second time, by
           channel
written    pages written over pages appended; level: of these by static wear
           levelling
spread     erases of a group, most less fewest, over their mean
live       pages that count; dead: and what was left unwritten in groups that
           nobody fills any more (mean share of usable pages, from the first
           full write on)"""


def show_store(console, rows, picture):
    """Print the rows of a run.

    Parameters
    ----------
    console : rich.console.Console
    rows : list of dict
        See `host.bench.store_measure.measure_store`.
    picture : path
        File to point to.
    """
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("flash", "model", "design"):
        table.add_column(name, no_wrap=True)
    for name in ("group", "seqs", "fill", "written", "level", "spread", "live", "dead"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        parts = f"/{row['parts']}" if row["parts"] > 1 else ""
        parts += f"+{row['own']}" if row["own"] else ""
        facts = [row["profile"], row["model"], row["design"] + parts]
        facts.append(f"{row['group_bytes'] >> 20}")
        fill = f"{row['fill']:.0%}" + (f" k{row['kept']:.0%}" if row["kept"] else "")
        fill += f" d{row['declared']:g}" if row["declared"] != 1 else ""
        fill += f" x{row['longer']:g}" if row["longer"] != 1 else ""
        fill += " 2K" if row["index"] == "channel" else ""
        if row["full"]:
            table.add_row(*facts, "", fill, "full")
            continue
        table.add_row(
            *facts,
            f"{row['sequences_open']:.0f}",
            fill,
            f"{row['amplification']:.3f}",
            f"{row['levelling']:.3f}",
            f"{row['spread']:.0%}",
            f"{row['live']:.0%}",
            f"{row['dead'] + row['left']:.0%}",
        )
    console.print(table)
    console.print(f"\n{NOTES}\n", highlight=False)
    for name in dict.fromkeys(row["design"] for row in rows):
        console.print(f"{name:6} {DESIGNS[name].text}", highlight=False)
    console.print(f"\nPicture: {picture}")
