"""The array against a dictionary of bytes."""

import random
import time

import numpy as np
import pytest

from flash_model.array import NandArray
from flash_model.array_port import ArrayOp
from flash_model.geometry import Geometry
from flash_model.profiles import profile

SMALL = Geometry(channels=2, dies=3, planes=1, blocks=3, pages=4, page_bytes=64, spare_bytes=8)


@pytest.mark.parametrize("seed", range(3))
def test_random_operations_match_a_dictionary(seed):
    rng = random.Random(seed)
    g = SMALL
    array = NandArray(g)
    erased = bytes([0xFF]) * g.page_total
    cells, erases, reads = {}, {}, {}
    registers = {(c, d): erased for c in range(g.channels) for d in range(g.dies)}
    behind = dict(registers)
    for _ in range(600):
        where = c, d = rng.randrange(g.channels), rng.randrange(g.dies)
        row = rng.randrange(g.rows)
        block = (*where, row // g.pages)
        op = rng.choice(
            ["load", "read", "cache", "end", "program", "program", "erase", "clear", "back door"]
        )
        if op == "load":
            registers[where] = rng.randbytes(g.page_total)
            array.register(c, d)[:] = np.frombuffer(registers[where], np.uint8)
        elif op == "read":
            registers[where] = behind[where] = cells.get((*where, row), erased)
            reads[block] = reads.get(block, 0) + 1
            array.serve(ArrayOp.READ, c, d, row)
        elif op == "cache":
            registers[where], behind[where] = behind[where], cells.get((*where, row), erased)
            reads[block] = reads.get(block, 0) + 1
            array.serve(ArrayOp.READ_CACHE, c, d, row)
        elif op == "end":
            registers[where] = behind[where]
            array.serve(ArrayOp.READ_CACHE_END, c, d, row)
        elif op == "program":
            old = cells.get((*where, row), erased)
            cells[(*where, row)] = bytes(a & b for a, b in zip(old, registers[where]))
            array.serve(ArrayOp.PROGRAM, c, d, row)
        elif op == "erase":
            for page in range(g.pages):
                cells.pop((*where, block[2] * g.pages + page), None)
            erases[block] = erases.get(block, 0) + 1
            reads.pop(block, None)
            array.serve(ArrayOp.ERASE, c, d, row)
        elif op == "clear":
            registers[where] = erased
            array.serve(ArrayOp.CLEAR, c, d, row)
        else:
            data = rng.randbytes(rng.randrange(1, g.page_total + 1))
            cells[(*where, row)] = data + erased[len(data) :]
            array.write_page(c, d, row, data)
        assert array.register(c, d).tobytes() == registers[where]
        assert array.data_register(c, d).tobytes() == behind[where]
    for c in range(g.channels):
        for d in range(g.dies):
            for row in range(g.rows):
                assert array.page(c, d, row).tobytes() == cells.get((c, d, row), erased)
                assert array.is_programmed(c, d, row) == ((c, d, row) in cells)
            for block in range(g.blocks):
                at = (c * g.dies + d) * g.blocks + block
                assert array.buffers["erase_counts"][at] == erases.get((c, d, block), 0)
                assert array.buffers["read_counts"][at] == reads.get((c, d, block), 0)


def test_buffers_have_the_documented_layout():
    g = SMALL
    array = NandArray(g)
    array.write_page(1, 2, 7, bytes(range(g.page_total)))
    at = (1 * g.dies + 2) * g.rows + 7
    assert array.stride == g.page_total
    assert (array.buffers["cells"][at] == ~np.arange(g.page_total, dtype=np.uint8)).all()
    assert np.flatnonzero(array.buffers["programmed"]).tolist() == [at]
    assert all(b.flags.c_contiguous and b.flags.writeable for b in array.buffers.values())


def test_a_large_drive_costs_only_what_is_written():
    started = time.monotonic()
    g = profile("paper").geometry
    array = NandArray(g)
    assert array.buffers["cells"].nbytes > 128 << 30
    array.write_page(7, 15, g.rows - 1, b"end")
    array.erase(0, 0, 0)
    assert array.page(7, 15, g.rows - 1)[:4].tobytes() == b"end\xff"
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda a: a.page(2, 0, 0), "channel = 2.*0..1"),
        (lambda a: a.page(0, 3, 0), "die = 3.*0..2"),
        (lambda a: a.read(0, 0, 12), "row = 12.*0..11"),
        (lambda a: a.write_page(0, 0, 0, bytes(73)), "73 bytes.*72"),
    ],
)
def test_addresses_outside_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(NandArray(SMALL))
