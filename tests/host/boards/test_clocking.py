"""Clocks of boards' drives: what is said of those that are too fast, and of slower ones."""

import re
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from host.boards.clocking import LONGEST_NS, clock_warning, slowest_clock
from host.boards.folder import BoardFolder
from host.boards.phys import profiles_for
from host.cli import main
from host.options import drive_config
from rtl.boards import BOARDS
from rtl.config import DriveConfig
from tests.rtl.phy.onfi_sdr import ONFI_SDR


@pytest.mark.parametrize("board, name", [("cosmos_plus", "xc7"), ("smartssd", "xcup")])
def test_a_clock_beyond_the_estimate_is_warned_of(board, name):
    reached = 10**9 / LONGEST_NS[name]
    for share, warned in ((0.99, False), (1.01, True)):
        config = DriveConfig.preset(board, clock_hz=int(reached * share))
        text = clock_warning(BOARDS[board], config)
        assert bool(text) == warned
        assert not warned or f"{config.clock_hz / 1e6:g} MHz" in text and "beyond" in text


def test_the_estimate_is_the_documents():
    text = (Path(__file__).parents[3] / "docs/area.md").read_text()
    depth = text.split("## Depth of logic")[1].split("\n## ")[0]
    assert f"{LONGEST_NS['xc7']:g} ns" in depth
    assert LONGEST_NS["xcup"] == pytest.approx(LONGEST_NS["xc7"] * 0.3 / 0.5, abs=0.05)


def test_the_command_and_the_readme_warn(tmp_path, capsys):
    assert main(["verilog", "--preset", "tiny", "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: 250 MHz, a period of 4.0 ns, is beyond")
    assert said.removeprefix("warning: ").strip() in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    "board, fields",
    [
        ("cosmos_plus", []),
        ("cosmos_plus", ["clock_hz=200000000", "profile=mlc_cosmos_nv_ddr200"]),
        ("daisyplus", []),
        ("smartssd", []),
        ("generic", []),
    ],
)
def test_the_command_for_a_slower_clock_works(board, fields):
    preset = BOARDS[board].preset
    config = drive_config(SimpleNamespace(preset=preset, set=fields))
    folder = BoardFolder(BOARDS[board], config, preset=preset, changes=fields)
    text = folder._readme(["README.md"])
    found = re.search(r"slower clock: `instinfer verilog --board (\w+) (.*?)`", text)
    assert found[1] == board
    assert not re.search(r"\S- The Tcl", text), "a line has lost its end"
    changes = re.findall(r"--set (\S+)", found[2])
    slower = drive_config(SimpleNamespace(preset=preset, set=changes))
    assert slower.clock_hz < config.clock_hz
    made = BoardFolder(BOARDS[board], slower, preset=preset, changes=changes)
    assert made.top == folder.top, "it has lost its PHY"


def test_how_slow_nv_ddr_may_be():
    """A cycle of CLK is two clocks at 100 MHz, and one of mode 2 is shorter than 30 ns."""
    assert slowest_clock("nv_ddr", 2, 100_000_000) == 66_700_000
    assert slowest_clock("nv_ddr", 5, 200_000_000) == 166_700_000


@pytest.mark.parametrize("mode", range(6))
@pytest.mark.parametrize("mhz", [100, 200, 250])
def test_a_slow_sdr_phy_still_takes_data_while_they_are_held(mode, mhz):
    """Against the tests' own table of the standard."""
    from rtl.phy.sdr_modes import sdr_clocks

    slowest = slowest_clock("sdr", mode, mhz * 10**6)
    c, t = sdr_clocks(mode, mhz * 10**6), ONFI_SDR[mode]
    for hz, held in ((slowest, True), (slowest * 4 // 5, False)):
        ns = Fraction(10**9, hz)
        kept = c.sample * ns <= c.read_low * ns + t["RHOH"]
        kept &= c.sample * ns <= c.read * ns + t["RLOH"]
        assert kept or not held
        assert not kept or held or slowest == 50_000_000  # the least of a configuration


def test_profiles_are_listed_from_the_fastest_on():
    assert profiles_for("nv_ddr", 100_000_000)[0] == "mlc_cosmos_nv_ddr"
    assert "mlc_cosmos_sdr" in profiles_for("sdr", 100_000_000)
