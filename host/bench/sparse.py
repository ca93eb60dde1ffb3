"""``instinfer bench sparse``: sparse attention in the drive against dense attention.

Both on one simulated drive, on the same tokens, in cycles; what is measured of a case is in
`host.bench.sparse_measure`, where q, K and V come from in `host.bench.sparse_inputs`.
"""

import json
from pathlib import Path

from ..options import BadOption, add_output_options, out_folder, write_figures
from .flash_cases import CODEWORDS
from .sparse_cases import (
    AXES,
    MOST_DIES,
    RATIOS,
    SOURCES,
    WHOLE_CHANNELS,
    crossed,
    full_sweep,
    quick_sweep,
)

__all__ = ["add_sparse"]

FIGURES = "bench_sparse.json"

CHOICES = {
    "source": tuple(SOURCES),
    "codeword_bytes": CODEWORDS,
    "channels": tuple(1 << n for n in range(1, WHOLE_CHANNELS.bit_length())),
    "dies": range(1, MOST_DIES + 1),
    "attention": tuple(RATIOS),
}


def add_sparse(parser):
    """Give the command line's parser the options of the benchmark."""
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--quick", action="store_true", help="profile paper, 4096 tokens: three minutes"
    )
    for name, help in (
        ("profile", "flash profiles, P@RATE with another data rate in MT/s (this and the next "
         "six: instead of the sweeps, every combination of the values given)"),
        ("attention", "sparf, bounds (default: sparf)"),
        ("source", f"of q, K and V: {', '.join(SOURCES)}"),
        ("dies", f"of a channel, 1..{MOST_DIES} (default: 16)"),
        ("codeword-bytes", f"{' or '.join(map(str, CODEWORDS))} (default: 1024)"),
        ("tokens", f"of a drive of {WHOLE_CHANNELS} channels (default: 8192)"),
        ("channels", "that are simulated, each with its part of the tokens (default: 2)"),
    ):  # fmt: skip
        text = name in ("profile", "attention", "source")
        parser.add_argument(
            f"--{name}", nargs="+", type=str if text else int, metavar="P" if text else "N",
            help=help,
        )  # fmt: skip
    parser.add_argument(
        "--text", metavar="FILE", help="that SmolLM2 has read (default: the shipped prompt, again "
        "and again)",
    )  # fmt: skip
    parser.add_argument(
        "--ratio", nargs="+", type=float, metavar="X", help="of the elements that dense attention "
        "reads: " + "; ".join(f"of {kind} {', '.join(f'{x:g}' for x in ratios)}"
                              for kind, ratios in RATIOS.items())
        + " (default: all, in the sweeps some)",
    )  # fmt: skip
    parser.add_argument(
        "--no-check", action="store_true", help="do not compare results with backend twin"
    )
    add_output_options(parser, FIGURES)


def _cases(options):
    given = {name: values for name in (*AXES, "ratio") if (values := getattr(options, name))}
    if given and options.quick:
        raise BadOption("--quick has rows of its own: leave it out, or the other options")
    if not given:
        return quick_sweep() if options.quick else full_sweep()
    for name, choices in CHOICES.items():
        for value in given.get(name, ()):
            if value not in choices:
                some = f"{choices[0]}..{choices[-1]}" if name == "dies" else ", ".join(
                    map(str, choices)
                )  # fmt: skip
                option = f"--{name.replace('_', '-')}"
                raise BadOption(f"{option} {value} is not possible: choose of {some}")
    try:
        cases = crossed(given, given.get("ratio", ()))
        for case in cases:
            _ = case.config
    except ValueError as error:
        raise BadOption(str(error)) from error
    return cases


def _text(options):
    if options.text is None:
        return None
    try:
        text = Path(options.text).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption(f"--text {options.text}: cannot be read ({error})") from error
    if not text.strip():
        raise BadOption(f"--text {options.text} is empty: give a file with some text")
    return text


def _run(options):
    cases, text = _cases(options), _text(options)
    out = out_folder(options.out)
    rows = _measured(cases, text, not options.no_check)
    record = {"rows": rows, "text": options.text}
    write_figures(options.json or out / FIGURES, json.dumps(record, indent=1) + "\n")
    if options.json == "-":
        return 0
    from rich.console import Console

    from .sparse_picture import save_sparse
    from .sparse_report import show_sparse

    picture = out / "bench_sparse.png"
    save_sparse(picture, rows)
    show_sparse(Console(), rows, picture)
    return 0


def _measured(cases, text, check):
    """Rows, with a progress bar."""
    from .progress import LaneProgress
    from .sparse_measure import measure_sparse, planned_cycles

    rows = []
    with LaneProgress() as progress:
        progress.begin(sum(map(planned_cycles, cases)))
        for case in cases:
            progress.title(case.title)
            rows += measure_sparse(case, progress.watch, progress.console.print, text, check)
    return rows
