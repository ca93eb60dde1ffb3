"""The drive loses its power while it appends: what is left in its flash."""

import random

import numpy as np
import pytest

from flash_model.bit_errors import BitErrorRate
from flash_model.faults import Faults
from flash_model.power_cut import PageState
from host import KvDrive
from host.packing import pack_append
from rtl.commands import Opcode

DIM = 64


def quiet_faults(geometry):
    """None at all; but the array's page operations are Python's."""
    return Faults(geometry, rate=BitErrorRate(erases=1, fresh=0, worn=0, kept=0, disturbed=0))


@pytest.mark.parametrize("clocks", random.Random(8).sample(range(1500, 6000), 5))
def test_a_power_cut_while_pages_are_programmed(tiny, rng, clocks):
    tokens = 24 * tiny.group_tokens(DIM)
    k, v = rng.standard_normal((2, tokens, 1, DIM)).astype(np.float16)
    left = []
    for faults in (None, quiet_faults(tiny.flash.geometry)):
        with KvDrive(tiny, faults=faults) as drive:
            number = drive.open(layers=1, kv_heads=1, head_dim=DIM)
            backend = drive.backend
            backend.driver.submit(
                Opcode.APPEND, data=pack_append(k, v), sequence=number, layer=0, tokens=tokens
            )
            backend.lane.idle(clocks)
            found = backend.lane.power_cut(seed=clocks)
            left.append((found, backend.lane.array))
            assert backend.lane.cycle == 0 and not backend.lane.dram.any()
    (found, array), (again, other) = left
    # With C's array and with Python's.
    assert found and found == again
    assert all(np.array_equal(array.buffers[name], other.buffers[name]) for name in array.buffers)
    written = {
        x[start : start + tiny.group_tokens(DIM)].tobytes()
        for x in (k, v)
        for start in range(0, tokens, tiny.group_tokens(DIM))
    }
    states = array.buffers["programmed"]
    for page in np.flatnonzero(states == PageState.PROGRAMMED):
        assert (~array.buffers["cells"][page, :512]).tobytes() in written
    partly = np.flatnonzero(states == PageState.PARTLY_PROGRAMMED)
    assert len(partly) == sum(0 < entry.share for entry in found)
    for page in partly:
        cells = array.buffers["cells"][page, :512]
        assert cells.any() and (~cells).tobytes() not in written
        assert any((cells & np.frombuffer(x, np.uint8) == 0).all() for x in written)
