"""``instinfer bench store``: what a serving load makes of a drive's space, without its data.

The load is `host.bench.store_load`, the drive `host.bench.store_drive`, which decides with the
firmware's own pieces; what is run is `host.bench.store_cases`.
"""

import json

from ..checks import INDEXES
from ..options import BadOption, add_output_options, out_folder, write_figures
from .store_cases import DESIGNS, Case, full_sweep, quick_sweep
from .store_load import MODELS

__all__ = ["add_store"]

FIGURES = "bench_store.json"

AXES = (
    "profile",
    "model",
    "fill",
    "design",
    "parts",
    "own",
    "sequences",
    "kept",
    "declared",
    "longer",
    "index",
)
"""Fields of `Case` that options set."""

MEASURED = INDEXES[:2]
"""Not bounds."""


def add_store(parser):
    """Give the command line's parser the options of the benchmark."""
    parser.set_defaults(run=_run)
    parser.add_argument("--quick", action="store_true", help="four cases, a few seconds each")
    parser.add_argument(
        "--profile",
        help="flash profile (this and the next ten: one case, no sweep; default: paper)",
    )
    parser.add_argument("--model", help=f"of {', '.join(MODELS)} (default: llama3-8b)")
    parser.add_argument("--fill", type=float, metavar="X", help="live share (default: 0.8)")
    parser.add_argument(
        "--design", help="; ".join(f"{name}: {d.text}" for name, d in DESIGNS.items())
    )
    parser.add_argument(
        "--parts", type=int, metavar="N", help="parts of the dies that have groups of their own"
    )
    parser.add_argument(
        "--own",
        type=int,
        metavar="N",
        help="groups that a sequence may fill from which on it has its own (default: half of N, 2)",
    )
    parser.add_argument(
        "--sequences",
        type=int,
        metavar="N",
        help="open at a time, on a drive of as many blocks as they fill (default: all blocks)",
    )
    parser.add_argument(
        "--kept", type=float, metavar="X", help="share of live pages that are never closed"
    )
    parser.add_argument(
        "--declared",
        type=float,
        metavar="X",
        help="answer tokens that sequences are opened for, over those that come",
    )
    parser.add_argument(
        "--longer", type=float, metavar="X", help="prompts and answers so many times as long"
    )
    parser.add_argument(
        "--index", help="channel: sequences have K a second time, by channel (default: none)"
    )
    parser.add_argument(
        "--writes",
        type=float,
        default=50,
        metavar="N",
        help="times that the drive is written in full (default: 50; with --quick: 5)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of lengths drawn (default: 0)")
    add_output_options(parser, FIGURES)


def _cases(options):
    given = {name: value for name in AXES if (value := getattr(options, name)) is not None}
    if not given:
        if options.quick:
            return list(quick_sweep())
        return [_written(case, options.writes) for case in full_sweep()]
    if options.quick:
        raise BadOption("--quick has cases of its own: leave it out, or the other options")
    for name, allowed in (("model", MODELS), ("design", DESIGNS), ("index", MEASURED)):
        if given.get(name, next(iter(allowed))) not in allowed:
            choice = ", ".join(allowed)
            raise BadOption(f"--{name} {given[name]} is not possible: choose of {choice}")
    for name, low, high in (
        ("fill", 0.05, 0.95),
        ("kept", 0, 0.9),
        ("declared", 1, 100),
        ("longer", 0.1, 16),
        ("parts", 1, 128),
        ("own", 1, 1024),
        ("sequences", 1, 100_000),
    ):
        if name in given and not low <= given[name] <= high:
            raise BadOption(f"--{name} {given[name]} is not possible: choose {low}..{high}")
    try:
        case = Case(writes=options.writes, **given)
        geometry = case.geometry
    except ValueError as error:
        raise BadOption(f"--profile: {error}") from error
    if geometry.channels * geometry.dies % case.parts:
        raise BadOption(
            f"--parts {case.parts} is not possible: choose a divisor of "
            f"{geometry.channels * geometry.dies} dies"
        )
    return [case]


def _written(case, writes):
    from dataclasses import replace

    return replace(case, writes=writes)


def _run(options):
    if not 1.1 <= options.writes <= 10_000:
        raise BadOption(f"--writes {options.writes} is not possible: choose 1.1..10000")
    cases = _cases(options)
    out = out_folder(options.out)
    rows = _measured(cases, options.seed)
    record = {"rows": rows, "seed": options.seed}
    write_figures(options.json or out / FIGURES, json.dumps(record, indent=2) + "\n")
    if options.json == "-":
        return 0
    from rich.console import Console

    from .store_picture import save_store
    from .store_report import show_store

    picture = out / "bench_store.png"
    save_store(picture, rows)
    show_store(Console(), rows, picture)
    return 0


def _measured(cases, seed):
    """Rows, with a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    from .store_measure import measure_store

    rows = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(cases))
        for number, case in enumerate(cases):
            progress.update(task, description=case.title)

            def watch(share, number=number):
                progress.update(task, completed=number + share)

            rows.append(measure_store(case, watch, seed))
    return rows
