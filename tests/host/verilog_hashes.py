"""Hashes of the drive's Verilog, so that it changes only on purpose.

When it was meant to change::

    make hashes

writes them anew; commit ``verilog_hashes.json`` with what changed the Verilog.
"""

import hashlib
import json
from pathlib import Path

from host.verilog import drive_verilog
from rtl.config import PRESETS, DriveConfig

__all__ = ["DESIGNS", "KEPT", "digest", "kept_hashes"]

KEPT = Path(__file__).with_suffix(".json")

DESIGNS = {name: DriveConfig.preset(name) for name in PRESETS} | {
    "tiny, sparse": DriveConfig.preset("tiny", sparse_tokens=64, bounds=True)
}
"""What is hashed and given to the front ends: every preset, and what sparse attention adds."""


def digest(verilog):
    """SHA-256 of a text."""
    return hashlib.sha256(verilog.encode()).hexdigest()


def kept_hashes():
    """The committed hashes: design -> SHA-256."""
    return json.loads(KEPT.read_text())


if __name__ == "__main__":
    hashes = {name: digest(drive_verilog(config)) for name, config in DESIGNS.items()}
    KEPT.write_text(json.dumps(hashes, indent=2) + "\n")
    print(KEPT.read_text(), end="")
