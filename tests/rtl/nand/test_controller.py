"""Channel controller with dies and array, against the array's contents and closed forms of time."""

import numpy as np
import pytest

from flash_model.faults import Faults
from flash_model.onfi import JEDEC_ID
from flash_model.timing import cycles
from rtl.nand.controller import READ_RING
from rtl.nand.operations import Activity, NandOp

OVERHEAD = 8
"""Clocks from accepting a READ to its last word that no time of the part explains: four to queue
it, to pick its die, to load its sequence and its first step, three to see that its page is there
and to load sequence and step of its data, one each through PHY and ring, minus the clock of
acceptance itself."""


def fill(bench, rng, pages):
    """Random contents, through the back door; returns them by page."""
    g = bench.profile.geometry
    contents = {}
    for die, row in pages:
        contents[die, row] = rng.integers(0, 256, g.page_total, dtype=np.uint8).tobytes()
        bench.array.write_page(0, die, row, contents[die, row])
    return contents


@pytest.mark.parametrize("clock_hz", [100_000_000, 250_000_000, 285_000_000])
def test_single_read_takes_the_closed_form(bench, clock_hz):
    b = bench(clock_hz=clock_hz)
    g, t = b.profile.geometry, b.profile.timing
    contents = fill(b, np.random.default_rng(1), [(1, 37)])
    b.run([{"op": NandOp.READ, "die": 1, "row": 37, "words": g.page_words}])
    assert b.reads == [b.words(contents[1, 37])]

    def clocks(ns):
        return cycles(ns, clock_hz)

    command = 7 * clocks(t.t_wc_ns)  # 00h, five addresses, 30h
    array = clocks(t.t_wb_ns) + clocks(t.t_r_ns) + clocks(t.t_rr_ns)
    data = clocks(t.t_rpre_ns + t.t_dqsre_ns) + t.data_cycles(g.page_words, clock_hz)
    assert b.read_times[-1] - b.op_times[0] == command + array + data + OVERHEAD
    assert b.activity[Activity.DATA] == t.data_cycles(g.page_words, clock_hz)
    assert b.pulses == {"page_read": 1, "page_programmed": 0, "block_erased": 0}


@pytest.mark.parametrize("stalls", [0.0, 0.4])
def test_program_read_erase(bench, stalls):
    rng = np.random.default_rng(7)
    b = bench(dies=3, stalls=stalls, seed=3, skip=True)
    g = b.profile.geometry
    pages = [(die, row) for row in (16, 17, 40) for die in range(3)]
    data = {page: rng.integers(0, 256, g.page_total, dtype=np.uint8).tobytes() for page in pages}
    ops = [
        {"op": NandOp.PROGRAM, "die": die, "row": row, "words": g.page_words, "tag": 10 + n}
        for n, (die, row) in enumerate(pages)
    ]
    b.run(ops, [w for page in pages for w in b.words(data[page])])
    assert sorted(d.tag for d in b.done) == list(range(10, 19))
    assert all(d.op == NandOp.PROGRAM and not d.failed and d.status == 0xE0 for d in b.done)
    assert all(b.array.page(0, *page).tobytes() == data[page] for page in pages)

    b2 = bench(dies=3, stalls=stalls, seed=4, skip=True)
    b2.array = b.array
    order = [pages[i] for i in rng.permutation(len(pages))]
    ops = [
        {"op": NandOp.READ, "die": die, "row": row, "words": 1 + 9 * n % g.page_words}
        for n, (die, row) in enumerate(order)
    ]
    ops.insert(5, {"op": NandOp.ERASE, "die": 2, "row": 3, "tag": 99})
    b2.run(ops)
    reads = [op for op in ops if op["op"] == NandOp.READ]
    assert b2.reads == [b2.words(data[op["die"], op["row"]])[: op["words"]] for op in reads]
    assert [(d.tag, d.failed) for d in b2.done] == [(99, 0)]

    b3 = bench(dies=3, stalls=stalls, seed=5, skip=True)
    b3.array = b.array
    b3.run(
        [
            {"op": NandOp.ERASE, "die": 1, "row": 16, "tag": 1},
            {"op": NandOp.READ, "die": 1, "row": 17, "words": g.page_words},
            {"op": NandOp.READ, "die": 1, "row": 40, "words": g.page_words},
        ]
    )
    assert b3.reads == [[(1 << 64) - 1] * g.page_words, b3.words(data[1, 40])]
    assert b3.pulses == {"page_read": 2, "page_programmed": 0, "block_erased": 1}


def test_status_id_reset(bench):
    b = bench(dies=2)
    g = b.profile.geometry
    contents = fill(b, np.random.default_rng(5), [(0, 5)])
    b.run(
        [
            {"op": NandOp.RESET, "die": 0, "tag": 1},
            {"op": NandOp.READ_ID, "die": 0, "row": 0x00},
            {"op": NandOp.READ_ID, "die": 1, "row": 0x20},
            {"op": NandOp.READ, "die": 0, "row": 5, "words": g.page_words},
            {"op": NandOp.STATUS, "die": 0, "tag": 2},  # while busy; data must come all the same
            {"op": NandOp.STATUS, "die": 1, "tag": 3},
        ]
    )
    assert b.reads[:2] == [b.words(JEDEC_ID), b.words(b"ONFI\0\0\0\0")]
    assert b.reads[2:] == [b.words(contents[0, 5])]
    answers = [(d.op, d.die, d.tag, d.status, d.failed) for d in b.done]
    assert answers == [
        (NandOp.RESET, 0, 1, 0xE0, 0),
        (NandOp.STATUS, 0, 2, 0x80, 0),
        (NandOp.STATUS, 1, 3, 0xE0, 0),
    ]


def test_cells_that_fail(bench):
    """A bad block's program, a weak block's second erase; the operations around them are fine."""

    def faults(geometry):
        return Faults(geometry, bad_blocks=[(0, 1, 1)], weak_blocks={(0, 0, 2): 1})

    b = bench(dies=2, skip=True, faults=faults)
    program = {"op": NandOp.PROGRAM, "die": 1, "words": 1}
    erase = {"op": NandOp.ERASE, "die": 0}
    b.run(
        [
            {**program, "row": 15, "tag": 0},
            {**program, "row": 16, "tag": 1},
            {**program, "row": 32, "tag": 2},
            *({**erase, "row": row, "tag": 3 + n} for n, row in enumerate((32, 33, 48))),
        ],
        [0, 0, 0],
    )
    outcomes = {d.tag: (d.status, d.failed) for d in b.done}
    assert {tag for tag, outcome in outcomes.items() if outcome == (0xE1, 1)} == {1, 4}
    assert {tag for tag, outcome in outcomes.items() if outcome == (0xE0, 0)} == {0, 2, 3, 5}


def test_skipping_while_the_reader_waits(bench):
    """A data phase that has paused is quiet too: the ring is full, nothing can move."""
    runs = []
    for skip in (False, True):
        b = bench(dies=3, skip=skip, reader_from=2_000)
        g = b.profile.geometry
        contents = fill(b, np.random.default_rng(4), [(die, 9) for die in range(3)])
        ops = [{"op": NandOp.READ, "die": die, "row": 9, "words": g.page_words} for die in range(3)]
        b.run([*ops, {"op": NandOp.ERASE, "die": 0, "row": 0}])
        assert b.reads == [b.words(contents[die, 9]) for die in range(3)]
        runs.append((b.clock, b.activity, b.read_times))
    assert runs[0] == runs[1]
    assert b.steps < b.clock - 1_500


def test_completions_do_not_wait_for_a_reader(bench):
    """A page that just fills the ring leaves the bus to others."""
    b = bench(dies=2, skip=True, reader_from=3_000)
    fill(b, np.random.default_rng(4), [(0, 1)])
    b.run(
        [
            {"op": NandOp.READ, "die": 0, "row": 1, "words": READ_RING},
            {"op": NandOp.ERASE, "die": 1, "row": 0},
        ]
    )
    assert b.done_times[0] < 1_000 < b.read_times[0]
    assert b.activity[Activity.COMMAND] < 200


def test_a_slow_reader_loses_nothing_and_is_not_called_busy(bench):
    b = bench(dies=2, stalls=0.9, seed=11)
    g = b.profile.geometry
    contents = fill(b, np.random.default_rng(9), [(0, 1), (1, 2)])
    b.run(
        [{"op": NandOp.READ, "die": die, "row": die + 1, "words": g.page_words} for die in (0, 1)]
    )
    assert b.reads == [b.words(contents[0, 1]), b.words(contents[1, 2])]
    assert b.activity[Activity.DATA] == 2 * b.profile.timing.data_cycles(g.page_words, b.clock_hz)


@pytest.mark.parametrize("latency,stalls", [(5, 0.0), (14, 0.5)])
def test_the_phy_may_answer_late(bench, latency, stalls):
    b = bench(dies=2, latency=latency, stalls=stalls, skip=True)
    g, t = b.profile.geometry, b.profile.timing
    contents = fill(b, np.random.default_rng(3), [(0, 1), (1, 2)])
    ops = [
        {"op": NandOp.READ_ID, "die": 0},
        {"op": NandOp.READ, "die": 0, "row": 1, "words": g.page_words},
        {"op": NandOp.READ, "die": 1, "row": 2, "words": g.page_words},
        {"op": NandOp.ERASE, "die": 0, "row": 64, "tag": 5},
    ]
    b.run(ops)
    assert b.reads == [b.words(JEDEC_ID), b.words(contents[0, 1]), b.words(contents[1, 2])]
    assert [(d.tag, d.status) for d in b.done] == [(5, 0xE0)]
    if not stalls:  # still at the full rate
        page = b.read_times[1 : 1 + g.page_words]
        assert page[-1] - page[0] <= t.data_cycles(g.page_words, b.clock_hz)


@pytest.mark.parametrize("depth", [0, 257])
def test_impossible_depth_is_refused(bench, depth):
    with pytest.raises(ValueError, match=f"depth = {depth}.*1..256"):
        bench(depth=depth).run([])


def test_read_retry_sets_the_level_of_one_die(bench):
    b = bench(dies=3)
    t = b.profile.timing
    ops = [
        {"op": NandOp.READ_RETRY, "die": die, "row": level, "tag": 5 + die}
        for die, level in ((1, 3), (2, 7), (1, 1))
    ]
    b.run(ops)
    assert b.array.buffers["retry_levels"].tolist() == [0, 1, 7]
    assert sorted((d.tag, d.failed) for d in b.done) == [(6, 0), (6, 0), (7, 0)]
    assert b.clock > cycles(t.t_adl_ns, b.clock_hz) + 2 * cycles(t.t_feat_ns, b.clock_hz)
