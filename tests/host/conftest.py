"""Drives for the host's tests: every backend, and the gateware's also on `fake_lane.FakeLane`."""

import sys
from pathlib import Path

import numpy as np
import pytest

from host import DriveConfig, KvDrive

sys.path.insert(0, str(Path(__file__).parent))  # fake_lane and the tests' other helpers

from sparse_pair import PAPER, TINY, Pair  # noqa: E402

SEED = 20250722


def make_drive(backend, config):
    """A drive on the given backend; "fake" is driver and firmware on a behavioural lane."""
    if backend == "fake":
        from fake_lane import FakeLane

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


@pytest.fixture(scope="module")
def tiny_drives():
    pairs = [Pair(TINY)]
    yield pairs
    pairs[0].shutdown()


@pytest.fixture(scope="module", params=PAPER, ids=lambda codeword: f"codewords of {codeword}")
def paper_drives(request):
    pair = Pair(PAPER[request.param])
    yield pair
    pair.shutdown()


@pytest.fixture
def paper_pair(paper_drives):
    yield paper_drives
    paper_drives.close()


@pytest.fixture
def tiny_pair(tiny_drives):
    """A new one once it was filled: what the back door filled comes back late."""
    if tiny_drives[0].filled > 2000:
        tiny_drives.pop().shutdown()
        tiny_drives.append(Pair(TINY))
    yield tiny_drives[0]
    tiny_drives[0].close()
