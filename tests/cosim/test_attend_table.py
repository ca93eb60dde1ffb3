"""Over a table of shapes and values, for 1 to 8 channels, the gateware equals the twin bit for bit.

The whole drive is simulated (pages sensed, tail from DRAM, merge over channels); the stored tokens
go in through the back door. All pairs of values are covered here, the full cross under ``-m soak``.
"""

import numpy as np
import pytest

from host import DriveConfig, KvDrive
from tests.cosim.attend_cases import AXES, full_cross, pairwise, tensors

SEED = 20


def check(drive, twin, case, seed):
    q, k, v = tensors(case, seed)
    results = []
    for device in (drive, twin):
        sequence = device.open(
            layers=1, kv_heads=1, head_dim=case["head_dim"], max_tokens=case["tokens"]
        )
        device.preload(sequence, 0, k, v)
        results.append(device.attend(sequence, 0, q).view(np.uint16))
        device.close(sequence)
    assert np.array_equal(*results), f"{case}, seed {seed}"
    assert drive.last_flags == twin.last_flags


@pytest.fixture(scope="module", params=AXES["channels"])
def devices(request):
    config = DriveConfig.preset("default", channels=request.param)
    with KvDrive(config, backend="rtl") as drive, KvDrive(config, backend="twin") as twin:
        yield drive, twin


def of_channels(cases, drive):
    return [
        (seed, case)
        for seed, case in enumerate(cases, SEED)
        if case["channels"] == drive.config.channels
    ]


def test_pairs_are_covered():
    cases = pairwise()
    for a in AXES:
        for b in AXES:
            if a < b:
                seen = {(case[a], case[b]) for case in cases}
                assert len(seen) == len(AXES[a]) * len(AXES[b])
    assert len(cases) < 80


def test_pairwise(devices):
    cases = of_channels(pairwise(), devices[0])
    assert cases
    for seed, case in cases:
        check(*devices, case, seed)


@pytest.mark.soak
def test_full_cross(devices):
    for seed, case in of_channels(full_cross(), devices[0]):
        check(*devices, case, seed)
