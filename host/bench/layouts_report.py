"""The table of ``instinfer bench layouts``, for a person."""

from rich.table import Table

from .layouts_cases import ACCESSES, LAYOUTS

__all__ = ["show_layouts"]

NOTES = """\
senses    of pages; cw: codewords moved, cols: changes of column; of one head,
          all channels together
kclk      thousand clocks of one channel for its part of a head, in full flow
bus       data, command and address cycles at least, over the clocks
arr       what dies need to sense, spread evenly, over the clocks
gain      clocks of dense attention in its fastest layout, over these
V KiB     V that a channel moves for a head: to be held on chip until the
          largest score is known, as it comes together with K"""


def show_layouts(console, rows, picture):
    """Print the rows of a run.

    Parameters
    ----------
    console : rich.console.Console
    rows : list of dict
        See `host.bench.layouts_measure.measure_layout` and `with_speedups`.
    picture : path
        File to point to.
    """
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("profile", "dies", "access", "layout"):
        table.add_column(name, no_wrap=True, justify="right" if name == "dies" else "left")
    varying = [name for name in ("head_dim", "codeword_bytes", "tokens") if _differ(rows, name)]
    for name in [*varying, "senses", "cw", "cols", "kclk", "bus", "arr", "gain"]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("V KiB", justify="right", no_wrap=True)
    for row in sorted(rows, key=_place(rows)):
        cycles = row["cycles"]
        table.add_row(
            row["profile"],
            str(row["dies"]),
            row["access"],
            row["layout"],
            *(f"{row[name]}" for name in varying),
            f"{row['senses']:,.0f}",
            f"{row['codewords']:,.0f}",
            f"{row['columns']:,.0f}",
            f"{row['cycles_of_channel'] / 1e3:,.1f}",
            f"{row['bus_cycles'] / cycles:.0%}",
            f"{row['arrays_cycles'] / cycles:.0%}",
            f"{row['over_dense']:.2f}" if row["over_dense"] else "",
            f"{row['v_bytes'] / 1024:.0f}" if row["together"] else "",
        )
    console.print(table)
    console.print(f"\n{NOTES}\n", highlight=False)
    for name in dict.fromkeys(row["access"] for row in rows):
        console.print(f"{name:9} {ACCESSES[name]}", highlight=False)
    for name in dict.fromkeys(row["layout"] for row in rows):
        console.print(f"{name:9} {LAYOUTS[name]}", highlight=False)
    console.print(f"\npicture: {picture}")


def _differ(rows, name):
    return len({row[name] for row in rows}) > 1


def _place(rows):
    """Sorts by profile as given, dies, access, layout."""
    profiles = list(dict.fromkeys(row["profile"] for row in rows))

    def key(row):
        return (
            profiles.index(row["profile"]),
            row["dies"],
            list(ACCESSES).index(row["access"]),
            list(LAYOUTS).index(row["layout"]),
        )

    return key
