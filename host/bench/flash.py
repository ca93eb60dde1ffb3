"""``instinfer bench flash``: one NAND channel against closed forms of its bus and its dies.

Controller and dies are compiled as they are; contents of pages play no part. The closed forms are
`host.bench.flash_bound`, what is read is `host.bench.flash_cases.PATTERNS`.
"""

import json

from ..options import BadOption, add_output_options, out_folder, write_figures
from .flash_cases import AXES, CODEWORDS, PATTERNS, crossed, flash_profile, full_sweep, quick_sweep

__all__ = ["add_flash"]

FIGURES = "bench_flash.json"

MOST_DIES = 64
"""Of a channel, see `flash_model.geometry`."""

BUDGET = {"quick": 600_000, "full": 4_000_000}
"""Clocks that a row is to take, about: the number of its pages is chosen by it."""

ALONE, FEWEST, MOST = 2, 8, 4096
"""Pages of a row: of reads alone, and the fewest for each die and the most of all others."""


def add_flash(parser):
    """Give the command line's parser the options of the benchmark."""
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rows: less than a minute, once compiled"
    )
    parser.add_argument(
        "--profile",
        nargs="+",
        metavar="P",
        help="flash profiles; P@RATE is P with another data rate in MT/s, e.g. tlc_onfi5@1400 "
        "(this and the next four: instead of the sweeps, every combination of the values given)",
    )
    parser.add_argument("--pattern", nargs="+", metavar="PATTERN", help=f"of {', '.join(PATTERNS)}")
    parser.add_argument("--dies", nargs="+", type=int, metavar="N", help="dies that are read")
    parser.add_argument(
        "--codeword-bytes",
        nargs="+",
        type=int,
        metavar="N",
        help=f"data bytes of a codeword: {' or '.join(map(str, CODEWORDS))}",
    )
    parser.add_argument(
        "--planes",
        nargs="+",
        type=int,
        metavar="N",
        help="planes of a die whose pages are read one behind the other, to be sensed together",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of dies, rows and codewords drawn (default: 0)"
    )
    add_output_options(parser, FIGURES)


def _cases(options):
    given = {name: values for name in AXES if (values := getattr(options, name))}
    if given and options.quick:
        raise BadOption("--quick has rows of its own: leave it out, or the other options")
    if not given:
        return quick_sweep() if options.quick else full_sweep()
    for option, values, allowed in (
        ("--pattern", given.get("pattern", ()), tuple(PATTERNS)),
        ("--codeword-bytes", given.get("codeword_bytes", ()), CODEWORDS),
    ):
        for value in values:
            if value not in allowed:
                choice = ", ".join(map(str, allowed))
                raise BadOption(f"{option} {value} is not possible: choose of {choice}")
    if wrong := [dies for dies in given.get("dies", ()) if not 1 <= dies <= MOST_DIES]:
        raise BadOption(f"--dies {wrong[0]} is not possible: choose 1..{MOST_DIES}")
    try:
        for text in given.get("profile", ()):
            flash_profile(text)
        return crossed(given)
    except ValueError as error:
        raise BadOption(f"--{error}" if str(error).startswith("profile") else str(error)) from error


def _run(options):
    cases = _cases(options)
    out = out_folder(options.out)
    rows = _measured(cases, BUDGET["quick" if options.quick else "full"], options.seed)
    record = {"rows": rows, "seed": options.seed}
    write_figures(options.json or out / FIGURES, json.dumps(record, indent=2) + "\n")
    if options.json == "-":
        return 0
    from rich.console import Console

    from .flash_picture import save_flash
    from .flash_report import show_flash

    picture = out / "bench_flash.png"
    save_flash(picture, rows)
    show_flash(Console(), rows, picture)
    return 0


def _measured(cases, budget, seed):
    """Rows, with a progress bar."""
    from .flash_measure import measure_flash, planned_clocks
    from .progress import LaneProgress

    def planned(case):
        """Pages of a row, and about how many clocks they take."""
        if case.pattern == "single":
            return ALONE, planned_clocks(case, ALONE)
        least = FEWEST * case.dies
        clocks = planned_clocks(case, least)
        pages = max(least, min(MOST, least * budget // clocks))
        return pages, clocks * pages // least

    plan = {case: planned(case) for case in cases}
    with LaneProgress() as progress:
        progress.begin(sum(clocks for _, clocks in plan.values()))
        rows = []
        for case, (number, _) in plan.items():
            progress.title(case.title)
            rows.append(measure_flash(case, number, progress.watch, progress.console.print, seed))
    return rows
