"""The channel lane against the page codec in numpy, and what it refuses."""

import dataclasses

import numpy as np
import pytest

from cosim.channel_lane import NEVER, ChannelLane
from flash_model.array import NandArray
from flash_model.faults import Faults
from rtl.pages.codec import encode_pages
from tests.cosim.small_channel import CODE, CONFIG, ERASE, GEOMETRY, PROGRAM, READ, WORDS, job_list

PAGES = [(die, row) for row in range(GEOMETRY.pages) for die in range(GEOMETRY.dies)]


@pytest.fixture(scope="module")
def lane():
    return ChannelLane(CONFIG)


def words(rng, count):
    return rng.integers(0, 1 << 64, (count, WORDS), np.uint64)


def program(lane, array, data, after=None):
    jobs = job_list([(PROGRAM, die, row, after) for die, row in PAGES[: len(data)]])
    return jobs, lane.run(jobs, data.copy(), array)[1]


def read(lane, array, places):
    jobs = job_list([(READ, die, row, None) for die, row in places])
    data = np.zeros((len(jobs), WORDS), np.uint64)
    return data, lane.run(jobs, data, array)[0]


@pytest.mark.parametrize("faults", [None, Faults(GEOMETRY)])  # C's array and Python's
def test_pages_are_those_of_the_codec(lane, faults):
    array, data = NandArray(GEOMETRY, faults=faults), words(np.random.default_rng(1), len(PAGES))
    jobs, clocks = program(lane, array, data)
    assert not jobs["failed"].any() and (jobs["done"] < clocks).all()
    for (die, row), page in zip(PAGES, data):
        wanted = encode_pages(CODE, [row], [bytes(8)], page.view(np.uint8)[None])[0]
        assert (array.page(0, die, row)[: len(wanted)] == wanted).all()
    got, errors = read(lane, array, PAGES)
    assert (got == data).all() and not errors.any()


def test_a_job_waits_for_another(lane):
    array = NandArray(GEOMETRY)
    first, _ = program(lane, array, words(np.random.default_rng(2), 6))
    assert (first["taken"][1:] < first["done"][:-1]).any()
    jobs = job_list([(ERASE, 0, 0, None), (PROGRAM, 0, 0, 0), (READ, 0, 0, 1), (READ, 1, 0, 2)])
    data = words(np.random.default_rng(3), 4)
    wanted = data[1].copy()
    errors, _ = lane.run(jobs, data, array)
    assert (jobs["taken"][1:] > jobs["done"][:-1]).all()
    assert (data[2] == wanted).all() and not errors[2:].any()


def test_nothing_passes_the_programs_ordered_before_it(lane):
    """Reads of pages, and the erase of their block, given while a die has many programs to come."""
    rows = range(GEOMETRY.pages)
    jobs = [(PROGRAM, die, row, None) for die in (0, 1) for row in rows]
    jobs += [(READ, 0, row, None) for row in reversed(rows)] + [(ERASE, 1, 0, None)]
    jobs = job_list(jobs)
    array, data = NandArray(GEOMETRY), words(np.random.default_rng(6), len(jobs))
    wanted = data[rows].copy()
    errors, _ = lane.run(jobs, data, array)
    first, last = jobs[2 * len(rows)], jobs[len(rows) - 1]
    assert first["op"] == READ and first["taken"] < last["done"] < first["done"]
    assert not errors.any() and not jobs["failed"].any()
    assert (data[2 * len(rows) : -1] == wanted[::-1]).all()
    assert array.buffers["operations"][0, 0] == len(rows)  # no page was read again
    assert all((array.page(0, 1, row) == 0xFF).all() for row in rows)


def test_a_run_that_is_cut_off(lane):
    array, data = NandArray(GEOMETRY), words(np.random.default_rng(4), len(PAGES))
    jobs = job_list([(PROGRAM, die, row, None) for die, row in PAGES])
    _, clocks = lane.run(jobs, data, array, limit=5000, complete=False)
    assert clocks == 5000
    done = jobs["done"] != NEVER
    assert done.any() and not done.all() and (jobs["done"][done] < 5000).all()
    with pytest.raises(TimeoutError, match=r"of 32 jobs are not done after 5000 clocks"):
        lane.run(jobs, data, NandArray(GEOMETRY), limit=5000)


def test_failures_are_told(lane):
    array = NandArray(GEOMETRY, faults=Faults(GEOMETRY, weak_pages={(0, 1, 0): 0}))
    jobs, _ = program(lane, array, words(np.random.default_rng(5), 4))
    assert jobs["failed"].tolist() == [0, 1, 0, 0]
    _, errors = read(lane, array, [(0, 0), (0, 5)])
    assert not errors[0].any() and errors[1].any()  # the second is erased


def test_what_the_array_raises_is_raised(lane):
    class Broken(NandArray):
        def serve(self, *_, **__):
            raise ZeroDivisionError("told through C")

    with pytest.raises(ZeroDivisionError, match="told through C"):
        read(lane, Broken(GEOMETRY, faults=Faults(GEOMETRY)), [(0, 0)])


def test_other_arrays_and_data_are_refused(lane):
    other = NandArray(dataclasses.replace(GEOMETRY, dies=2))
    with pytest.raises(ValueError, match="is not one of"):
        read(lane, other, [(0, 0)])
    with pytest.raises(ValueError, match=r"give uint64 \[1, 128\]"):
        lane.run(job_list([(READ, 0, 0, None)]), np.zeros((1, 5), np.uint64), NandArray(GEOMETRY))
