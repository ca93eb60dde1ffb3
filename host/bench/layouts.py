"""``instinfer bench layouts``: where K and V of a token group lie in its pages, and what it costs.

What is compared is `host.bench.layouts_cases.LAYOUTS`, read as `ACCESSES` there, on one compiled
channel; which tokens a sparse step wants is `host.bench.selection`.
"""

import json

from ..options import BadOption, add_output_options, out_folder, write_figures
from .flash_cases import CODEWORDS
from .layouts_cases import ACCESSES, AXES, LAYOUTS, crossed, full_sweep, quick_sweep

__all__ = ["add_layouts"]

FIGURES = "bench_layouts.json"

MOST_DIES = 64
"""Of a channel, see `flash_model.geometry`."""

MOST_TOKENS, MOST_DRAWS = 1 << 17, 64


def add_layouts(parser):
    """Give the command line's parser the options of the benchmark."""
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--quick", action="store_true", help="profile paper, 2048 tokens: less than a minute"
    )
    parser.add_argument(
        "--profile",
        nargs="+",
        metavar="P",
        help="flash profiles, P@RATE with another data rate in MT/s (this and the next six: "
        "instead of the sweeps, every combination of the values given)",
    )
    parser.add_argument("--layout", nargs="+", metavar="LAYOUT", help=f"of {', '.join(LAYOUTS)}")
    parser.add_argument("--access", nargs="+", metavar="ACCESS", help=f"of {', '.join(ACCESSES)}")
    parser.add_argument("--dies", nargs="+", type=int, metavar="N", help="of the channel")
    parser.add_argument(
        "--head-dim", nargs="+", type=int, metavar="N", help="elements of a vector (default: 128)"
    )
    parser.add_argument(
        "--codeword-bytes",
        nargs="+",
        type=int,
        metavar="N",
        help=f"data bytes of a codeword: {' or '.join(map(str, CODEWORDS))} (default: 1024)",
    )
    parser.add_argument(
        "--tokens", nargs="+", type=int, metavar="N", help="of the sequence (default: 8192)"
    )
    parser.add_argument(
        "--draws", type=int, default=4, metavar="N", help="selections, averaged (default: 4)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the selections (default: 0)")
    add_output_options(parser, FIGURES)


def _cases(options):
    given = {name: values for name in AXES if (values := getattr(options, name))}
    if given and options.quick:
        raise BadOption("--quick has rows of its own: leave it out, or the other options")
    if not given:
        return quick_sweep() if options.quick else full_sweep()
    for option, values, allowed in (
        ("--layout", given.setdefault("layout", list(LAYOUTS)), tuple(LAYOUTS)),
        ("--access", given.setdefault("access", list(ACCESSES)), tuple(ACCESSES)),
        ("--codeword-bytes", given.get("codeword_bytes", ()), CODEWORDS),
    ):
        for value in values:
            if value not in allowed:
                choice = ", ".join(map(str, allowed))
                raise BadOption(f"{option} {value} is not possible: choose of {choice}")
    for option, values, most in (
        ("--dies", given.get("dies", ()), MOST_DIES),
        ("--head-dim", given.get("head_dim", ()), 256),
        ("--tokens", given.get("tokens", ()), MOST_TOKENS),
    ):
        if wrong := [value for value in values if not 1 <= value <= most]:
            raise BadOption(f"{option} {wrong[0]} is not possible: choose 1..{most}")
    try:
        cases = crossed(given)
    except ValueError as error:
        raise BadOption(str(error)) from error
    if not cases:
        raise BadOption(
            "--access passes is what sparse is with layout apart, and is not there with mixed: "
            "choose another layout or access"
        )
    return cases


def _run(options):
    if options.seed < 0:
        raise BadOption(f"--seed {options.seed} is not possible: choose 0 or more")
    if not 1 <= options.draws <= MOST_DRAWS:
        raise BadOption(f"--draws {options.draws} is not possible: choose 1..{MOST_DRAWS}")
    cases = _cases(options)
    out = out_folder(options.out)
    rows = _measured(cases, options.draws, options.seed)
    record = {"rows": rows, "seed": options.seed}
    write_figures(options.json or out / FIGURES, json.dumps(record, indent=2) + "\n")
    if options.json == "-":
        return 0
    from rich.console import Console

    from .layouts_picture import save_layouts
    from .layouts_report import show_layouts

    picture = out / "bench_layouts.png"
    save_layouts(picture, rows)
    show_layouts(Console(), rows, picture)
    return 0


def _measured(cases, draws, seed):
    """Rows, with a progress bar."""
    from .layouts_measure import measure_layout, planned_clocks, with_speedups
    from .progress import LaneProgress

    rows = []
    with LaneProgress() as progress:
        progress.begin(sum(planned_clocks(case, draws, seed) for case in cases))
        for case in cases:
            progress.title(case.title)
            rows.append(measure_layout(case, progress.watch, progress.console.print, draws, seed))
    return with_speedups(rows)
