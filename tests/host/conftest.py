"""Drives for the host's tests: every backend, and the gateware's also on `fake_drive`."""

import numpy as np
import pytest

from host import DriveConfig, KvDrive

SEED = 20250722


def make_drive(backend, config):
    """A drive on the given backend; "fake" is driver and firmware on a behavioural lane."""
    if backend == "fake":
        from tests.host.fake_drive.lane import FakeLane

        return KvDrive(config, backend="rtl", lane=FakeLane(config))
    return KvDrive(config, backend=backend)


@pytest.fixture
def rng():
    print(f"seed {SEED}")
    return np.random.default_rng(SEED)


@pytest.fixture
def tiny():
    return DriveConfig.preset("tiny")


@pytest.fixture(params=["golden", "twin", "fake", "rtl"])
def drive(request, tiny):
    with make_drive(request.param, tiny) as drive:
        yield drive


@pytest.fixture
def normal(rng):
    """Function: random float16 array of a shape."""
    return lambda *shape: rng.standard_normal(shape).astype(np.float16)
