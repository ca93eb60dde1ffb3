"""Several READs of one page: it is sensed once, the column is changed, other dies fill tCCS."""

import itertools
import random

import numpy as np
import pytest

from flash_model.timing import cycles
from rtl.nand.operations import NandOp

READ, CACHE, END, COLUMN = 0x30, 0x31, 0x3F, 0xE0


def fill(b, dies, rows):
    rng = np.random.default_rng(3)
    contents = {}
    for die, row in itertools.product(range(dies), range(rows)):
        contents[die, row] = rng.integers(0, 256, b.profile.geometry.page_total, dtype=np.uint8)
        b.array.write_page(0, die, row, contents[die, row])
    return contents


def read(die, row, column, words=4):
    return {"op": NandOp.READ, "die": die, "row": row, "column": column, "words": words}


def expect(b, contents, ops):
    assert b.reads == [
        b.words(contents[op["die"], op["row"]])[op["column"] : op["column"] + op["words"]]
        for op in ops
        if op["op"] == NandOp.READ
    ]


def confirms(b):
    return [byte for _, _, byte in b.rules.commands if byte in (READ, CACHE, END, COLUMN)]


def senses(b):
    return confirms(b).count(READ) + confirms(b).count(CACHE)


@pytest.mark.parametrize("columns", [(8, 40), (0, 0, 12), (60, 3, 5, 0)])
def test_one_page_is_sensed_once(bench, columns):
    """Whatever columns are read, back to column 0 and the same again among them."""
    b = bench()
    contents = fill(b, 1, 2)
    ops = [read(0, 1, column) for column in columns]
    b.run(ops)
    expect(b, contents, ops)
    assert senses(b) == 1 and b.pulses["page_read"] == len(columns)
    assert confirms(b) == [READ] + [COLUMN] * (len(columns) - 1)


def test_the_next_page_is_sensed_meanwhile(bench):
    """31h puts the output back to column 0: each read of the page in front changes the column."""
    b = bench(dies=1)
    contents = fill(b, 1, 3)
    ops = [read(0, row, column) for row in range(3) for column in (0, 20, 0)]
    b.run(ops)
    expect(b, contents, ops)
    assert senses(b) == 3
    assert [byte for byte in confirms(b) if byte != COLUMN] == [READ, CACHE, CACHE, END]
    assert confirms(b).count(COLUMN) == 6


def test_another_row_between_them_is_another_sensing(bench):
    b = bench()
    contents = fill(b, 1, 2)
    ops = [read(0, row, 4) for row in (0, 1, 0)]
    b.run(ops)
    expect(b, contents, ops)
    assert senses(b) == 3


def test_a_page_is_sensed_again_after_a_program(bench):
    """The second READ of the row sees what was programmed between them."""
    b = bench(dies=1)
    old = fill(b, 1, 1)[0, 0]
    program = {"op": NandOp.PROGRAM, "die": 0, "row": 0, "column": 0, "words": 4}
    b.run([read(0, 0, 0), program, read(0, 0, 0)], [0] * 4)
    assert b.reads == [b.words(old)[:4], [0] * 4]
    assert senses(b) == 2


@pytest.mark.parametrize("depth", [1, 2, 16])
def test_random_parts_of_few_pages(bench, depth):
    """With all that may come between: other dies, statuses, and too short a queue."""
    dies, rows, rng = 3, 2, random.Random(depth)
    b = bench(dies=dies, depth=depth, stalls=0.2)
    contents = fill(b, dies, rows)
    words = b.profile.geometry.page_words
    ops = []
    for _ in range(60):
        column = rng.randrange(words - 8)
        ops.append(read(rng.randrange(dies), rng.randrange(rows), column, rng.randint(1, 8)))
        if rng.random() < 0.1:
            ops.append({"op": NandOp.STATUS, "die": rng.randrange(dies)})
    b.run(ops)
    expect(b, contents, ops)
    reads = [op for op in ops if op["op"] == NandOp.READ]
    assert (senses(b) < len(reads)) == (depth > 1)


def test_other_dies_fill_tccs(bench):
    """Steady gaps between data: preambles, and now and then tRHW with commands; never a tCCS."""
    dies, parts, words = 4, 8, 30
    timing = {"t_ccs_ns": 300, "t_wc_ns": 20, "t_r_ns": 500, "t_rcbsy_ns": 20}
    b = bench(dies=dies, depth=2 * dies * parts, timing=timing, geometry={"page_bytes": 2048})
    t, clocks = b.profile.timing, lambda ns: cycles(ns, b.clock_hz)
    ops = [
        read(die, row, part * words, words)
        for row in range(4)
        for part in range(parts)
        for die in range(dies)
    ]
    b.run(ops)
    assert senses(b) == 4 * dies
    data = t.data_cycles(words, b.clock_hz)
    ends = b.read_times[words - 1 :: words]
    gaps = [late - early - data for early, late in itertools.pairwise(ends)]
    page = dies * parts  # the next pages' 31h come at its ends, and early in the first one
    inner = [gap for n, gap in enumerate(gaps) if n > page and dies < n % page < page - dies]
    column, preamble = 4 * clocks(t.t_wc_ns), clocks(t.t_preamble_ns)
    batches = {preamble + clocks(t.t_rhw_ns) + n * column for n in range(1, dies + 1)}
    assert set(inner) <= {preamble, *batches}
    assert sum(inner) <= len(inner) * (preamble + column + clocks(t.t_rhw_ns) / 2)
