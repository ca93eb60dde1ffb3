"""Three front ends, written by three groups of people, read the drive's Verilog.

Each returns what it finds fault with, and an empty list means that it accepts the text:

- Verilator's lint with all its warnings but those of ``waivers.vlt``,
- Yosys, to registers and multiplexers: no latch, no loop, no wire without a driver or with two,
- slang with all its warnings but those of `SLANG_WAIVERS`, as Verilog-2005 and as SystemVerilog.

What they said is kept in the user's cache under a hash of the text, tool and waivers.
"""

import json
import re
import subprocess
import sys
from importlib import metadata

from .cache import content_key, made_once
from .verilator import WAIVERS, ToolError, toolchain
from .yosys import run_yosys, yosys_version

__all__ = ["FRONT_ENDS", "findings"]

SLANG_WAIVERS = {
    "width-trunc": "a bit is chosen by a shift, `bit = vector >> index`",
    "sign-conversion": "signed arithmetic ends in vectors, which are unsigned",
    "arith-op-mismatch": "operands are as wide as what they stand for; the sum has the width",
    "case-default": "a `casez` that lists every value has none; `case-incomplete` is not waived",
    "case-overlap": "arms of a `casez` overlap on purpose: the first one wins",
    "unused-net": "fields of payloads are named as wires, whether anyone reads them or not",
    "unused-but-set-net": "the same",
    "unused-but-set-variable": "the same, of registers",
    "unused-port": "the same, of ports",
}
"""Warnings of slang that the text may give -> why."""

SLANG_STANDARDS = ("1364-2005", "1800-2023")

_YOSYS_SCRIPT = (
    "read_verilog design.v; hierarchy -check -top {top}; proc; check -assert; "
    "select -assert-none t:$dlatch t:$dlatchsr t:$adlatch t:$sr"
)
_YOSYS_KNOWN = re.compile(r"Replacing memory \S+ with list of registers|unique messages")
"""A queue of one place is a memory of one row; the other line counts the warnings."""

_SLANG = """\
import sys
from pyslang.driver import Driver
for arguments in sys.argv[1:]:
    driver = Driver()
    driver.addStandardArgs()
    read = driver.parseCommandLine("slang " + arguments) and driver.processOptions()
    if not (read and driver.parseAllSources() and driver.runFullCompilation(True)):
        sys.exit(1)
"""


def findings(front_end, verilog, top):
    """What a front end finds fault with.

    Parameters
    ----------
    front_end : str
        One of `FRONT_ENDS`.
    verilog : str
        The whole design.
    top : str
        Its top module.

    Returns
    -------
    list of str
        Messages, empty if it accepts the design.
    """
    check, version = FRONT_ENDS[front_end]

    def make(folder):
        (folder / "design.v").write_text(verilog)
        (folder / "findings.json").write_text(json.dumps(check(folder, top)))
        (folder / "design.v").unlink()

    rules = (WAIVERS.read_bytes(), _YOSYS_SCRIPT, _SLANG, *SLANG_STANDARDS, *SLANG_WAIVERS)
    key = content_key(front_end, version(), verilog, top, *rules)
    return json.loads((made_once("front_ends", key, make, keep=100) / "findings.json").read_text())


def _verilator(folder, top):
    tools = toolchain()
    command = [tools.verilator, "--lint-only", "-Wall", "-fno-dfg", "--top-module", top]
    result = subprocess.run(
        [*command, str(WAIVERS), "design.v"],
        cwd=folder,
        env=tools.environment,
        text=True,
        capture_output=True,
    )
    found = [line for line in result.stderr.splitlines() if line.startswith("%")]
    return found or _failed(result)


def _yosys(folder, top):
    try:
        log = run_yosys(_YOSYS_SCRIPT.format(top=top), folder)
    except ToolError as error:
        return str(error).splitlines()
    return [
        line
        for line in log.splitlines()
        if re.match(r"Warning|Latch inferred", line) and not _YOSYS_KNOWN.search(line)
    ]


def _slang(folder, top):
    waived = " ".join(f"-Wno-{rule}" for rule in SLANG_WAIVERS)
    rules = f"-Weverything {waived} -Werror --error-limit 100 --top {top} design.v"
    result = subprocess.run(
        [sys.executable, "-c", _SLANG, *(f"--std {name} {rules}" for name in SLANG_STANDARDS)],
        cwd=folder,
        text=True,
        capture_output=True,
    )
    found = [line for line in result.stderr.splitlines() if re.search("error:|warning:", line)]
    return found or _failed(result)


def _failed(result):
    """A tool that fails without a message has not accepted anything."""
    return (result.stderr or "failed").splitlines() if result.returncode else []


def _slang_version():
    try:
        return "pyslang " + metadata.version("pyslang")
    except metadata.PackageNotFoundError as error:
        raise ToolError("the Python package pyslang is missing: pip install pyslang") from error


FRONT_ENDS = {
    "verilator": (_verilator, lambda: toolchain().version),
    "yosys": (_yosys, yosys_version),
    "slang": (_slang, _slang_version),
}
"""Name -> its check of ``design.v`` in a folder, its version."""
