"""The estimate of what a drive takes, held to synthesis; what is said if it is too much."""

import dataclasses
import re

import pytest

from host.boards.fit import TooLarge, check_fit, estimate
from rtl.boards import BOARDS, PARTS
from rtl.config import DriveConfig

COUNTED = [
    ({}, 340_485),
    ({"correctable_bits": 8}, 207_063),
    ({"correctable_bits": 12}, 236_207),
    ({"correctable_bits": 16}, 264_159),
    ({"correctable_bits": 8, "decoder_channels": 8}, 160_799),
    ({"correctable_bits": 12, "decoder_channels": 8}, 168_331),
    ({"correctable_bits": 16, "decoder_channels": 8}, 175_708),
    ({"decoder_channels": 8}, 196_318),
]
"""Changes of the default drive -> its LUT by yosys, of docs/area.md."""


@pytest.mark.parametrize("changes, lut", COUNTED)
def test_the_estimate_is_near_what_synthesis_counts(changes, lut):
    assert estimate(DriveConfig.preset("default", **changes)).lut == pytest.approx(lut, rel=0.05)


@pytest.mark.parametrize(
    "preset, lut, bram36",
    [("cosmos_plus", 168_814, 434.5), ("daisyplus", 163_362, 296), ("smartssd", 159_850, 284)],
)
def test_boards_against_what_synthesis_counts(preset, lut, bram36):
    """docs/area; block RAM of `cosmos_plus` as docs/area.md has it."""
    found = estimate(DriveConfig.preset(preset))
    assert found.lut == pytest.approx(lut, rel=0.1)
    assert found.bram36 == pytest.approx(bram36, rel=0.25)


def test_the_presets_of_boards_fit_them():
    for board in BOARDS.values():
        if board.part:
            shares = check_fit(DriveConfig.preset(board.preset), board.part)
            assert 0 < shares["lut"] <= 0.8 and 0 < shares["dsp"] <= 0.6


def test_a_drive_that_does_not_fit_says_by_how_much_and_what_would():
    config = DriveConfig.preset("default")
    part = PARTS["XC7Z045"]
    with pytest.raises(TooLarge) as told:
        check_fit(config, part)
    text = str(told.value)
    needed, there, over = (
        int(number.replace(",", ""))
        for number in re.search(r"([\d,]+) LUT of ([\d,]+), \d+%, ([\d,]+) too many", text).groups()
    )
    assert needed == estimate(config).lut and there == part.lut and over == needed - there
    ways_out = re.findall(r"--set (\w+)=(\d+) \((\d+)%\)", text)
    assert ways_out
    for field, value, share in ways_out:  # each of them does what is said of it
        shares = check_fit(DriveConfig.preset("default", **{field: int(value)}), part)
        assert round(100 * max(shares.values())) == int(share)


def test_a_drive_that_no_one_field_makes_fit():
    part = dataclasses.replace(PARTS["XC7Z045"], lut=20_000)
    with pytest.raises(TooLarge, match="no one field alone makes it fit; smaller become"):
        check_fit(DriveConfig.preset("default"), part)
