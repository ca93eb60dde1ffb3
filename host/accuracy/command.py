"""``instinfer eval``: what sparse attention costs a real model, method by method.

Text is scored (perplexity, KL and agreement with dense attention) or needles are looked for in it;
sparse attention is emulated on the host (`host.accuracy.emulation`), where the bytes are counted
that a drive would read. No drive runs.
"""

import json
from pathlib import Path

from ..options import BadOption, add_output_options, out_folder, ratio_option, write_figures
from .names import FORCED, METHODS

__all__ = ["add_eval"]

FIGURES = "eval.json"
TEXT = Path(__file__).parents[1] / "demo_prompt.txt"
"""The text that comes with the project: some hundred tokens."""


def add_eval(parser):
    """Give the command line's parser the options of the evaluation."""
    parser.set_defaults(run=_run)
    add = parser.add_argument
    add("--model", default="smollm2", help="smollm2, a Hugging Face folder or a .gguf file")
    add("--text", metavar="FILE", help="UTF-8 text (default: the short one of the demo)")
    add("--task", choices=("text", "needle"), default="text",
        help="score text, or find numbers hidden in it (default: text)")  # fmt: skip
    add("--methods", nargs="+", default=list(METHODS), metavar="METHOD",
        help="; ".join(f"{name}: {text}" for name, text in METHODS.items()))  # fmt: skip
    add("--ratios", nargs="+", metavar="X",
        help="of dense attention's elements, 0 < X <= 1 (default: 1/2 1/4 1/8 1/16)")  # fmt: skip
    add("--channels", type=int, metavar="R", help="r of sparf and sparq, instead of --ratios")
    add("--kept", type=int, metavar="K", help="k of sparf and sparq: tokens; with --channels")
    add(
        "--window",
        type=int,
        metavar="N",
        help="tokens of a window (default: 2048; all of the demo's text)",
    )
    add("--windows", type=int, metavar="N", default=1, help="spread over the text (default: 1)")
    add("--from", type=int, dest="first", metavar="N",
        help="first position scored; before it attention is dense (default: half)")  # fmt: skip
    add("--local", type=int, default=32, metavar="N",
        help="last tokens always attended (default: 32)")  # fmt: skip
    add("--sinks", type=int, default=4, metavar="N",
        help="first tokens always attended (default: 4)")  # fmt: skip
    add("--forced", choices=FORCED, default="within",
        help="whether these count within k (default: within)")  # fmt: skip
    add("--codeword", type=int, metavar="BYTES",
        help="of flash (default: what holds K of 4 tokens, at most 1024)")  # fmt: skip
    add("--bounds-unit", type=int, metavar="N",
        help="tokens whose bounds are written together, a multiple of 32; of those after the last "
        "so many K is read (default: what fills a page of 4 KiB, 256 of head_dim 64)")  # fmt: skip
    add("--needles", type=int, default=10, metavar="N", help="trials (default: 10)")
    add("--keys", type=int, default=4, metavar="N",
        help="needles of a trial; one is asked for (default: 4)")  # fmt: skip
    add("--seed", type=int, default=0, help="of the needles (default: 0)")
    add_output_options(parser, FIGURES)


def _run(options):
    ratios = _ratios(options)
    _check(options)
    text, source = _text(options.text)
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    from .evaluation import Evaluation

    console = Console(stderr=True)
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=console,
                  transient=True) as progress:  # fmt: skip
        record = Evaluation(options, ratios, text, source, progress).record()
    out = out_folder(options.out)
    write_figures(options.json or out / FIGURES, json.dumps(record, indent=2) + "\n")
    if options.json == "-":
        return 0
    from .report import show_needles, show_text

    if options.task == "needle":
        show_needles(Console(), record)
        return 0
    from .picture import save_pareto

    save_pareto(out / "eval.png", record["rows"], record["what"])
    show_text(Console(), record, out / "eval.png")
    return 0


def _ratios(options):
    if options.channels is not None or options.kept is not None:
        if options.ratios:
            raise BadOption("--channels and --kept are instead of --ratios: leave one out")
        return []
    asked = options.ratios or ("1/2", "1/4", "1/8", "1/16")
    return [ratio_option("--ratios", text) for text in asked]


def _check(options):
    from cosim.reference import BLOCK_TOKENS

    for name, least in (("windows", 1), ("local", 0), ("sinks", 0), ("needles", 1)):
        if (value := getattr(options, name)) < least:
            raise BadOption(f"--{name} {value} is not possible: give {least} or more")
    unit = options.bounds_unit
    if unit is not None and (unit < 1 or unit % BLOCK_TOKENS):
        raise BadOption(
            f"--bounds-unit {unit} is not possible: give a multiple of {BLOCK_TOKENS} tokens"
        )
    if options.window is not None and options.window < 3:
        raise BadOption(f"--window {options.window} is not possible: give 3 tokens or more")


def _text(file):
    try:
        text = Path(file or TEXT).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BadOption(f"--text {file} cannot be read ({reason}): give a text file") from error
    if not text.strip():
        raise BadOption(f"--text {file} is empty: give some text")
    return text, Path(file).name if file else "the demo's text"
