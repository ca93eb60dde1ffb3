"""A drive of which dies do not answer: its start says which, and what to look at."""

import pytest

from cosim.device import simulated_drive
from host import DriveConfig, DriveError, KvDrive, Status
from host.firmware.dies import reset_dies
from rtl.registers import REGISTERS
from tests.host.missing_die import MissingDie

SILENT = {"tells": 1, "answers": 0, "usable": 0, "offset": 9, "first": 0, "width": 0}


def test_a_drive_without_a_die_says_which():
    config = DriveConfig.preset("tiny")
    with simulated_drive(config, top=MissingDie(config, 1, 0)) as lane:
        with pytest.raises(
            DriveError, match="die 0 of channel 1 .its R/B_n did not follow"
        ) as told:
            KvDrive(config, backend="rtl", lane=lane)
    assert told.value.status == Status.INTERNAL_ERROR
    assert "channel 0" not in str(told.value)


class Board:
    """Device of which some dies do not answer, with what PHYs tell of them."""

    def __init__(self, found):
        self.found, self.asked = found, []

    def flash(self, operation, channel, die, pause):
        self.asked.append((channel, die))
        return (channel, die) not in self.found

    def phy_state(self, channel, die):
        return self.found[channel, die]


@pytest.mark.parametrize(
    "state, said",
    [
        ({"tells": 0}, ""),
        ({"usable": 1}, ""),
        ({}, r" \(its R/B_n did not follow the PHY's own reset\)"),
        ({"answers": 1}, r" \(the PHY reset it and read no ID at any time\)"),
        (
            {"answers": 1, "first": 20, "width": 2},
            r" \(its ID is right at 20 half clocks, 2 of them, but its channel's data are taken "
            r"at 9\)",
        ),
    ],
)
def test_what_is_said_of_a_die(state, said):
    geometry = DriveConfig.preset("tiny").flash.geometry
    assert SILENT.keys() == {field.name for field in REGISTERS["PHY_STATE"].fields}
    board = Board({(0, 1): SILENT | state})
    with pytest.raises(DriveError, match=f"die 1 of channel 0{said} does not answer a reset"):
        reset_dies(board, geometry, 1)
    assert sorted(board.asked) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_all_dies_that_are_missing_are_named():
    geometry = DriveConfig.preset("tiny").flash.geometry
    board = Board(dict.fromkeys([(0, 1), (1, 0)], SILENT | {"tells": 0}))
    with pytest.raises(DriveError, match="die 0 of channel 1, die 1 of channel 0 do not answer"):
        reset_dies(board, geometry, 1)
    reset_dies(Board({}), geometry, 1)
