"""What commands share: bad options, the drive's configuration from options, files of figures."""

import dataclasses
import sys
from fractions import Fraction
from pathlib import Path

__all__ = [
    "BadOption",
    "add_drive_options",
    "add_output_options",
    "drive_config",
    "out_folder",
    "ratio_option",
    "write_figures",
]

SHORT = {"channels": "channels", "queries_per_kv": "max_queries_per_kv", "head_dim": "max_head_dim"}
"""Options that set a field of the configuration: option -> field."""

KINDS: dict = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "a name"),
    bool: (lambda text: bool(("false", "true").index(text.lower())), "true or false"),
}
"""Types of the configuration's fields -> how to make one of a text, what it is called."""


class BadOption(ValueError):
    """An option of the command line is not possible; the message says what is."""


def add_drive_options(parser):
    """Give a parser the options that choose a drive."""
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


def add_output_options(parser, name):
    """Give a benchmark's parser --out and --json; ``name`` is that of its figures' file."""
    parser.add_argument(
        "--out", default="out", metavar="DIR", help="folder for the picture (default: out)"
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help=f"write all figures (default: DIR/{name}); with -, to standard output, and no table",
    )


def drive_config(options):
    """The configuration that a command's options ask for."""
    from rtl.config import DriveConfig

    given = {field: getattr(options, name, None) for name, field in SHORT.items()}
    changes = {field: value for field, value in given.items() if value is not None}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadOption(f"--set {text}: write FIELD=VALUE, for example --set dies=32")
        changes[name] = value
    kinds = {field.name: KINDS[field.type] for field in dataclasses.fields(DriveConfig)}
    for name, value in changes.items():
        if name not in kinds:
            raise BadOption(f"--set {name}: unknown field; choose one of {', '.join(kinds)}")
        kind, called = kinds[name]
        try:
            changes[name] = kind(value)
        except ValueError as error:
            raise BadOption(f"--set {name}={value}: give {called}") from error
    try:
        return DriveConfig.preset(options.preset, **changes)
    except ValueError as error:
        raise BadOption(str(error)) from error


def ratio_option(option, text):
    """The number of a text such as 1/8 or 0.125, above 0 and at most 1."""
    try:
        ratio = float(Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise BadOption(f"{option} {text} is no number: write 1/8 or 0.125") from error
    if not 0 < ratio <= 1:
        raise BadOption(f"{option} {text} is not possible: choose 0 < X <= 1")
    return ratio


def out_folder(path):
    """The folder of ``--out``, made if it is not there."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadOption(
            f"the folder {path} cannot be made ({error.strerror}): choose another with --out"
        ) from error
    return path


def write_figures(file, text):
    """Write a text of figures to a file, or to standard output if it is ``-``."""
    if file == "-":
        sys.stdout.write(text)
        return
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(text)
    except OSError as error:
        raise BadOption(
            f"{file} cannot be written ({error.strerror}): choose another file with --json"
        ) from error
