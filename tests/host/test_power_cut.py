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
from rtl.pages.codec import decode_pages, encode_pages
from rtl.tables import PAGE_META

DIM = 64


def encoded(config, row, data, **place):
    """A page as the drive programs it: the first sequence that it opened."""
    meta = PAGE_META.pack(segment=1, index=0, **place)
    user = np.frombuffer(data, np.uint8)[None]
    return encode_pages(config.code, [row], [meta], user)[0]


def decoded(config, row, page):
    """User bytes of a page, and the bits that were corrected, -1: it is no codeword."""
    data, _, corrected = decode_pages(config.code, [row], page[None, : 8 * config.code.words])
    return data.tobytes(), corrected.item()


def quiet_faults(geometry):
    """None at all; but the array's page operations are Python's."""
    return Faults(geometry, rate=BitErrorRate(erases=1, fresh=0, worn=0, kept=0, disturbed=0))


@pytest.mark.parametrize("clocks", random.Random(8).sample(range(1500, 6000), 5))
def test_a_power_cut_while_pages_are_programmed(tiny, rng, clocks):
    group = tiny.group_tokens(DIM)
    tokens = 24 * group
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
        (kind, start // group): x[start : start + group].tobytes()
        for kind, x in enumerate((k, v))
        for start in range(0, tokens, group)
    }
    states, rows = array.buffers["programmed"], tiny.flash.geometry.rows
    g = tiny.flash.geometry
    table = (g.blocks - 1) * g.pages  # rows from there on hold the bad-block table
    for page in np.flatnonzero(states == PageState.PROGRAMMED):
        if page % rows >= table:
            continue
        data, corrected = decoded(tiny, page % rows, ~array.buffers["cells"][page])
        assert data in written.values() and corrected == 0
    partly = np.flatnonzero(states == PageState.PARTLY_PROGRAMMED)
    assert len(partly) == sum(0 < entry.share for entry in found)
    for page in partly:
        cells = array.buffers["cells"][page]
        whole = [
            encoded(tiny, page % rows, data, kind=kind, group=place)
            for (kind, place), data in written.items()
        ]
        assert cells.any() and decoded(tiny, page % rows, ~cells)[1] != 0
        assert any((cells & x == 0).all() for x in whole)
