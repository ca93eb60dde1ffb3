"""The tables of ``instinfer bench prefill``, for a person."""

from rich.table import Table

__all__ = ["host_text", "prompt_text", "show_prefill"]

NOTES = """\
ms         that the host computes a layer: a GPU by formula, cpu as measured
answered   the host has the drive's answer to the last layer; what is not on
           flash yet is in program slots in device DRAM
on flash   the last page has been programmed
of dies    pages * tPROG / dies, over the time from the first doorbell to
           the last program's end; steady: from the first layer's end on
hidden     of the shorter of host and drive, each alone, what the longer
           one hides; with n layers (n - 1) / n at most"""


def host_text(run):
    """What computes the layers, and how long each."""
    if run["host_name"] == "none":
        return "no host time"
    seconds = run["host_seconds"]
    name = "this CPU" if run["host_name"] == "cpu" else run["host_name"]
    return f"{name}, {1e3 * seconds:,.3f} ms a layer"


def prompt_text(record):
    """Whose K and V are written."""
    by_channel = ", K by channel besides" if record["index"] == "channel" else ""
    return f"{record['model']}, {record['layers']} layers, {record['tokens']:,} tokens{by_channel}"


def show_prefill(console, record, picture):
    """Print the record of a run.

    Parameters
    ----------
    console : rich.console.Console
    record : dict
        See `host.bench.prefill`.
    picture : path
        File to point to.
    """
    console.print(
        f"{prompt_text(record)}; preset "
        f"{record['preset']}, {record['dies']} dies, {record['clock_hz'] / 1e6:g} MHz; clocks\n",
        highlight=False,
    )
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("host", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("layers", no_wrap=True)
    for name in ("answered", "on flash", "of dies", "steady", "hidden"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in record["runs"]:
        table.add_row(
            run["host_name"],
            f"{1e3 * run['host_seconds']:,.3f}",
            "under way" if run["overlap"] else "waited for",
            f"{run['answered']:,}",
            f"{run['programmed']:,}",
            *(_percent(run[name]) for name in ("of_dies", "steady", "hidden")),
        )
    console.print(table)
    console.print(f"\n{NOTES}\n", highlight=False)
    run = next((r for r in record["runs"] if r["host_seconds"] and r["overlap"]), record["runs"][0])
    console.print(f"layers under way, {host_text(run)}:", highlight=False)
    console.print(_layers(run))
    console.print(f"picture: {picture}", highlight=False)


def _layers(run):
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    columns = ("layer", "host_start", "host_end", "link_start", "link_end", "programs_end")
    for name in columns:
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for row in run["rows"]:
        table.add_row(*("" if row[name] is None else f"{row[name]:,}" for name in columns))
    return table


def _percent(value):
    return "" if value is None else f"{value:.1%}"
