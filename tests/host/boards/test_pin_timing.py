"""What is left at the NAND pins, against the tests' tables of the standard; pins' properties."""

import re
from fractions import Fraction
from types import SimpleNamespace

import pytest

from host.boards.constraints import pins_xdc
from host.boards.pin_timing import IN, OUT, margins, timing_xdc
from host.boards.wrappers import Port
from rtl.boards import BOARDS
from rtl.phy.nv_ddr_modes import nv_ddr_clocks
from rtl.phy.sdr_modes import sdr_clocks
from tests.rtl.phy.nv_ddr_pins import ONFI_NV_DDR
from tests.rtl.phy.onfi_sdr import ONFI_SDR

CLOCKS = (100_000_000, 200_000_000, 250_000_000)


@pytest.mark.parametrize("mode", range(6))
@pytest.mark.parametrize("clock_hz", CLOCKS)
def test_what_sdr_leaves(mode, clock_hz):
    left, t, ns = margins("sdr", mode, clock_hz), ONFI_SDR[mode], Fraction(10**9, clock_hz)
    c = sdr_clocks(mode, clock_hz)
    assert left["CLE, ALE before WE# rises"] == c.write_low * ns - max(t["CLS"], t["ALS"])
    assert left["DQ before WE# rises"] == c.write_low * ns - t["DS"]
    assert left["CE# before WE# rises"] == (c.select_write + c.write_low) * ns - t["CS"]
    assert left["CLE, ALE, CE# behind it"] == c.write_high * ns - max(t["CLH"], t["ALH"], t["CH"])
    assert left["DQ behind it"] == c.write_high * ns - t["DH"]
    assert left["RE# out, board, DQ in"] == c.sample * ns - t["REA"] >= 4
    assert left["DQ stays once it is taken"] == c.read_low * ns + t["RHOH"] - c.sample * ns
    assert all(value >= 0 for value in left.values())


@pytest.mark.parametrize("mode", range(6))
@pytest.mark.parametrize("clock_hz", CLOCKS)
def test_what_nv_ddr_leaves(mode, clock_hz):
    t, left = ONFI_NV_DDR[mode], list(margins("nv_ddr", mode, clock_hz).values())
    cycle = nv_ddr_clocks(mode, clock_hz).slot * Fraction(10**9, clock_hz)
    own = max(t[name] for name in ("CALS", "CALH", "CAS", "CAH"))
    assert left == [
        cycle / 2 - own,
        cycle * 3 / 2 - t["CS"],
        cycle / 4 - t["DS"],
        cycle / 4 - t["DH"],
        cycle / 4,
    ]
    assert all(value >= 0 for value in left)


def test_the_constraints_of_sdr_share_the_round_trip():
    """16 ns of 20 are the die's in mode 5 at 100 MHz."""
    text = timing_xdc(SimpleNamespace(kind="sdr", mode=5, title="SDR"), 100_000_000)
    limits = re.findall(r"^set_max_delay .*nand_\*_(\w+)\*.* ([\d.]+)$", text, re.M)
    assert limits == [("re_", "2.5"), ("dq", "1.0"), ("ce_n", "6.0"), ("dq", "4.0")]
    assert OUT + IN < 1, "nothing is left to the board"


def test_every_timed_pin_of_nv_ddr_is_spoken_of():
    text = timing_xdc(SimpleNamespace(kind="nv_ddr", mode=2, title="NV-DDR"), 100_000_000)
    active = "".join(line for line in text.splitlines() if not line.startswith("#"))
    spoken = set(re.findall(r"nand_\*_([a-z_]+)", active))
    assert spoken == {"ce_n", "cle", "ale", "we_n", "re_", "dq", "wp_n"}
    assert "-divide_by 2" in text and "TO ADD" in text


@pytest.mark.parametrize(
    "board, name, bits, said",
    [
        ("cosmos_plus", "nand_0_dq", 8, "PACKAGE_PIN AJ25 IOSTANDARD LVCMOS18 SLEW FAST"),
        ("cosmos_plus", "nand_0_ce_n", 8, "PACKAGE_PIN AA29 IOSTANDARD LVCMOS18 SLEW SLOW"),
        ("cosmos_plus", "nand_0_rb_n", 8, "PACKAGE_PIN AC29 IOSTANDARD SSTL18_II PULLTYPE PULLUP"),
        ("daisyplus", "nand_0_we_n", 1, "PACKAGE_PIN H21 IOSTANDARD SSTL18_I SLEW SLOW"),
        ("daisyplus", "nand_0_re_p", 1, "{IOSTANDARD DIFF_SSTL18_I SLEW SLOW"),
        ("generic", "nand_0_rb_n", 2, "# set_property -dict {PACKAGE_PIN ??? IOSTANDARD LVCMOS18"),
        ("generic", "nand_0_re_n", 1, "IOSTANDARD LVCMOS18 SLEW FAST"),
    ],
)
def test_properties_of_pins(board, name, bits, said):
    """Of the public projects' constraints, by hand."""
    text = pins_xdc(BOARDS[board], [Port(name, "output", bits)])
    port = f"{name}[0]" if bits > 1 else name
    line = next(line for line in text.splitlines() if f"{{{port}}}" in line)
    assert said in line
    assert ("VREF pins" in text) == (board == "cosmos_plus")
    assert ("Leave them," in text) == (name == "nand_0_re_p")
