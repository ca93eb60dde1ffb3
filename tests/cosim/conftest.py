"""Fixtures of the simulation tests: one toy design, built once and kept in the cache."""

import dataclasses

import pytest

from cosim.native_lane import NativeLane
from flash_model.array import NandArray
from rtl.config import DriveConfig
from tests.cosim.toy import ToyTop


@pytest.fixture(scope="session")
def toy_top():
    """The toy of two channels and two dies, converted once."""
    return ToyTop(channels=2, dies=2)


@pytest.fixture
def toy_lane(toy_top):
    """Factory of native lanes around `ToyTop` with two channels of two dies."""
    lanes = []

    def make(faults=None, planes=1, **options):
        config = DriveConfig.preset("tiny")
        geometry = dataclasses.replace(config.flash.geometry, planes=planes)
        lane = NativeLane(
            config,
            NandArray(geometry, faults=faults and faults(geometry)),
            top=toy_top,
            **{"host_bytes": 65536, "dram_bytes": 65536} | options,
        )
        lanes.append(lane)
        return lane

    yield make
    for lane in lanes:
        lane.close()
