"""Contents in a file: what is kept, what it costs, which files are refused."""

import dataclasses
import os

import numpy as np
import pytest

from flash_model.array import NandArray
from flash_model.geometry import Geometry
from flash_model.profiles import profile

SMALL = Geometry(channels=2, dies=3, planes=1, blocks=3, pages=4, page_bytes=64, spare_bytes=8)


def test_contents_and_wear_are_there_again(tmp_path):
    path = tmp_path / "drive"
    rng = np.random.default_rng(1)
    plain, filed = NandArray(SMALL), NandArray(SMALL, file=path)
    for _ in range(300):
        where = int(rng.integers(2)), int(rng.integers(3)), int(rng.integers(SMALL.rows))
        op, data = int(rng.integers(3)), rng.bytes(72)
        for array in (plain, filed):
            array.register(*where[:2])[:] = np.frombuffer(data, np.uint8)
            array.serve(op, *where)
    filed.flush()
    del filed, array
    again = NandArray(SMALL, file=path)
    for name in ("cells", "programmed", "erase_counts", "read_counts"):
        assert np.array_equal(again.buffers[name], plain.buffers[name]), name
        assert again.buffers[name].flags.writeable and again.buffers[name].any()
    for name in ("registers", "data_registers"):  # power was off
        assert (again.buffers[name] == 0xFF).all()
    assert not again.buffers["operations"].any()


def test_the_file_says_what_it_is(tmp_path):
    path = tmp_path / "drive"
    array = NandArray(SMALL, file=path)
    array.write_page(1, 2, 11, bytes(range(72)))
    array.flush()
    raw = path.read_bytes()
    assert raw.startswith(b"InstInfer NAND array 1\n") and b'"pages": 4' in raw[:4096]
    last = 4096 + (2 * 3 * 12 - 1) * 72  # cells are the first section, the page is the last
    assert raw[last : last + 72] == bytes(255 - byte for byte in range(72))


def test_a_drive_larger_than_memory_costs_what_is_written(tmp_path):
    g = dataclasses.replace(profile("tlc_onfi5").geometry, channels=16)
    assert g.capacity > 4 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    path = tmp_path / "drive"
    array = NandArray(g, file=path)
    places = [(0, 0, 0), (15, 15, g.rows - 1), (8, 3, 12345)]
    for seed, place in enumerate(places):
        array.write_page(*place, np.random.default_rng(seed).bytes(g.page_total))
    array.flush()
    assert path.stat().st_size > g.capacity
    assert path.stat().st_blocks * 512 < 1 << 20
    del array
    again = NandArray(g, file=path)
    for seed, place in enumerate(places):
        expected = np.random.default_rng(seed).bytes(g.page_total)
        assert again.page(*place).tobytes() == expected
    again.read(8, 3, 12345)
    again.erase(8, 3, 12345)
    assert (again.page(8, 3, 12345) == 0xFF).all()


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "drive"
    NandArray(SMALL, file=path)
    size = path.stat().st_size
    with pytest.raises(ValueError, match=r"'blocks': 3.*'blocks': 5.*choose another file"):
        NandArray(dataclasses.replace(SMALL, blocks=5), file=path)
    assert path.stat().st_size == size
    with open(path, "r+b") as file:
        file.truncate(size - 4096)
    with pytest.raises(ValueError, match=f"cut off: {size} bytes"):
        NandArray(SMALL, file=path)
    letter = tmp_path / "letter"
    letter.write_text("Dear reader")
    with pytest.raises(ValueError, match="letter is no NAND array"):
        NandArray(SMALL, file=letter)
    assert letter.read_text() == "Dear reader"
    with pytest.raises(FileNotFoundError):
        NandArray(SMALL, file=tmp_path / "nowhere" / "drive")
