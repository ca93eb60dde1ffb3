"""Reads that follow each other on a die: which commands are given, in which order, and when."""

import itertools

import numpy as np
import pytest

from flash_model.timing import cycles
from rtl.nand.operations import NandOp

READ, CACHE, END, COLUMN, PROGRAM = 0x30, 0x31, 0x3F, 0xE0, 0x10
CONFIRMS = (READ, CACHE, END, COLUMN, PROGRAM)


def fill(b, dies, rows):
    rng = np.random.default_rng(8)
    contents = {}
    for die, row in itertools.product(range(dies), rows):
        contents[die, row] = rng.integers(0, 256, b.profile.geometry.page_total, dtype=np.uint8)
        b.array.write_page(0, die, row, contents[die, row])
    return contents


def reads(pages, words=4, column=0):
    return [
        {"op": NandOp.READ, "die": die, "row": row, "words": words, "column": column}
        for die, row in pages
    ]


def confirms(b, die=None):
    return [
        (other, byte)
        for _, other, byte in b.rules.commands
        if byte in CONFIRMS and die in (None, other)
    ]


def expect(b, contents, ops):
    assert b.reads == [
        b.words(contents[op["die"], op["row"]])[op["column"] : op["column"] + op["words"]]
        for op in ops
    ]


@pytest.mark.parametrize("dies, t_r_ns", [(1, 2_000), (4, 8_000)])
def test_arrays_never_rest(bench, dies, t_r_ns):
    """Where they are the limit, a die's page takes tR, tRCBSY and tWB, whatever its data take."""
    b = bench(dies=dies, depth=4 * dies, timing={"t_r_ns": t_r_ns})
    g, t = b.profile.geometry, b.profile.timing
    contents = fill(b, dies, range(6))
    ops = reads([(die, row) for row in range(6) for die in range(dies)], g.page_words)
    b.run(ops)
    expect(b, contents, ops)
    for die in range(dies):
        assert confirms(b, die) == [(die, READ), *[(die, CACHE)] * 5, (die, END)]
    ends = b.read_times[g.page_words - 1 :: g.page_words]
    page = sum(cycles(ns, b.clock_hz) for ns in (t.t_r_ns, t.t_rcbsy_ns, t.t_wb_ns))
    steady = ends[dies : -2 * dies]  # the first round starts die after die, the last ends so
    assert {later - sooner for sooner, later in zip(steady, steady[dies:])} == {page}


def test_a_busy_die_does_not_hold_up_others(bench):
    """All dies sense at once, whatever the order of the reads; data keep it."""
    b = bench(dies=3, depth=12)
    contents = fill(b, 3, range(4))
    ops = reads([(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (1, 1)])
    b.run(ops)
    expect(b, contents, ops)
    order = confirms(b)
    assert set(order[:3]) == {(0, READ), (1, READ), (2, READ)}
    assert order.count((0, CACHE)) == 3 and order.count((1, CACHE)) == 1
    assert order.count((2, END)) == order.count((2, CACHE)) == 0


def test_a_shallow_queue_reads_without_caching(bench):
    """With room for one read there is never a next one in time."""
    b = bench(dies=2, depth=1)
    contents = fill(b, 2, range(3))
    ops = reads([(0, 0), (0, 1), (1, 2), (0, 2)])
    b.run(ops)
    expect(b, contents, ops)
    assert {byte for _, byte in confirms(b)} == {READ}


@pytest.mark.parametrize("column", [1, 33, 60])
def test_a_part_of_a_page_takes_as_long_as_any(bench, column):
    """The column goes out with the address: no command more than for a whole page."""
    times = []
    for start in (0, column):
        b = bench(dies=2)
        contents = fill(b, 2, [21])
        ops = reads([(1, 21)], 8, start)
        b.run(ops)
        expect(b, contents, ops)
        assert confirms(b) == [(1, READ)]
        times.append(b.read_times[-1] - b.op_times[0])
    assert times[0] == times[1]


def test_columns_of_pages_behind_are_set_in_time(bench):
    """31h and 3Fh show a page from its start: CHANGE READ COLUMN, but only where it is needed."""
    b = bench(dies=1)
    contents = fill(b, 1, range(4))
    ops = [op for row, column in enumerate((5, 0, 9, 30)) for op in reads([(0, row)], 4, column)]
    b.run(ops)
    expect(b, contents, ops)
    # The first page's column is lost to the cache read that comes before its data.
    order = [byte for _, byte in confirms(b)]
    assert order == [READ, CACHE, COLUMN, CACHE, CACHE, COLUMN, END, COLUMN]


def test_cache_reads_end_before_anything_else(bench):
    b = bench(dies=2)
    g = b.profile.geometry
    contents = fill(b, 2, range(4))
    before = reads([(0, 0), (0, 1), (0, 2)], g.page_words)
    program = {"op": NandOp.PROGRAM, "die": 0, "row": 40, "words": 1, "tag": 7}
    after = reads([(0, 3)], g.page_words)
    b.run([*before, program, *after], [0x0123456789ABCDEF])
    expect(b, contents, [*before, *after])
    assert [byte for _, byte in confirms(b)] == [READ, CACHE, CACHE, END, PROGRAM, READ]
    assert [(d.tag, d.status) for d in b.done] == [(7, 0xE0)]


def test_status_while_the_array_senses_behind_a_page(bench):
    """RDY without ARDY; the page comes all the same."""
    b = bench(dies=3)
    contents = fill(b, 2, range(3))
    ops = reads([(1, 0), (1, 1), (1, 2), (0, 0), (0, 1)])
    passing_time = [{"op": NandOp.RESET, "die": 2}] * 5
    b.run([*ops, *passing_time, {"op": NandOp.STATUS, "die": 0, "tag": 1}])
    expect(b, contents, ops)
    assert [d.status for d in b.done if d.tag == 1] == [0xC0]


@pytest.mark.parametrize("latency", [0, 6, 14])
def test_words_of_short_phases_come_back_to_their_reads(bench, latency):
    """Several data phases of a word or two are under way in the PHY at once."""
    b = bench(dies=4, depth=16, latency=latency)
    contents = fill(b, 4, range(4))
    pages = [(die, row) for row in range(4) for die in range(4)]
    ops = [op for n, page in enumerate(pages) for op in reads([page], 1 + n % 2)]
    b.run([*ops, {"op": NandOp.STATUS, "die": 2, "tag": 3}])
    expect(b, contents, ops)
    assert [(d.tag, d.die) for d in b.done] == [(3, 2)]


def test_turns_are_shared(bench):
    """Commands are given together: fewer turns of the bus than pages."""
    b = bench(dies=8, depth=16, timing={"t_r_ns": 6_000})
    g = b.profile.geometry
    contents = fill(b, 8, range(4))
    ops = reads([(die, row) for row in range(4) for die in range(8)], g.page_words)
    b.run(ops)
    expect(b, contents, ops)
    data = {0x00, 0x3F}  # first bytes of the commands of a read
    times = [clock for clock, _, byte in b.rules.commands if byte in data]
    turns = sum(later - sooner > 92 for sooner, later in itertools.pairwise(times))
    assert turns <= len(ops) / 2
