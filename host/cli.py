"""The command line: ``instinfer generate``, ``instinfer schedule``, ``instinfer verilog``."""

import argparse
import dataclasses
import sys
from pathlib import Path

from .verilog import add_verilog

__all__ = ["BadOption", "main"]

DEMO_PROMPT = Path(__file__).with_name("demo_prompt.txt")


class BadOption(ValueError):
    """An option of the command line is not possible; the message says what is."""


def main(arguments=None):
    """Run the command line; returns the exit status: 0, or 2 after bad input."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options) or 0
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except Exception as error:  # sorted here: what the user can mend is one line, the rest is ours
        if not isinstance(error, _bad_input()):
            raise
        print(f"instinfer: {error}", file=sys.stderr)
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
    schedule = commands.add_parser(
        "schedule",
        help="print how the engine's kernels are pipelined for a clock",
        description="Print the pipeline schedule of the attention engine's kernels.",
    )
    _add_schedule(schedule)
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
    prompt.add_argument("--prompt", help="text of the prompt (default: a text to sum up)")
    prompt.add_argument(
        "--prompt-file", metavar="FILE", help="file with the prompt; - reads standard input"
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
        "--preset", default="default", help="configuration of the drive (default: default)"
    )
    parser.add_argument(
        "--channels", type=int, metavar="N", help="flash channels, instead of the preset's"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="another field of the configuration; may be repeated",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="follow the same tokens on the other backends and on the unmodified model",
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


def _add_schedule(parser):
    parser.set_defaults(run=_schedule)
    parser.add_argument("--clock", type=float, default=250.0, metavar="MHZ", help="default: 250")
    parser.add_argument("--kernel", help="only this kernel")


def _generate(options):
    from .session import run_session

    config = _config(options)
    prompt = _prompt(options)
    if options.max_new_tokens < 1:
        raise BadOption(
            f"--max-new-tokens {options.max_new_tokens} is not possible: ask for 1 or more"
        )
    out = _folder(options.out)
    json_file = Path(options.json) if options.json else out / "generate.json"
    _folder(json_file.parent)
    return run_session(options, config, prompt, out, json_file)


def _config(options):
    from rtl.config import DriveConfig

    changes = {} if options.channels is None else {"channels": options.channels}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadOption(f"--set {text}: write FIELD=VALUE, for example --set dies=32")
        changes[name] = int(value) if value.lstrip("-").isdigit() else value
    known = [field.name for field in dataclasses.fields(DriveConfig)]
    for name, value in changes.items():
        if name not in known:
            raise BadOption(f"--set {name}: unknown field; choose one of {', '.join(known)}")
        if isinstance(value, str) != (name == "profile"):
            raise BadOption(
                f"--set {name}={value}: give a {'name' if name == 'profile' else 'whole number'}"
            )
    try:
        return DriveConfig.preset(options.preset, **changes)
    except ValueError as error:
        raise BadOption(str(error)) from error


def _prompt(options):
    if options.prompt is not None:
        text, source = options.prompt, "--prompt"
    elif options.prompt_file == "-":
        text, source = sys.stdin.read(), "standard input"
    else:
        path = Path(options.prompt_file) if options.prompt_file else DEMO_PROMPT
        source = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise BadOption(
                f"--prompt-file {path} cannot be read ({reason}): give a text file"
            ) from error
    if not text.strip():
        raise BadOption(
            f"the prompt is empty ({source}): give some text with --prompt or --prompt-file"
        )
    return text


def _folder(path):
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadOption(
            f"the folder {path} cannot be made ({error.strerror}): choose another with --out"
        ) from error
    return path


def _schedule(options):
    from hls_attention import kernels
    from hls_attention.hls import Kernel

    known = {k.name: k for k in vars(kernels).values() if isinstance(k, Kernel)}
    if not 50 <= options.clock <= 1000:
        raise BadOption(f"--clock {options.clock:g} is not possible: choose 50..1000 MHz")
    if options.kernel is not None and options.kernel not in known:
        raise BadOption(f"unknown kernel {options.kernel!r}: choose one of {', '.join(known)}")
    for name in [options.kernel] if options.kernel else known:
        print(known[name].schedule(options.clock * 1e6), end="\n\n")
    return 0


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
