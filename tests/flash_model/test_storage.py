"""Contents in a file: what is kept, what it costs, which files are refused."""

import dataclasses
import os

import numpy as np
import pytest

from flash_model.array import NandArray
from flash_model.array_port import ArrayOp
from flash_model.bit_errors import BitErrorRate
from flash_model.faults import Faults
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
    for name in (
        "cells",
        "programmed",
        "erase_counts",
        "read_counts",
        "page_programs",
        "page_reads",
    ):
        assert np.array_equal(again.buffers[name], plain.buffers[name]), name
        assert again.buffers[name].flags.writeable and again.buffers[name].any()
    for name in ("registers", "data_registers"):  # power was off
        assert (again.buffers[name] == 0xFF).all()
    assert not again.buffers["operations"].any()


def test_faults_and_ages_go_on_where_they_were(tmp_path):
    """A drive reopened after each few operations has the history of one that never was."""

    def faults():
        return Faults(
            SMALL,
            seed=2,
            weak_blocks={(0, 0, 0): 2, (1, 2, 1): 4},
            weak_pages={(1, die, row): 2 for die in range(3) for row in range(4)},
            grave_pages={(0, die, row): 3 for die in range(3) for row in range(6)},
            rate=BitErrorRate(erases=10, fresh=1e-3, worn=1e-2, kept=0.1, disturbed=0.1),
        )

    path = tmp_path / "drive"
    rng = np.random.default_rng(3)
    plain, filed = NandArray(SMALL, faults=faults()), NandArray(SMALL, faults=faults(), file=path)
    failures = wrong = 0
    for number in range(600):
        where = int(rng.integers(2)), int(rng.integers(3)), int(rng.integers(SMALL.rows))
        op, data = int(rng.integers(3)), rng.bytes(72)
        told = []
        for array in (plain, filed):
            array.now_s = number * 20_000.0
            if op == ArrayOp.PROGRAM.value:
                array.register(*where[:2])[:] = np.frombuffer(data, np.uint8)
            failed = array.serve(op, *where)
            told.append((failed, op == 0 and array.register(*where[:2]).tobytes()))
        assert told[0] == told[1]
        failures += told[0][0]
        wrong += op == 0 and told[0][1] != plain.page(*where).tobytes()
        if number % 7 == 0:
            filed.flush()
            filed = NandArray(SMALL, faults=faults(), file=path)
            assert filed.now_s == plain.now_s
    assert failures > 10 and wrong > 10
    with pytest.raises(ValueError, match="now_s = 1.*already"):
        filed.now_s = 1.0


def test_the_file_says_what_it_is(tmp_path):
    path = tmp_path / "drive"
    array = NandArray(SMALL, file=path)
    array.write_page(1, 2, 11, bytes(range(72)))
    array.flush()
    raw = path.read_bytes()
    assert raw.startswith(b"InstInfer NAND array 2\n") and b'"pages": 4' in raw[:4096]
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
