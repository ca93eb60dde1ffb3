"""``instinfer bench dense``: cycles of dense attention against the flash-bus bound.

The bound is `host.bench.bound`: everything that must cross each channel's bus, command and address
cycles included, all else perfectly overlapped, and the first page's latency. Beside it, user bytes
at the peak rate of all channels, which no drive reaches.
"""

import json

from ..options import BadOption, add_output_options, out_folder, write_figures
from .dense_cases import AXES, crossed, full_sweep, quick_sweep

__all__ = ["add_dense"]

FIGURES = "bench_dense.json"

CLOCKS_PER_SECOND = 500_000
"""Simulated by one channel of the narrow drive, about: until the first row is measured."""


def add_dense(parser):
    """Give the command line's parser the options of the benchmark."""
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rows: two minutes, once models are compiled"
    )
    for field in AXES:
        parser.add_argument(
            f"--{field.replace('_', '-')}",
            type=str if field == "profile" else int,
            nargs="+",
            metavar="P" if field == "profile" else "N",
            help="instead of the sweeps: every combination of the values given",
        )
    parser.add_argument(
        "--limit",
        type=float,
        default=300,
        metavar="SECONDS",
        help="leave out rows whose simulation would take longer (default: 300)",
    )
    add_output_options(parser, FIGURES)


def _cases(options):
    given = {field: values for field in AXES if (values := getattr(options, field))}
    for field, values in given.items():
        option = f"--{field.replace('_', '-')}"
        for value in values:
            allowed = AXES[field]
            if allowed is None and value < 1:
                raise BadOption(f"{option} {value} is not possible: give 1 or more")
            if allowed is not None and value not in allowed:
                choice = ", ".join(map(str, allowed))
                raise BadOption(f"{option} {value} is not possible: choose of {choice}")
    if given and options.quick:
        raise BadOption("--quick has rows of its own: leave it out, or the shapes")
    if not given:
        return quick_sweep() if options.quick else full_sweep()
    cases = crossed(given)
    for case in cases:
        if case.tokens > case.config.max_tokens:
            raise BadOption(
                f"--tokens {case.tokens} is not possible: give at most {case.config.max_tokens}"
            )
    return cases


def _run(options):
    if not options.limit > 0:
        raise BadOption(f"--limit {options.limit:g} is not possible: give seconds, more than 0")
    cases = _cases(options)
    out = out_folder(options.out)
    rows, skipped = _measured(cases, options.limit)
    record = {"rows": rows, "skipped": skipped, "scaling": _scaling(rows)}
    write_figures(options.json or out / FIGURES, json.dumps(record, indent=2) + "\n")
    if options.json == "-":
        return 0
    from rich.console import Console

    from .dense_picture import save_dense
    from .dense_report import show_dense

    picture = out / "bench_dense.png"
    if rows:
        save_dense(picture, rows)
    show_dense(Console(), record, picture if rows else None)
    return 0


def _measured(cases, limit):
    """Rows, and the cases that would take too long; with a progress bar."""
    from .bound import dense_bound
    from .dense_measure import measure
    from .progress import LaneProgress

    def cycles(case):
        shape = {name: getattr(case, name) for name in ("kv_heads", "head_dim", "tokens")}
        return dense_bound(case.config, **shape).cycles

    bounds = {case: cycles(case) for case in cases}
    rows, skipped, speed = [], [], {}
    with LaneProgress() as progress:
        progress.begin(sum(bounds.values()))
        for case, bound in bounds.items():
            wide = 1 if case.config.max_queries_per_kv <= 4 else 3
            rate = speed.get(case.config, CLOCKS_PER_SECOND / case.channels / wide)
            if bound / rate > limit:
                skipped.append({**case.as_dict(), "seconds": bound / rate})
                continue
            progress.title(case.title)
            row = measure(case, progress.watch, progress.console.print)
            speed[case.config] = row["clocks_per_second"]
            rows.append(row)
    return rows, skipped


def _scaling(rows):
    """Speed-up of more channels over one, same shape: a list of plain dicts."""

    def shape(row):
        return tuple(row[n] for n in AXES if n != "channels")

    single = {shape(row): row for row in rows if row["channels"] == 1}
    found = [(row, single.get(shape(row))) for row in rows if row["channels"] > 1]
    return [
        {
            **{name: row[name] for name in AXES},
            "speedup": one["cycles"] / row["cycles"],
            "efficiency": one["cycles"] / row["cycles"] / row["channels"],
        }
        for row, one in found
        if one is not None
    ]
