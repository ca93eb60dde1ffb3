"""Faults of the flash, as they come through the drive."""

import dataclasses

import numpy as np
import pytest

from flash_model.array import NandArray
from flash_model.array_port import ArrayOp
from flash_model.bit_errors import BitErrorRate
from flash_model.faults import Faults
from host import KvDrive
from host.errors import DriveValueError

LAYERS, HEADS, DIM = 2, 2, 64


def some_faults(geometry):
    return Faults(geometry, seed=7, rate=BitErrorRate(erases=1, fresh=2e-3, worn=0, disturbed=0))


def read_again(array, page):
    """The page of the drive's array that holds ``page``, read from one of Python's own."""
    g = array.geometry
    cells = array.buffers["cells"][:, : len(page)]
    (at,) = np.flatnonzero((cells == ~page).all(axis=1))
    other = NandArray(g, faults=some_faults(g))
    for name in ("cells", "programmed", "erase_counts"):
        other.buffers[name][:] = array.buffers[name]
    unit, row = divmod(int(at), g.rows)
    other.serve(ArrayOp.READ, *divmod(unit, g.dies), row)
    return other.register(*divmod(unit, g.dies))[: len(page)]


def test_a_read_has_the_wrong_bits_that_the_python_array_gives(tiny, rng):
    group = tiny.group_tokens(DIM)
    shape = (5 * group, HEADS, DIM)
    with KvDrive(tiny, faults=some_faults(tiny.flash.geometry)) as drive:
        number = drive.open(layers=LAYERS, kv_heads=HEADS, head_dim=DIM)
        wrong = 0
        for layer in range(LAYERS):
            k, v = rng.standard_normal((2, *shape)).astype(np.float16)
            drive.append(number, layer, k, v)
            read = drive.read(number, layer, 0, shape[0])
            again = drive.read(number, layer, 0, shape[0])
            assert [x.tobytes() for x in read] == [x.tobytes() for x in again]  # NaN too
            for written, got in zip((k, v), read, strict=True):
                for head in range(HEADS):
                    for start in range(0, shape[0], group):
                        page, back = (
                            x[start : start + group, head].reshape(-1).view(np.uint8)
                            for x in (written, got)
                        )
                        assert np.array_equal(back, read_again(drive.backend.lane.array, page))
                        wrong += np.bitwise_count(page ^ back).sum()
    bits = LAYERS * 2 * 8 * shape[0] * HEADS * DIM * 2
    assert abs(wrong - 2e-3 * bits) < 5 * (2e-3 * bits) ** 0.5


def test_a_rate_of_zero_leaves_everything_as_it_was(tiny, rng):
    faults = Faults(tiny.flash.geometry, rate=BitErrorRate(erases=1, fresh=0, worn=0, disturbed=0))
    with KvDrive(tiny, faults=faults) as drive:
        number = drive.open(layers=1, kv_heads=1, head_dim=DIM)
        k, v = rng.standard_normal((2, 40, 1, DIM)).astype(np.float16)
        drive.append(number, 0, k, v)
        assert all(map(np.array_equal, drive.read(number, 0), (k, v)))


@pytest.mark.parametrize("backend", ["twin", "golden"])
def test_backends_without_cells_refuse_faults(tiny, backend):
    message = f"backend '{backend}' keeps K and V in numpy arrays that cannot fail: use backend"
    with pytest.raises(DriveValueError, match=message):
        KvDrive(tiny, backend=backend, faults=some_faults(tiny.flash.geometry))


def test_faults_of_another_geometry_or_beside_a_lane_are_refused(tiny):
    other = dataclasses.replace(tiny.flash.geometry, spare_bytes=0)
    with pytest.raises(DriveValueError, match="make them with config.flash.geometry"):
        KvDrive(tiny, faults=some_faults(other))
    with pytest.raises(DriveValueError, match="give them to the array"):
        KvDrive(tiny, faults=some_faults(tiny.flash.geometry), lane=object())
