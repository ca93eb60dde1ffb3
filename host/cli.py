"""The command line: ``instinfer generate``, ``bench``, ``schedule``, ``area`` and so on."""

import argparse
import os
import sys
from pathlib import Path

from .accuracy import add_eval
from .accuracy.names import FORCED
from .area.command import add_area
from .bench import add_bench
from .endurance import add_endurance
from .options import BadOption, add_drive_options, drive_config, out_folder, ratio_option
from .schedule import add_schedule
from .verilog import add_verilog

__all__ = ["BadOption", "main"]

DEMO_PROMPT = Path(__file__).with_name("demo_prompt.txt")


def main(arguments=None):
    """Run the command line; returns the exit status: 0, or 2 after bad input."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options) or 0
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads the output has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # sorted here: what the user can mend is one line, the rest is ours
        if not isinstance(error, _bad_input()):
            raise
        text = "; ".join([str(error), *getattr(error, "__notes__", [])])
        print(f"instinfer: {text}", file=sys.stderr)
        return 2


def _parser():
    parser = argparse.ArgumentParser(
        prog="instinfer",
        description="Attention of language models inside a simulated computational storage drive.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    generate = commands.add_parser(
        "generate",
        help="generate text, with the attention of every token computed in the drive",
        description="Generate text greedily: prefill on the host, then every token's attention "
        "in the drive.",
    )
    _add_generate(generate)
    bench = commands.add_parser(
        "bench",
        help="measure the drive against what its flash allows, and its simulation",
        description="Benchmarks of the simulated drive.",
    )
    add_bench(bench)
    evaluate = commands.add_parser(
        "eval",
        help="measure what sparse attention costs a model: perplexity, KL, needles, bytes moved",
        description="Measure what sparse attention costs a model, method by method, over the bytes "
        "that a drive would move.",
    )
    add_eval(evaluate)
    schedule = commands.add_parser(
        "schedule",
        help="print how the engine's kernels are pipelined for a clock",
        description="Print the pipeline schedule of the attention engine's kernels.",
    )
    add_schedule(schedule)
    area = commands.add_parser(
        "area",
        help="synthesise the drive with yosys and count what it takes of an FPGA",
        description="Synthesise the drive block by block with yosys for AMD's 7 series or "
        "UltraScale+ and count what it takes, beside the paper's Table II.",
    )
    add_area(area)
    endurance = commands.add_parser(
        "endurance",
        help="print how many tokens a drive's flash takes before it is worn out",
        description="Print how many tokens of OPT-13B and Llama-3-8B flash takes before it is worn "
        "out, beside the paper's claim.",
    )
    add_endurance(endurance)
    verilog = commands.add_parser(
        "verilog",
        help="write the drive as Verilog, with its register map",
        description="Write the drive as Verilog, with its register map and a manifest.",
    )
    add_verilog(verilog)
    return parser


def _add_generate(parser):
    parser.set_defaults(run=_generate)
    parser.add_argument(
        "--model", default="smollm2", help="smollm2, a Hugging Face folder or a .gguf file"
    )
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument(
        "--prompt",
        action="append",
        help="text of the prompt (default: a text to sum up); several, each with its own --prompt, "
        "are decoded together",
    )
    prompt.add_argument(
        "--prompt-file", metavar="FILE", help="file with the prompt; - reads standard input"
    )
    prompt.add_argument(
        "--prompts-file",
        metavar="FILE",
        help="file with one prompt a line, decoded together; empty lines are left out; "
        "- reads standard input",
    )
    parser.add_argument("--max-new-tokens", type=int, default=40, metavar="N", help="default: 40")
    parser.add_argument(
        "--backend",
        choices=("rtl", "twin", "golden"),
        default="rtl",
        help="rtl: the gateware, simulated; twin: its arithmetic, bit for bit; "
        "golden: float64 (default: rtl)",
    )
    parser.add_argument(
        "--attention",
        choices=("dense", "sparf", "bounds"),
        default="dense",
        help="what decode steps attend: all tokens, those that SparF selects, for which K is kept "
        "by channel too, or those of the largest bounds, which are kept then; the drive has room "
        "to select from 16384 tokens, or from as many as prompt and new ones are (--set "
        "sparse_tokens=N for another); prefill is dense (default: dense)",
    )
    parser.add_argument(
        "--forced",
        choices=FORCED,
        help="with sparf and bounds: whether the first 4 and the last 32 tokens, which are always "
        "attended, are part of what the ratio pays for or come besides (default: within)",
    )
    parser.add_argument(
        "--ratio",
        metavar="X",
        help="of sparf and bounds: what part of K and V is read, 1/8 or 0.125; of bounds more than "
        "1/16, which they are themselves (default: 1/8)",
    )
    add_drive_options(parser)
    parser.add_argument(
        "--compare",
        action="store_true",
        help="follow the same tokens on the other backends and on the unmodified model",
    )
    parser.add_argument(
        "--report", action="store_true", help="show the health of the drive's flash, too"
    )
    parser.add_argument(
        "--out", default="out", metavar="DIR", help="folder for pictures (default: out)"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write all figures (default: DIR/generate.json)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="default: 0; greedy decoding draws nothing"
    )
    parser.add_argument(
        "--bit-error-rate",
        type=float,
        metavar="RATE",
        help="raw bit error rate of the drive's flash, 0 to 0.5 (backend rtl; default: none)",
    )
    parser.add_argument(
        "--fault-seed",
        type=int,
        metavar="N",
        help="seed of the wrong bits' places (default: 0)",
    )


def _generate(options):
    from .generate.batch_session import run_batch_session
    from .generate.session import run_session

    config = drive_config(options)
    prompts = _prompts(options)
    if options.max_new_tokens < 1:
        raise BadOption(
            f"--max-new-tokens {options.max_new_tokens} is not possible: ask for 1 or more"
        )
    attention = _attention(options)
    faults = _faults(options, config)
    out = out_folder(options.out)
    json_file = Path(options.json) if options.json else out / "generate.json"
    out_folder(json_file.parent)
    if len(prompts) == 1:
        return run_session(options, config, attention, prompts[0], out, json_file, faults)
    return run_batch_session(options, config, attention, prompts, out, json_file, faults)


def _attention(options):
    """What ``attach`` takes for the attention that the options ask for."""
    from .accuracy.ratio import bounds_of
    from .sparse import DENSE, Bounds, Sparf

    if options.attention == DENSE:
        for name in ("ratio", "forced"):
            if (given := getattr(options, name)) is not None:
                raise BadOption(
                    f"--{name} {given} is of sparse attention: give --attention sparf too"
                )
        return DENSE
    kind = {"sparf": Sparf, "bounds": Bounds}[options.attention]
    ratio = ratio_option("--ratio", options.ratio or "1/8")
    if kind is Bounds:
        try:
            bounds_of(ratio)
        except ValueError as error:
            raise BadOption(f"--ratio {options.ratio}: {error}") from error
    return kind(ratio, forced=options.forced or "within")


def _faults(options, config):
    """Faults of the flash that the options ask for, or None."""
    from flash_model.bit_errors import BitErrorRate
    from flash_model.faults import Faults

    rate, seed = options.bit_error_rate, options.fault_seed
    if rate is None:
        if seed is not None:
            raise BadOption(f"--fault-seed {seed} has no faults to draw: give --bit-error-rate too")
        return None
    if options.backend != "rtl":
        raise BadOption(
            f"--bit-error-rate is of flash cells, and backend {options.backend} has none: "
            "use --backend rtl"
        )
    flash = config.flash
    try:
        # One rate, whatever the age of the cells.
        errors = BitErrorRate(
            erases=flash.endurance.erases, fresh=rate, worn=0, kept=0, disturbed=0
        )
    except ValueError as error:
        raise BadOption(
            f"--bit-error-rate {rate} is not possible: choose a rate of 0..0.5"
        ) from error
    try:
        return Faults(flash.geometry, seed=seed or 0, rate=errors)
    except ValueError as error:
        raise BadOption(f"--fault-seed: {error}") from error


def _prompts(options):
    """The prompts that the options ask for, one or more, none of them empty."""
    if options.prompt is not None:
        prompts, source = options.prompt, "--prompt"
    elif options.prompts_file is not None:
        text, source = _text("--prompts-file", options.prompts_file)
        prompts = [line for line in text.splitlines() if line.strip()]
        if not prompts:
            raise BadOption(
                f"no prompt in {source}: give a file of 1 or more lines that are not empty with "
                "--prompts-file"
            )
    else:
        text, source = _text("--prompt-file", options.prompt_file or str(DEMO_PROMPT))
        prompts = [text]
    for row, prompt in enumerate(prompts):
        if not prompt.strip():
            which = source if len(prompts) == 1 else f"{source}, row {row} of {len(prompts)}"
            raise BadOption(
                f"the prompt is empty ({which}): give some text with --prompt or --prompt-file"
            )
    return prompts


def _text(option, file):
    """Text of a file, or of standard input for ``-``, and where it is from."""
    if file == "-":
        return sys.stdin.read(), "standard input"
    try:
        return Path(file).read_text(encoding="utf-8"), str(Path(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BadOption(
            f"{option} {Path(file)} cannot be read ({reason}): give a text file"
        ) from error


def _bad_input():
    """Errors whose message names what was given and what to give instead."""
    from cosim.verilator import ToolError
    from rtl.config import ConfigError

    from .errors import DriveError
    from .models import ModelError
    from .support import ContextTooLong, PromptError, UnsupportedModel

    return (
        BadOption,
        ConfigError,
        ContextTooLong,
        DriveError,
        ModelError,
        PromptError,
        ToolError,
        UnsupportedModel,
    )


if __name__ == "__main__":
    sys.exit(main())
