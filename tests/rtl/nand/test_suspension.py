"""Programs and erases that step aside for reads: order, bounds, contents, and what it is worth."""

import pytest

from flash_model.suspend import Suspend
from rtl.nand.operations import Cause, NandOp
from tests.rtl.nand.test_late_dies import both, check, contents, outcomes
from tests.rtl.nand.test_mixed import OPS, Model

COMMANDS = {NandOp.ERASE: (0x61, 0xD2), NandOp.PROGRAM: (0x86, 0xD1)}
ROW = 16  # of the block at work
LAST = 5  # pages read


def part(most=3, **options):
    return {"suspend": Suspend(t_susp_ns=200, erase_most=most, program_most=most), **options}


def work(op, die=1, tag=1):
    return {"op": op, "die": die, "row": ROW, "words": 1, "tag": tag}


def reads(rows, die=1, words=3):
    return [{"op": NandOp.READ, "die": die, "row": row, "words": words} for row in rows]


def run(bench, ops, timing, rows, words=(), **options):
    pages = {}

    def make(skip):
        b = bench(skip=skip, timing=timing, **options)
        pages.update(contents(b, [(1, row) for row in rows]))
        return b

    return both(make, ops, list(words)), pages


def given(b, *bytes_):
    return [byte for _, die, byte in b.rules.commands if die == 1 and byte in bytes_]


@pytest.mark.parametrize("op", COMMANDS)
def test_a_read_comes_first(bench, op):
    """It does not wait for the end of the operation, which ends well and later."""
    stop, go_on = COMMANDS[op]
    words = [7] if op == NandOp.PROGRAM else []
    ops = [work(op), *reads([40])]
    b, pages = run(bench, ops, part(), [40], words)
    assert b.reads == [pages[1, 40][:3]] and b.causes == [{Cause.NONE}]
    assert outcomes(b) == {1: (op, 0xE0, 0, Cause.NONE)}
    assert given(b, stop, go_on) == [stop, go_on]
    without, _ = run(bench, ops, {}, [40], words)
    assert without.reads == b.reads and not given(without, stop, go_on)
    assert b.read_times[0] < without.done_times[0] < b.done_times[0]
    assert b.read_times[0] < without.read_times[0] - 100


@pytest.mark.parametrize("op", COMMANDS)
@pytest.mark.parametrize("most", [1, 2, 3])
def test_only_so_many_reads_come_first(bench, op, most):
    rows = list(range(40, 40 + LAST))
    words = [7] if op == NandOp.PROGRAM else []
    b, pages = run(bench, [work(op), *reads(rows)], part(most), rows, words, depth=8)
    assert b.reads == [pages[1, row][:3] for row in rows]
    before = [clock for clock in b.read_times[2::3] if clock < b.done_times[0]]
    assert len(before) == most
    stop, go_on = COMMANDS[op]
    assert given(b, stop).count(stop) == given(b, go_on).count(go_on) <= most


@pytest.mark.parametrize("op", COMMANDS)
def test_a_read_of_its_block_waits(bench, op):
    """The monitor would tell; a read behind it waits as well, one before it does not."""
    words = [7] if op == NandOp.PROGRAM else []
    for rows, before in (([ROW + 1, 40], 0), ([40, ROW + 1, 41], 1)):
        b, pages = run(bench, [work(op), *reads(rows)], part(), rows, words)
        expected = [[(1 << 64) - 1] * 3 if row == ROW + 1 else pages[1, row][:3] for row in rows]
        if op == NandOp.PROGRAM:
            expected = [pages[1, row][:3] for row in rows]
        assert b.reads == expected
        assert len([c for c in b.read_times[2::3] if c < b.done_times[0]]) == before


def test_other_dies_go_on(bench):
    """While one is suspended, another is erased, and read."""
    ops = [work(NandOp.ERASE), *reads([40, 41]), work(NandOp.ERASE, die=0, tag=2), *reads([42])]
    b, pages = run(bench, ops, part(), [40, 41, 42])
    assert b.reads == [pages[1, row][:3] for row in (40, 41, 42)]
    assert {tag: d[2] for tag, d in outcomes(b).items()} == {1: 0, 2: 0}


@pytest.mark.parametrize("begin", [0, 150, 400, 700])
@pytest.mark.parametrize("resets", [1, -1])
def test_a_die_that_hangs_meanwhile(bench, begin, resets):
    rows = [40, 41, 42]
    ops = [work(NandOp.ERASE), *reads(rows), work(NandOp.ERASE, tag=2)]
    b, pages = run(bench, ops, part(), rows, hang={1: (begin, resets)}, depth=8)
    for row, words, causes in zip(rows, b.reads, b.causes, strict=True):
        assert words == (pages[1, row][:3] if causes == {Cause.NONE} else [0] * 3)
    done = outcomes(b)
    assert set(done) == {1, 2}
    assert (done[2][3] == Cause.DEAD) == (resets == -1)
    assert done[1][3] in (Cause.TIMEOUT, Cause.DEAD, Cause.NONE)


SOAK = [pytest.param(seed, marks=pytest.mark.soak) for seed in range(6, 80)]


@pytest.mark.parametrize("seed", [*range(6), *SOAK])
def test_random_operations(bench, seed):
    """As one after another, with and without stalls and skipping; sometimes a die hangs."""
    dies = 1 + seed % 4
    runs = []
    for skip in (False, True):
        b = bench(
            dies=dies,
            depth=(1, 3, 8, 16)[seed // 2 % 4],
            stalls=0.3 if seed % 3 == 2 else 0,
            latency=(0, 5, 14)[seed % 3],
            late_busy=bool(seed % 2),
            timing=part(1 + seed % 5, t_wb_ns=50),
            skip=skip,
            seed=seed,
            hang={0: (611 * seed % 9000, 1)} if seed % 4 == 3 else None,
        )
        model = Model(seed, dies, b.profile.geometry, 50, ops=OPS + [NandOp.ERASE] * 2)
        if seed % 4 == 3:
            for page, data in model.before.items():
                b.array.write_page(0, *page, data)
            b.run(list(model.ops), list(model.words))
            check(b, model, 0)
        else:
            model.run(b)
        runs.append(b)
    if seed % 3 != 2:
        for what in ("clock", "read_times", "done_times", "activity"):
            assert getattr(runs[0], what) == getattr(runs[1], what), what
