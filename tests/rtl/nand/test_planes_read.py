"""READs of several planes sensed together: one tR, data in the order of the READs."""

import random

import pytest

from flash_model.profiles import profile
from flash_model.timing import cycles
from host.bench.flash_bound import ChannelClocks
from rtl.nand.operations import Cause, NandOp
from rtl.nand.planes import planes_of
from tests.rtl.nand.test_closed_forms import CHOICE
from tests.rtl.nand.test_controller import OVERHEAD
from tests.rtl.nand.test_late_dies import both, contents
from tests.rtl.nand.test_mixed import Model

READ = NandOp.READ
PAGES = profile("tiny").geometry.pages
PAGE, PLANE, CACHE, END, COLUMN, SHOW = 0x30, 0x32, 0x31, 0x3F, 0x05, 0x06
SLOW = {"rate_mts": 300}
"""A page's data take longer than half of tR: dies read ahead."""


def read(block, page=0, die=0, column=0, words=3, **fields):
    row = block * PAGES + page
    return {"op": READ, "die": die, "row": row, "column": column, "words": words, **fields}


FIRST = read(3, 7)
"""It keeps the die busy until those behind it are there."""


def run(bench, ops, planes, **options):
    """Run, with and without skipping, and compare the data with the array's."""
    pages = {}

    def make(skip):
        b = bench(skip=skip, geometry={"planes": planes}, **options)
        rows = b.profile.geometry.rows
        asked = {(op["die"], op["row"]) for op in ops if op["op"] == READ and op["row"] < rows}
        pages.update(contents(b, sorted(asked)))
        return b

    b = both(make, ops)
    good = [causes == {Cause.NONE} for causes in b.causes]
    reads = [op for op in ops if op["op"] == READ]
    for op, words, fine in zip(reads, b.reads, good, strict=True):
        end = op["column"] + op["words"]
        whole = pages[op["die"], op["row"]] if fine else [0] * end
        assert words == whole[op["column"] : end]
    return b


def given(b, *bytes_, die=None):
    return [byte for _, of, byte in b.rules.commands if byte in bytes_ and die in (None, of)]


@pytest.mark.parametrize("planes", [2, 4])
def test_together(bench, planes):
    """All planes in one tR; what is over begins anew. Whatever the words, columns among them."""
    ops = [read(8 + n, column=5 * (n % 3), words=1 + n) for n in range(planes + 1)]
    b = run(bench, [FIRST, *ops], planes)
    assert given(b, PLANE, PAGE, CACHE) == [PAGE] + [PLANE] * (planes - 1) + [PAGE] * 2
    assert given(b, SHOW) == [SHOW] * planes
    assert b.pulses["page_read"] == planes + 2


@pytest.mark.parametrize("blocks, pages, dies, together", [
    ((8, 12), (0, 0), (0, 0), 0),  # a plane twice
    ((8, 9), (0, 0), (0, 1), 0),  # another die
    ((8, 9), (0, 1), (0, 0), 0),  # another page number
    ((8, 13, 8, 9), (2, 2, 2, 3), (0, 0, 0, 0), 1),
    ((8, 9, 8, 13), (0, 0, 1, 1), (0, 0, 0, 0), 2),
])  # fmt: skip
def test_apart(bench, blocks, pages, dies, together):
    ops = [read(*where) for where in zip(blocks, pages, dies)]
    b = run(bench, [FIRST, {**FIRST, "die": 1}, *ops], 4)
    assert len(given(b, PLANE)) == together
    assert len(given(b, SHOW)) == 2 * together


def test_no_wait_for_a_partner(bench):
    """What comes when the die is already at work is sensed later."""
    b = run(bench, [read(8), read(9, at=15)], 4)
    assert given(b, PLANE, PAGE, CACHE) == [PAGE, CACHE]


@pytest.mark.parametrize("planes", [2, 4])
@pytest.mark.parametrize("t_cs_ns", [0, 20])
def test_closed_form(bench, planes, t_cs_ns):
    """Bus and busy times of planes together, to the clock, from the first command to the last."""
    words = 5
    ops = [FIRST, *(read(8 + n, words=words) for n in range(planes))]
    b = run(bench, ops, planes, timing={"t_cs_ns": t_cs_ns})

    def t(name):
        return cycles(getattr(b.profile.timing, f"t_{name}_ns"), b.clock_hz)

    command = t("cs") + 7 * t("wc")
    seen = [(clock, byte) for clock, _, byte in b.rules.commands]
    begin = [n for n, (_, byte) in enumerate(seen) if byte == PAGE][0] + 1  # behind the FIRST
    opened = [clock for clock, byte in seen[begin:] if byte in (0x00, SHOW)]
    closed = [clock for clock, byte in seen[begin:] if byte in (PLANE, PAGE, 0xE0)]
    assert len(opened) == len(closed) == 2 * planes
    for first, last in zip(opened, closed):
        assert last - first == command - t("cs") - t("wc")
    for last, first in zip(closed[: planes - 1], opened[1:planes]):
        between = t("wb") + t("dbsy") + t("rr") + CHOICE + t("cs") + t("wc")
        assert first - last == between
    sensed = t("wb") + t("r") + t("rr")  # once
    assert opened[planes] - closed[planes - 1] >= sensed + CHOICE + t("cs") + t("wc")
    assert opened[planes] - closed[planes - 1] <= sensed + CHOICE + t("cs") + t("wc") + 1
    preamble = cycles(b.profile.timing.t_preamble_ns, b.clock_hz)
    data = preamble + b.profile.timing.data_cycles(words, b.clock_hz)
    for last, first in zip(closed[planes:], opened[planes + 1 :]):
        turn = max(t("rhw"), t("cs"))  # tCS passes meanwhile
        whole = t("ccs") + CHOICE + data + turn + t("wc") - 1
        assert whole <= first - last <= whole + 3

    said = ChannelClocks(b.profile, b.clock_hz)
    whole = planes * (command + command + t("ccs") + data) + sensed
    whole += (planes - 1) * (t("wb") + t("dbsy") + t("rr") + turn - t("cs"))
    assert said.reads_together(planes, words) == whole
    took = b.read_times[-1] - (opened[0] - t("wc") - t("cs"))
    assert whole <= took <= whole + planes * (2 * CHOICE + 3)


@pytest.mark.parametrize("planes", [2, 4])
def test_one_tr_for_all(bench, planes):
    """Few words of many pages: as long as the tR of each stripe; alone, as that of each page."""
    stripes = 6
    for number in (1, planes):
        ops = [read(8 + n, page, words=4) for page in range(stripes) for n in range(planes)]
        b = run(bench, ops, number, depth=16, dies=1)
        took = b.read_times[-1] - b.op_times[0]
        t_r = cycles(b.profile.timing.t_r_ns, b.clock_hz)
        if number == 1:
            assert took > stripes * planes * t_r
        else:
            form = ChannelClocks(b.profile, b.clock_hz).reads_together(planes, 4)
            more = planes * (2 * CHOICE + 3) + OVERHEAD
            assert stripes * form < took < stripes * (form + more)
            assert given(b, PAGE, CACHE) == [PAGE] * stripes
            # Commands and data of all stripes cost less than the tR that are saved.
            assert form + more < planes * t_r


def test_dies_in_turn(bench):
    """Pages of a stripe go one from each die; the column of each is changed behind others' data."""
    ops = [
        read(8 + n, page, die, words=60)
        for page in range(3) for n in range(2) for die in range(4)
    ]  # fmt: skip
    b = run(bench, ops, 2, dies=4, depth=24)
    assert len(given(b, PLANE)) >= 8
    assert len(given(b, SHOW)) == 2 * len(given(b, PLANE))


@pytest.mark.parametrize("timing, sequence", [
    ({}, [PAGE, PLANE, PAGE, PLANE, PAGE]), (SLOW, [PAGE, CACHE, CACHE, CACHE, CACHE, END]),
])  # fmt: skip
def test_what_goes_before_reading_ahead(bench, timing, sequence):
    """With a quick bus a die waits for its page to be moved; else it goes on reading ahead."""
    ops = [FIRST, read(8), read(9), read(8, 1), read(9, 1)]
    b = run(bench, ops, 2, timing=timing)
    assert planes_of(b.profile).before_ahead == (not timing)
    assert given(b, PLANE, PAGE, CACHE, END) == sequence


def test_slow_bus_senses_together_when_idle(bench):
    """Behind an erase they wait anyhow."""
    erase = {"op": NandOp.ERASE, "row": 0, "die": 0}
    b = run(bench, [erase, *(read(8 + n) for n in range(4))], 4, timing=SLOW)
    assert given(b, PLANE, PAGE, CACHE) == [PLANE] * 3 + [PAGE]


def test_a_page_behind_comes_to_the_front(bench):
    """Reads that fit together come while another page stands behind the cache register: 3Fh."""
    ops = [FIRST, read(3, 8), *(read(8 + n, at=380) for n in range(2))]
    b = run(bench, ops, 2)
    assert given(b, PLANE, PAGE, CACHE, END) == [PAGE, CACHE, END, PLANE, PAGE]


def test_several_reads_of_a_page(bench):
    """Parts of each page, one after another and back again: sensed once; the plane stays."""
    ops = [
        read(8 + n, column=column, words=4) for n in range(4) for column in (0, 40, 0, 12)
    ]  # fmt: skip
    b = run(bench, [FIRST, *ops], 4, depth=20)
    assert given(b, PLANE, PAGE, CACHE) == [PAGE] + [PLANE] * 3 + [PAGE]
    assert len(given(b, SHOW)) == 16


@pytest.mark.parametrize("bad, cause", [
    ({"row": profile("tiny").geometry.rows}, Cause.BAD_ROW),
    ({"column": 60, "words": 20}, Cause.BEYOND_PAGE),
    ({"words": 0}, Cause.NO_WORDS),
    ({"die": 3}, Cause.BAD_DIE),
])  # fmt: skip
@pytest.mark.parametrize("place", range(5))
def test_one_that_is_refused(bench, bad, cause, place):
    """It gives its zeros in its place, and the others are sensed together as without it."""
    pages = {}
    ops = [FIRST, *(read(8 + n) for n in range(4))]
    ops.insert(1 + place, {**read(9), **bad})
    b = bench(skip=True, geometry={"planes": 4}, dies=3)
    pages = contents(b, [(0, op["row"]) for op in ops if op["row"] < b.profile.geometry.rows])
    b.run(ops)
    assert b.reads == [
        [0] * max(1, op["words"]) if n == 1 + place else pages[0, op["row"]][:3]
        for n, op in enumerate(ops)
    ]
    assert b.causes == [{cause if n == 1 + place else Cause.NONE} for n in range(6)]
    assert given(b, PLANE, PAGE) == [PAGE] + [PLANE] * 3 + [PAGE]


@pytest.mark.parametrize("begin", range(0, 1000, 61))
@pytest.mark.parametrize("resets", [1, -1])
def test_a_die_that_hangs(bench, begin, resets):
    """Between planes, sensing or later: what it held gives zeros with the cause, in order."""
    ops = [read(8 + n, page, words=6) for page in range(3) for n in range(4)]
    ops = [FIRST, *ops, read(5, die=1), *ops[:4]]
    b = run(bench, ops, 4, hang={0: (begin, resets)}, depth=20)
    wanted = Cause.TIMEOUT if resets == 1 else Cause.DEAD
    failed = {n for n, causes in enumerate(b.causes) if causes != {Cause.NONE}}
    assert all(b.causes[n] == {wanted} for n in failed)
    assert 13 not in failed
    if resets == 1:
        assert len(failed) <= 4
        assert failed == set(range(min(failed, default=0), max(failed, default=-1) + 1))
    else:
        assert failed >= set(range(14, 18))


def test_a_status_in_between(bench):
    """It is read while they are sensed: the output goes back from it to the planes."""
    ops = [FIRST, *(read(8 + n) for n in range(4)), {"op": NandOp.STATUS, "die": 0}, read(8, 1)]
    b = run(bench, [{"row": 0, **op} for op in ops], 4)
    assert given(b, PLANE, PAGE) == [PAGE] + [PLANE] * 3 + [PAGE] * 2
    assert [d.op for d in b.done] == [NandOp.STATUS]


def test_order_of_a_die(bench):
    """A program between them is a border, which reads do not cross."""
    program = {"op": NandOp.PROGRAM, "die": 0, "row": 9 * PAGES, "words": 1}
    ops = [FIRST, read(8), program, read(9), read(10)]
    b = bench(skip=True, geometry={"planes": 4}).run(ops, [0x1234])
    assert b.reads[2][0] == 0x1234
    assert given(b, PLANE, PAGE, CACHE, 0x10) == [PAGE, CACHE, 0x10, PLANE, PAGE]


SOAK = [pytest.param(seed, marks=pytest.mark.soak) for seed in range(8, 80)]
WRITES = [READ] * 12 + [NandOp.PROGRAM, NandOp.ERASE, NandOp.STATUS]
WRITES += [NandOp.RESET, NandOp.READ_RETRY, NandOp.READ_ID]


STRIPES = [block * PAGES + page for block in range(4, 8) for page in (0, 9)]
"""Two page numbers in two blocks of each plane, or one: many fit together."""


@pytest.mark.parametrize("seed", [*range(8), *SOAK])
def test_random_operations(bench, seed):
    """As one after another, with and without skipping: the same data, clocks and commands."""
    rng = random.Random(seed)
    dies, planes = 1 + seed % 4, 2 << seed % 2
    stalls = 0.3 if seed % 5 == 2 else 0
    timing = {"t_wb_ns": 50, **(SLOW if seed % 3 == 1 else {})}
    options = {
        "stalls": stalls,
        "latency": rng.choice([0, 5, 14]),
        "late_busy": bool(seed % 2),
        "depth": rng.choice([2, 8, 17]),
        "patience": rng.choice([0, 2, 5]),
    }
    runs = []
    for skip in (False, True):
        b = bench(dies=dies, skip=skip, seed=seed, geometry={"planes": planes}, timing=timing,
                  **options)  # fmt: skip
        ops = [READ] if seed % 6 == 5 else WRITES
        Model(seed, dies, b.profile.geometry, 50, ops, STRIPES).run(b)
        assert given(b, PLANE) or timing.get("rate_mts") or options["depth"] == 2
        runs.append(b)
    if not stalls:
        for what in ("clock", "read_times", "done_times", "activity"):
            assert getattr(runs[0], what) == getattr(runs[1], what), what
