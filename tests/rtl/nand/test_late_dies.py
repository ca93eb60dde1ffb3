"""Dies that hang: reset in time, or given up; the rest of the channel goes on."""

import numpy as np
import pytest

from flash_model.onfi import JEDEC_ID
from rtl.nand.operations import Cause, NandOp
from tests.rtl.nand.test_mixed import OPS, Model

FOR_EVER = -1


def contents(bench, pages):
    """Random pages, as words, by die and row."""
    rng = np.random.default_rng(5)
    result = {}
    for page in pages:
        data = rng.integers(0, 256, bench.profile.geometry.page_total, dtype=np.uint8)
        bench.array.write_page(0, *page, data)
        result[page] = bench.words(data)
    return result


def both(make, ops, words=()):
    """A bench after ``ops``, run with and without skipping: to the clock the same."""
    runs = []
    for skip in (True, False):
        b = make(skip)
        b.run(list(ops), list(words))
        runs.append(b)
    skipped, plain = runs
    assert skipped.steps < plain.steps
    for what in ("clock", "reads", "causes", "read_times", "done_times", "activity"):
        assert getattr(skipped, what) == getattr(plain, what), what
    assert skipped.rules.commands == plain.rules.commands
    assert len(skipped.done) == len(plain.done)
    return skipped


def outcomes(bench):
    return {d.tag: (d.op, d.status, d.failed, d.cause) for d in bench.done}


def resets(bench):
    return [die for _, die, byte in bench.rules.commands if byte == 0xFF]


WORK = {
    NandOp.PROGRAM: {"row": 16, "words": 2},
    NandOp.ERASE: {"row": 16},
    NandOp.RESET: {},
}


@pytest.mark.parametrize("op", WORK)
def test_one_reset_helps(bench, op):
    """The operation has failed; what comes after it on the die is done."""
    ops = [
        {"op": op, "die": 1, "tag": 1, **WORK[op]},
        {"op": NandOp.READ, "die": 0, "row": 5, "words": 3},
        {"op": NandOp.READ, "die": 1, "row": 9, "words": 1},
        {"op": NandOp.ERASE, "die": 1, "row": 32, "tag": 2},
        {"op": NandOp.READ, "die": 1, "row": 9, "words": 3},
    ]
    pages = {}

    def make(skip):
        # A RESET is one reset by itself.
        b = bench(skip=skip, hang={1: (0, 2 if op == NandOp.RESET else 1)})
        pages.update(contents(b, [(0, 5), (1, 9)]))
        return b

    words = [7, 8] if op == NandOp.PROGRAM else []
    if op == NandOp.RESET:  # a die that a RESET has not got ready is dead
        b = both(make, ops)
        assert outcomes(b) == {
            1: (op, 0, 1, Cause.DEAD),
            2: (NandOp.ERASE, 0, 1, Cause.DEAD),
        }
        assert b.reads == [pages[0, 5][:3], [0], [0, 0, 0]]
        assert b.causes == [{Cause.NONE}, {Cause.DEAD}, {Cause.DEAD}]
        assert resets(b) == [1]
        return
    b = both(make, ops, words)
    assert outcomes(b) == {
        1: (op, 0xE0, 1, Cause.TIMEOUT),
        2: (NandOp.ERASE, 0xE0, 0, Cause.NONE),
    }
    assert b.reads == [pages[0, 5][:3], pages[1, 9][:1], pages[1, 9][:3]]
    assert b.causes == [{Cause.NONE}] * 3
    assert resets(b) == [1]


@pytest.mark.parametrize("begin", [0, 700, 1000])
def test_reads_that_are_lost(bench, begin):
    """A die holds two pages at most: so many are lost; data come in the order of the READs."""
    order = [1, 0, 1, 1, 0, 1, 1]
    ops = [
        {"op": NandOp.READ, "die": die, "row": n, "column": n % 3, "words": 2 + n}
        for n, die in enumerate(order)
    ]
    pages = {}

    def make(skip):
        b = bench(skip=skip, hang={1: (begin, 1)})
        pages.update(contents(b, [(die, n) for n, die in enumerate(order)]))
        return b

    b = both(make, ops)
    lost = [n for n, causes in enumerate(b.causes) if causes == {Cause.TIMEOUT}]
    assert 1 <= len(lost) <= 2 and all(order[n] == 1 for n in lost)
    for n, (die, words) in enumerate(zip(order, b.reads, strict=True)):
        page = pages[die, n][n % 3 : n % 3 + 2 + n]
        assert words == ([0] * len(page) if n in lost else page)
        assert n in lost or b.causes[n] == {Cause.NONE}
    assert resets(b) == [1]


def test_a_dead_die_answers_everything(bench):
    ops = [
        {"op": NandOp.READ, "die": 0, "row": 1, "words": 4},
        {"op": NandOp.READ, "die": 1, "row": 1, "words": 4},
        *({"op": NandOp.READ, "die": 1, "row": n, "column": 3, "words": n} for n in (2, 3, 4)),
        {"op": NandOp.READ, "die": 0, "row": 2, "words": 5},
        {"op": NandOp.PROGRAM, "die": 1, "row": 16, "words": 3, "tag": 1},
        {"op": NandOp.PROGRAM, "die": 0, "row": 16, "words": 2, "tag": 2},
        {"op": NandOp.ERASE, "die": 1, "row": 16, "tag": 3},
        {"op": NandOp.RESET, "die": 1, "tag": 4},
        {"op": NandOp.STATUS, "die": 1, "tag": 5},
        {"op": NandOp.READ_ID, "die": 1},
        {"op": NandOp.READ_ID, "die": 0},
        {"op": NandOp.READ, "die": 1, "row": 1, "words": 2},
        {"op": NandOp.READ, "die": 0, "row": 3, "words": 2},
    ]
    pages = {}

    def make(skip):
        b = bench(skip=skip, hang={1: (0, FOR_EVER)})
        pages.update(contents(b, [(0, n) for n in range(4)]))
        return b

    b = both(make, ops, [11, 12, 13, 21, 22])
    dead = {Cause.DEAD}
    fine = {Cause.NONE}
    assert list(zip(b.reads, b.causes, strict=True)) == [
        (pages[0, 1][:4], fine),
        ([0] * 4, dead),
        ([0] * 2, dead),
        ([0] * 3, dead),
        ([0] * 4, dead),
        (pages[0, 2][:5], fine),
        ([0], dead),
        (b.words(JEDEC_ID), fine),
        ([0] * 2, dead),
        (pages[0, 3][:2], fine),
    ]
    assert {tag: (status, cause) for tag, (_, status, _, cause) in outcomes(b).items()} == {
        tag: (0xE0, Cause.NONE) if tag == 2 else (0, Cause.DEAD) for tag in range(1, 6)
    }
    assert b.words(b.array.page(0, 0, 16))[:2] == [21, 22]
    assert resets(b) == [1]


@pytest.mark.parametrize("op", [NandOp.PROGRAM, NandOp.ERASE])
def test_a_die_dies_at_work(bench, op):
    work = {"op": op, "die": 1, "tag": 1, **WORK[op]}
    others = [{"op": NandOp.ERASE, "die": 0, "row": 16 * n, "tag": 2 + n} for n in range(3)]
    words = [1, 2] if op == NandOp.PROGRAM else []
    b = both(lambda skip: bench(skip=skip, hang={1: (0, FOR_EVER)}), [work, *others], words)
    assert outcomes(b)[1] == (op, 0, 1, Cause.DEAD)
    assert all(outcomes(b)[tag][2:] == (0, Cause.NONE) for tag in (2, 3, 4))


def check(bench, model, hung):
    """What is not as in the model has failed, is of the die that hung, and says so."""
    dead = False
    reads = [op for op in model.ops if op["op"] in (NandOp.READ, NandOp.READ_ID)]
    failed = 0
    for op, words, causes, expected in zip(
        reads, bench.reads, bench.causes, model.reads, strict=True
    ):
        if causes == {Cause.NONE}:
            assert words == expected and not (dead and op["die"] == hung)
        else:
            assert op["die"] == hung and causes in ({Cause.TIMEOUT}, {Cause.DEAD})
            assert words == [0] * len(expected)
            dead |= causes == {Cause.DEAD}
            failed += 1
    assert len(bench.done) == sum(map(len, model.done.values()))
    for d in bench.done:
        if d.cause != Cause.NONE:
            assert d.die == hung and d.failed and d.cause in (Cause.TIMEOUT, Cause.DEAD)
            failed += 1
        else:
            assert not d.failed
    return failed


SOAK = [pytest.param(seed, marks=pytest.mark.soak) for seed in range(4, 60)]


@pytest.mark.parametrize("seed", [*range(4), *SOAK])
def test_random_operations(bench, seed):
    """A die hangs at any time, for a reset or for ever."""
    dies = 2 + seed % 3
    hung = seed % dies
    failed = 0
    for stalls, latency in ((0, 0), (0.3, 9)):
        begin = 997 * seed % 4000
        b = bench(
            dies=dies,
            depth=3 + seed % 9,
            stalls=stalls,
            latency=latency,
            late_busy=bool(latency),
            skip=True,
            seed=seed,
            hang={hung: (begin, FOR_EVER if seed % 2 else 1)},
        )
        model = Model(seed, dies, b.profile.geometry, 60, ops=OPS)
        for page, data in model.before.items():
            b.array.write_page(0, *page, data)
        b.run(list(model.ops), list(model.words))
        failed += check(b, model, hung)
    assert failed


def test_a_die_in_time_is_not_late(bench):
    b = bench(skip=True, margin=1)
    b.run(
        [
            {"op": NandOp.ERASE, "die": 0, "row": 0, "tag": 0},
            {"op": NandOp.PROGRAM, "die": 1, "row": 0, "tag": 1},
            {"op": NandOp.RESET, "die": 0, "tag": 2},
            {"op": NandOp.READ, "die": 1},
        ],
        [0],
    )
    assert all(d.cause == Cause.NONE for d in b.done) and b.causes == [{Cause.NONE}]
    assert resets(b) == [0]
