"""Operations that no die can do: each fails with its cause, and no die hears of it."""

import dataclasses
import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from flash_model.profiles import profile
from rtl.nand.operations import Cause, NandOp
from rtl.nand.refusals import Refusals

G = profile("tiny").geometry
DIES = 3
MOVES = (NandOp.READ, NandOp.PROGRAM)
BAD = {
    "die": (list(NandOp), {"die": DIES}, Cause.BAD_DIE),
    "row": ((*MOVES, NandOp.ERASE), {"row": G.rows}, Cause.BAD_ROW),
    "top row": ((*MOVES, NandOp.ERASE), {"row": (1 << 24) - 1}, Cause.BAD_ROW),
    "no words": (MOVES, {"words": 0}, Cause.NO_WORDS),
    "one word too many": (MOVES, {"words": G.page_words + 1}, Cause.BEYOND_PAGE),
    "one column too far": (MOVES, {"column": 3, "words": G.page_words - 2}, Cause.BEYOND_PAGE),
    "all ones": (MOVES, {"column": 4095, "words": 4095}, Cause.BEYOND_PAGE),
}
CASES = [(op, name) for name, (ops, _, _) in BAD.items() for op in ops]
READS = (NandOp.READ, NandOp.READ_ID)


def random_words(count):
    rng = random.Random(count)
    return [rng.getrandbits(64) for _ in range(count)]


@pytest.mark.parametrize("op, name", CASES)
def test_refused(bench, op, name):
    """In the middle of good operations, of which it disturbs none."""
    _, wrong, cause = BAD[name]
    bad = {"op": op, "die": 1, "row": 17, "column": 0, "words": 2, "tag": 9, **wrong}
    b = bench(dies=DIES, skip=True)
    pages = {}
    for die in range(DIES):
        data = np.random.default_rng(die).integers(0, 256, G.page_total, dtype=np.uint8)
        b.array.write_page(0, die, 5, data)
        pages[die] = b.words(data)
    theirs = random_words(bad["words"] if op == NandOp.PROGRAM else 0)
    b.run(
        [
            {"op": NandOp.PROGRAM, "die": 1, "row": 16, "words": 1, "tag": 1},
            *({"op": NandOp.READ, "die": die, "row": 5, "words": 3} for die in range(DIES)),
            bad,
            {"op": NandOp.PROGRAM, "die": 2, "row": 16, "words": 1, "tag": 2},
            *({"op": NandOp.READ, "die": die, "row": 5, "words": 2} for die in range(DIES)),
        ],
        [101, *theirs, 102],
    )
    good = [(pages[die][:3], {Cause.NONE}) for die in range(DIES)]
    after = [(pages[die][:2], {Cause.NONE}) for die in range(DIES)]
    middle = []
    if op in READS:
        words = 1 if op == NandOp.READ_ID else max(1, bad["words"])
        middle = [([0] * words, {cause})]
    assert list(zip(b.reads, b.causes, strict=True)) == good + middle + after
    done = {d.tag: (d.op, d.failed, d.cause, d.status) for d in b.done}
    expected = {n: (NandOp.PROGRAM, 0, Cause.NONE, 0xE0) for n in (1, 2)}
    if op not in READS:
        expected[9] = (op, 1, cause, 0)
    assert done == expected
    assert [b.words(b.array.page(0, die, 16))[0] for die in (1, 2)] == [101, 102]
    commands = {byte for _, _, byte in b.rules.commands}
    assert commands <= {0x80, 0x10, 0x70, 0x00, 0x30, 0x31, 0x3F, 0x05, 0xE0}


def test_the_last_of_everything_is_done(bench):
    """Rows, columns and words at their ends."""
    b = bench(dies=DIES, skip=True)
    row, words = G.rows - 1, G.page_words
    data = random_words(words)
    b.run(
        [
            {"op": NandOp.PROGRAM, "die": DIES - 1, "row": row, "words": words},
            {"op": NandOp.READ, "die": DIES - 1, "row": row, "column": words - 1, "words": 1},
            {"op": NandOp.READ, "die": DIES - 1, "row": row, "words": words},
            {"op": NandOp.ERASE, "die": DIES - 1, "row": row},
        ],
        data,
    )
    assert b.reads == [data[-1:], data] and b.causes == [{Cause.NONE}] * 2
    assert [d.failed for d in b.done] == [0, 0]


@pytest.mark.parametrize("stalls, latency", [(0.0, 0), (0.5, 0), (0.0, 14), (0.4, 9)])
def test_words_stay_in_order(bench, stalls, latency):
    """Zeros between the words of dies, whatever the PHY's latency and the reader do."""
    rng = random.Random(7)
    b = bench(dies=DIES, depth=6, stalls=stalls, latency=latency, skip=True, seed=3)
    pages = {}
    for die in range(DIES):
        data = np.random.default_rng(die).integers(0, 256, G.page_total, dtype=np.uint8)
        b.array.write_page(0, die, 5, data)
        pages[die] = b.words(data)
    ops, expected = [], []
    for _ in range(40):
        op = {"op": NandOp.READ, "die": rng.randrange(DIES), "row": 5}
        op["column"] = rng.choice([0, 0, 4])
        op["words"] = rng.choice([1, 2, 3, 20])
        cause = rng.choice([Cause.NONE, Cause.NONE, Cause.BAD_ROW, Cause.BAD_DIE])
        words = pages[op["die"]][op["column"] : op["column"] + op["words"]]
        if cause != Cause.NONE:
            op |= {"row": G.rows} if cause == Cause.BAD_ROW else {"die": DIES}
            words = [0] * op["words"]
        ops.append(op)
        expected.append((words, {cause}))
    b.run(ops)
    assert list(zip(b.reads, b.causes, strict=True)) == expected


@pytest.mark.parametrize("op", [NandOp.PROGRAM, NandOp.ERASE])
def test_write_protected(bench, op):
    """The die ignores it; the status says why. A reset is no write."""
    b = bench(skip=True, write_protect=True)
    b.run(
        [
            {"op": op, "die": 1, "row": 16, "words": 1, "tag": 1},
            {"op": NandOp.RESET, "die": 1, "tag": 2},
        ],
        [5] if op == NandOp.PROGRAM else [],
        broken={"WP#"},
    )
    assert {d.tag: (d.status, d.failed, d.cause) for d in b.done} == {
        1: (0x60, 1, Cause.PROTECTED),
        2: (0x60, 0, Cause.NONE),
    }
    assert not b.array.is_programmed(0, 1, 16)


def expected_cause(op, dead):
    """The rules once more, in their order."""
    if op["die"] >= DIES:
        return Cause.BAD_DIE
    if dead >> op["die"] & 1:
        return Cause.DEAD
    if op["op"] in (*MOVES, NandOp.ERASE) and op["row"] >= G.rows:
        return Cause.BAD_ROW
    if op["op"] in MOVES:
        if op["words"] == 0:
            return Cause.NO_WORDS
        if op["column"] + op["words"] > G.page_words:
            return Cause.BEYOND_PAGE
    return Cause.NONE


def test_rules_at_random():
    dut = Refusals(dataclasses.replace(G, dies=DIES))
    rng = random.Random(1)
    seen = set()

    async def bench(ctx):
        for _ in range(3000):
            op = {
                "op": rng.choice(list(NandOp)),
                "die": rng.randrange(4),
                "row": rng.choice([0, G.rows - 1, G.rows, rng.randrange(1 << 24)]),
                "column": rng.choice([0, G.page_words - 1, rng.randrange(1 << 12)]),
                "words": rng.choice([0, 1, 2, G.page_words, rng.randrange(1 << 12)]),
                "tag": 0,
            }
            dead = rng.choice([0, 0, rng.randrange(1 << DIES)])
            ctx.set(dut.op, op)
            ctx.set(dut.dead, dead)
            await ctx.delay(1e-9)
            assert ctx.get(dut.cause) == expected_cause(op, dead), (op, dead)
            seen.add(ctx.get(dut.cause))

    sim = Simulator(dut)
    sim.add_testbench(bench)
    sim.run()
    assert seen == {
        Cause.NONE,
        *(c for c in Cause if Cause.DEAD.value <= c.value <= Cause.BEYOND_PAGE.value),
    }
