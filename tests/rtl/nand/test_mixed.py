"""Random operations on all dies against a model that does them one after another."""

import random

import numpy as np
import pytest

from flash_model.onfi import ONFI_ID, Status
from rtl.nand.operations import NandOp

OPS = [NandOp.READ] * 8 + [NandOp.PROGRAM, NandOp.ERASE, NandOp.STATUS, NandOp.READ_ID]
WRITES = [NandOp.READ] * 4 + [NandOp.PROGRAM] * 4 + [NandOp.ERASE] * 3
WRITES += [NandOp.STATUS, NandOp.READ_ID, NandOp.RESET, NandOp.READ_RETRY]
OPENS = {
    NandOp.PROGRAM: 0x80,
    NandOp.ERASE: 0x60,
    NandOp.RESET: 0xFF,
    NandOp.READ_RETRY: 0xEF,
    NandOp.READ_ID: 0x90,
}
"""Operations that must start in the order of their die -> their first command."""

ROWS = [16, 17, 18, 31, 32, 33]
"""Few rows of two blocks, so that reads meet what was programmed and erased."""


class Model:
    """What the operations of a channel do, one after another."""

    def __init__(self, seed, dies, geometry, count, ops=OPS, rows=ROWS):
        self.geometry = g = geometry
        self.rows = rows
        rng = random.Random(seed)
        numbers = np.random.default_rng(seed)
        self.pages = {
            (die, row): numbers.integers(0, 256, g.page_total, dtype=np.uint8)
            for die in range(dies)
            for row in rows
        }
        self.before = {page: data.copy() for page, data in self.pages.items()}
        self.ops, self.words, self.reads = [], [], []
        self.done = {die: [] for die in range(dies)}
        die = 0
        for tag in range(count):
            die = rng.choice([die, rng.randrange(dies)])
            self._add(rng, rng.choice(ops), die, tag)

    def _add(self, rng, op, die, tag):
        words = rng.choice([1, 2, 7, self.geometry.page_words])
        column = rng.choice([0, 0, rng.randrange(self.geometry.page_words)])
        words = min(words, self.geometry.page_words - column)
        row = {NandOp.READ_ID: 0x20, NandOp.READ_RETRY: tag % 8}.get(op, rng.choice(self.rows))
        self.ops.append(
            {"op": op, "die": die, "row": row, "column": column, "words": words, "tag": tag}
        )
        part = slice(8 * column, 8 * (column + words))
        match op:
            case NandOp.READ:
                self.reads.append(self._words(self.pages[die, row][part]))
            case NandOp.READ_ID:
                self.reads.append(self._words(ONFI_ID))
            case NandOp.PROGRAM:
                data = rng.randbytes(8 * words)
                self.words += self._words(data)
                self.pages[die, row][part] &= np.frombuffer(data, np.uint8)
            case NandOp.ERASE:
                block = row // self.geometry.pages
                for other in self.rows:
                    if other // self.geometry.pages == block:
                        self.pages[die, other][:] = 0xFF
        if op not in (NandOp.READ, NandOp.READ_ID):
            self.done[die].append((op, tag))

    @staticmethod
    def _words(data):
        return np.frombuffer(bytes(data), "<u8").tolist()

    def run(self, bench):
        """Run the same on a bench and compare everything."""
        for page, data in self.before.items():
            bench.array.write_page(0, *page, data)
        bench.run(list(self.ops), list(self.words))
        assert bench.reads == self.reads
        for die, expected in self.done.items():
            done = [(d.op, d.tag) for d in bench.done if d.die == die]
            for is_status in (False, True):  # a status may come before what it was asked after
                assert [d for d in done if (d[0] == NandOp.STATUS) == is_status] == [
                    d for d in expected if (d[0] == NandOp.STATUS) == is_status
                ]
        for d in bench.done:
            if d.op == NandOp.STATUS:
                assert d.status & ~Status.SUSPENDED in (0x80, 0xC0, 0xE0) and not d.failed
            else:
                assert (d.status, d.failed) == (0xE0, 0)
        for page, data in self.pages.items():
            assert (bench.array.page(0, *page) == data).all()
        self._check_order(bench.rules.commands)
        return bench

    def _check_order(self, commands):
        """On the bus: operations of a die, and programs of all dies, in their order."""
        for die in self.done:
            opened = [byte for _, of, byte in commands if of == die and byte in OPENS.values()]
            given = [op["op"] for op in self.ops if op["die"] == die]
            assert opened == [OPENS[op] for op in given if op in OPENS]
        programs = [op["die"] for op in self.ops if op["op"] == NandOp.PROGRAM]
        assert [die for _, die, byte in commands if byte == 0x80] == programs


@pytest.mark.parametrize(
    "dies, depth, stalls, latency, rate",
    [
        (1, 1, 0.0, 0, 560),
        (1, 4, 0.0, 0, 560),
        (2, 8, 0.3, 5, 560),
        (4, 2, 0.0, 14, 900),
        (4, 8, 0.6, 0, 560),
        (3, 16, 0.1, 9, 150),
        (5, 16, 0.0, 0, 560),
    ],
)
def test_all_operations(bench, dies, depth, stalls, latency, rate):
    """With and without skipping: the same data, and without stalls the same clocks.

    With random stalls the two runs draw different stalls, so only data are compared.
    """
    runs = []
    for skip in (False, True):
        b = bench(
            dies=dies,
            depth=depth,
            stalls=stalls,
            latency=latency,
            late_busy=bool(latency),
            skip=skip,
            timing={"rate_mts": rate, "t_wb_ns": 50},
        )
        model = Model(10 * dies + depth, dies, b.profile.geometry, 40)
        runs.append(model.run(b))
    plain, skipped = runs
    assert skipped.steps < plain.steps
    if not stalls:
        assert plain.clock == skipped.clock
        assert plain.activity == skipped.activity
        assert plain.read_times == skipped.read_times
        assert plain.rules.commands == skipped.rules.commands


@pytest.mark.parametrize("seed", range(8))
def test_programs_and_erases(bench, seed):
    """Many of them, so that they wait and overtake each other."""
    dies = 2 + seed % 4
    b = bench(dies=dies, depth=8, stalls=(0, 0.3)[seed % 2], skip=True, seed=seed)
    Model(seed, dies, b.profile.geometry, 80, ops=WRITES).run(b)


@pytest.mark.parametrize("patience", [0, 2, 15])
@pytest.mark.parametrize("seed", range(3))
def test_reads_of_parts_of_pages(bench, seed, patience):
    """Columns and status reads in between, with every way for a page to the cache register."""
    b = bench(dies=3, depth=12, latency=3, patience=patience, skip=True, late_busy=True)
    model = Model(seed, 3, b.profile.geometry, 60, ops=[NandOp.READ] * 8 + [NandOp.STATUS])
    model.run(b)
    assert {0x30, 0x31, 0x3F, 0x70, 0xE0} <= {byte for _, _, byte in b.rules.commands}


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40))
def test_many(bench, seed):
    rng = random.Random(seed)
    b = bench(
        dies=rng.choice([1, 2, 3, 4, 8]),
        depth=rng.choice([1, 2, 5, 16, 40]),
        stalls=rng.choice([0, 0, 0.2, 0.7]),
        latency=rng.choice([0, 1, 7, 14]),
        patience=rng.choice([0, 1, 2, 5]),
        skip=rng.random() < 0.8,
        seed=seed,
    )
    ops = rng.choice([OPS, WRITES])
    Model(seed, b.profile.geometry.dies, b.profile.geometry, 100, ops).run(b)
