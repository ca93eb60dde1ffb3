"""The Verilog of every preset is the one whose hash is committed, in any process, of any folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from host.boards.folder import SIDECAR, BoardFolder
from host.verilog import drive_verilog
from rtl.boards import BOARDS
from tests.host.verilog_hashes import DESIGNS, digest, kept_hashes

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("design", DESIGNS)
def test_the_verilog_changes_only_on_purpose(design):
    assert digest(drive_verilog(DESIGNS[design])) == kept_hashes().get(design), (
        f"the Verilog of {design!r} is not the committed one. If that was not meant, find what "
        "changed it; if it was, run `make hashes` and commit tests/host/verilog_hashes.json"
    )


def test_every_committed_hash_is_of_a_design():
    assert kept_hashes().keys() == DESIGNS.keys()


def test_another_process_writes_the_same_bytes_without_paths(tmp_path):
    """All files of a folder."""
    command = ["verilog", "--preset", "tiny", "--output", str(tmp_path / "v")]
    environment = {"PYTHONHASHSEED": "7", "INSTINFER_CACHE": str(tmp_path / "cache")}
    subprocess.run(
        [sys.executable, "-m", "host.cli", *command],
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=True,
    )
    assert digest((tmp_path / "v/rtl/drive.v").read_text()) == kept_hashes()["tiny"]
    files = BoardFolder(BOARDS["generic"], DESIGNS["tiny"], preset="tiny").files()
    for name, text in files.items():
        there = (tmp_path / "v" / name).read_text()
        assert there == text or name == SIDECAR  # which has the hashes of the others besides
        for place in (ROOT, Path.home(), tmp_path, sys.prefix):
            assert str(place) not in there
