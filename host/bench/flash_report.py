"""The table of ``instinfer bench flash``, for a person."""

from rich.table import Table

__all__ = ["show_flash"]

NOTES = """\
dies      read; 2x4: of two dies four planes each, sensed together
bound     data, command and address cycles of the bus over the cycles, in full
          flow; of a single read its closed form over them
paid      the same with a preamble and tRHW paid for each data phase: commands
          given together take less
arrays    the time that dies need to sense, spread evenly, over the cycles; of
          planes sensed together with that of their data, when they do not sense
wanted    user bytes at the bus's data rate, over the cycles
p50, p99  microseconds from a read's being taken to its last word, queue and all"""


def show_flash(console, rows, picture):
    """Print the rows of a run.

    Parameters
    ----------
    console : rich.console.Console
    rows : list of dict
        See `host.bench.flash_measure.measure_flash`.
    picture : path
        File to point to.
    """
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("profile", "pattern"):
        table.add_column(name, no_wrap=True)
    for name in ("dies", "cw", "bound", "paid", "arrays", "wanted", "p50", "p99"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cycles = row["cycles"]
        table.add_row(
            row["profile"],
            row["pattern"],
            str(row["dies"]) + (f"x{row['planes']}" if row["planes"] > 1 else ""),
            str(row["codeword_bytes"] or "page"),
            f"{row['bus_fraction']:.1%}",
            f"{row['paid_cycles'] / cycles:.1%}",
            f"{row['arrays_cycles'] / cycles:.1%}",
            f"{row['wanted_fraction_of_peak']:.1%}",
            f"{row['latency_p50_ns'] / 1e3:,.1f}",
            f"{row['latency_p99_ns'] / 1e3:,.1f}",
        )
    console.print(table)
    console.print(f"\n{NOTES}\n", highlight=False)
    for row in rows:
        for read in row.get("turnarounds", ()):
            console.print(
                f"{row['profile']}, {read['bytes']} bytes of an idle die: "
                f"{read['cycles'] * 1e6 / row['clock_hz']:.2f} us; closed form "
                f"{read['closed_form_ns'] / 1e3:.2f},\n  in whole clocks "
                f"{read['closed_form_cycles'] * 1e6 / row['clock_hz']:.2f}, with MQSim's 6 "
                f"command cycles {read['mqsim_count_ns'] / 1e3:.2f}",
                highlight=False,
            )
    console.print(f"picture: {picture}")
