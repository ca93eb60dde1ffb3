"""Power cuts at random clocks of a channel that programs and erases on all dies.

One life of a channel ends in a cut. The next begins on the same array with reads through the error
correction; then blocks with a page that bears a mark are erased. Run with ``-s`` for figures.
"""

import functools
import itertools
import random
from collections import Counter

import numpy as np
import pytest

from cosim.bus_monitors import BusMonitors
from cosim.channel_lane import JOB, NEVER, ChannelLane
from flash_model.array import NandArray
from flash_model.array_port import ArrayOp
from flash_model.bit_errors import BitErrorRate
from flash_model.faults import Faults
from flash_model.power_cut import PageState
from rtl.nand.operations import NandOp
from tests.cosim.small_channel import (
    CODEWORDS,
    CONFIG,
    ERASE,
    PROGRAM,
    READ,
    WORDS,
    job_list,
)
from tests.cosim.small_channel import GEOMETRY as G

JOBS = 130
LATEST = 15_000
"""Last clock of a cut, long before the jobs of a life are done."""
LIVES = 20
"""Cuts of one array."""


PLACES = [(die, row) for die in range(G.dies) for row in range(G.rows)]


@pytest.fixture(scope="module")
def lane():
    return ChannelLane(CONFIG)


class Block:
    """A block's jobs. Each waits for those of another kind before it; they come in order anyway."""

    def __init__(self, next_page):
        self.next_page = next_page
        self.jobs, self.kind, self.after = [], None, None

    def add(self, number, kind):
        """The job that ``number`` waits for."""
        if kind != self.kind:
            self.kind, self.after = kind, self.jobs[-1] if self.jobs else None
        self.jobs.append(number)
        return number if self.after is None else self.after


def work(rng, filled):
    """Jobs and their data: blocks are filled page by page and erased, on any die at any time.

    Some are erased before they are full.

    ``filled``: (die, block) -> its next page.
    """
    blocks = {place: Block(page) for place, page in filled.items()}
    jobs, data = np.zeros(JOBS, JOB), np.zeros((JOBS, WORDS), np.uint64)
    count, dies = 0, itertools.cycle(range(G.dies))
    while count < JOBS:
        # Dies take turns: the controller starts programs and erases in order.
        die, number = next(dies), rng.randrange(G.blocks)
        block = blocks[die, number]
        early = block.next_page > 0 and rng.random() < 0.05
        kind = ERASE if early or block.next_page == G.pages else PROGRAM
        if block.jobs and rng.random() < 0.15:
            kind = READ
        # What has to wait for something comes long after it, or it would hold up all others.
        if kind != block.kind and block.jobs and count - block.jobs[-1] < 10:
            continue
        page = block.next_page
        if kind == READ:
            page = rng.randrange(G.pages)
        elif kind == ERASE:
            page = block.next_page = 0
        else:
            block.next_page += 1
            data[count] = np.frombuffer(rng.randbytes(8 * WORDS), np.uint64)
        jobs[count] = kind, die, G.row(number, page), block.add(count, kind), 0, 0, 0, 0
        count += 1
    return jobs, data


class History:
    """An array, and what is certain of its pages: their words, or None if they are erased.

    Parameters
    ----------
    lane : ChannelLane
    seed : int
    faults : Faults, optional
    watch : callable, optional
        Of `ChannelLane.run`.
    """

    def __init__(self, lane, seed, faults=None, watch=None):
        self.rng, self.array = random.Random(seed), NandArray(G, faults=faults)
        self.run = functools.partial(lane.run, watch=watch)
        self.pages = dict.fromkeys(PLACES)
        self.seen = Counter()

    def live(self):
        """Work until the power is cut.

        Returns
        -------
        certain : dict
            (die, row) -> words that were acknowledged, or None: the page is erased.
        possible : dict
            Pages with an operation that is not acknowledged -> words that they may hold, or None.
        """
        blocks = [(die, n) for die in range(G.dies) for n in range(G.blocks)]
        pages = {place: [self.pages[page] for page in block_of(*place)] for place in blocks}
        filled = {place: sum(page is not None for page in pages[place]) for place in blocks}
        jobs, data = work(self.rng, filled)
        cut = self.rng.randint(1, LATEST)
        _, clocks = self.run(jobs, data, self.array, limit=cut, complete=False)
        assert clocks == cut and (jobs["done"] == NEVER).any()
        assert not jobs["failed"][jobs["op"] != READ].any()
        certain, possible = dict(self.pages), {}
        for job, words in zip(jobs.tolist(), data):
            kind, die, row, _, taken, done, *_ = job
            self.seen[f"{NandOp(kind).name} acknowledged"] += int(done != NEVER)
            if taken == NEVER or kind == READ:
                continue
            for place in [(die, row)] if kind == PROGRAM else block_of(die, row // G.pages):
                assert place not in possible
                if done != NEVER:
                    certain[place] = words if kind == PROGRAM else None
                else:
                    old = certain.pop(place)
                    possible[place] = words if kind == PROGRAM else old
        self.seen["power cuts"] += 1
        for entry in self.array.power_cut(cut, self.rng.getrandbits(32)):
            self.seen[f"{entry.op.name} {'interrupted' if entry.share else 'not begun'}"] += 1
            touched = [(entry.die, entry.row)]
            if entry.op == ArrayOp.ERASE:
                touched = block_of(entry.die, entry.row // G.pages)
            assert possible.keys() >= set(touched)
        return certain, possible

    def read(self, certain, possible):
        """What a fresh channel reads, judged codeword by codeword."""
        erased = [place for place, words in certain.items() if words is None]
        certain = {place: words for place, words in certain.items() if words is not None}
        # A page that does not read is read at every read-retry level: of the erased ones, one.
        blank = self.rng.sample(erased, min(1, len(erased)))
        places = [*certain, *possible, *blank]
        self.rng.shuffle(places)
        # One at a time: whatever else is asked for is read anew with each level.
        after = [None, *range(len(places) - 1)]
        jobs = job_list([(READ, *place, n) for place, n in zip(places, after)])
        got = np.zeros((len(places), WORDS), np.uint64)
        errors, _ = self.run(jobs, got, self.array)
        errors = errors.reshape(len(places), CODEWORDS, -1)
        assert not errors[:, :, :-1].any()  # a mark is on the last word of its codeword
        self.pages = dict.fromkeys(erased)
        for place, words, marks in zip(places, got, errors[:, :, -1]):
            state = self.array.page_state(0, *place)
            only_ones = (self.array.page(0, *place) == 0xFF).all()
            if place in certain:
                assert not marks.any() and (words == certain[place]).all(), place
                self.seen["acknowledged pages, right"] += 1
            elif place in blank:
                assert marks.all() and only_ones and state == PageState.ERASED, place
                self.seen["erased pages, marked"] += 1
            else:
                # Never words that are wrong and bear no mark.
                wanted = possible[place]
                good = np.zeros(WORDS, bool) if wanted is None else words == wanted
                for part, marked in zip(np.split(good, CODEWORDS), marks):
                    assert marked or part.all(), place
                # What was interrupted is never blank, what is blank has not begun.
                assert only_ones == (state == PageState.ERASED), place
                whole = "marked" if marks.any() else "right"
                self.seen[f"other pages: {state.name.lower()}, {whole}"] += 1
            if not marks.any():
                self.pages[place] = words

    def tidy(self):
        """Erase every block with a page that did not read."""
        blocks = {(die, row // G.pages) for die, row in PLACES if (die, row) not in self.pages}
        jobs = job_list([(ERASE, die, G.row(n, 0), None) for die, n in sorted(blocks)])
        for block in blocks:
            self.pages |= dict.fromkeys(block_of(*block))
        self.run(jobs, np.zeros((len(jobs), WORDS), np.uint64), self.array)
        assert not jobs["failed"].any()


def block_of(die, number):
    """Its pages."""
    return [(die, G.row(number, page)) for page in range(G.pages)]


def lives(lane, seed, count, faults=None, watched=False):
    """Counts of what was seen in so many lives of an array; the protocol monitor may watch."""
    monitors = BusMonitors(CONFIG.flash, CONFIG.clock_hz) if watched else None
    history = History(lane, seed, faults, monitors)
    for _ in range(count):
        history.read(*history.live())
        history.tidy()
    if monitors:
        monitors.check()
        done = history.array.buffers["operations"].sum(axis=0)
        given = [monitors.count(*kind) for kind in ((0x30, 0x31), (0x10,), (0xD0,))]
        assert [[number] for number in done] == given
    return history.seen


def test_200_power_cuts(lane):
    seen = sum((lives(lane, seed, LIVES, watched=seed == 0) for seed in range(10)), Counter())
    print("", *(f"{number:6} {what}" for what, number in sorted(seen.items(), key=str)), sep="\n")
    assert seen["power cuts"] == 200
    # All kinds of what may happen have happened, and not rarely.
    assert seen["PROGRAM interrupted"] >= 200 and seen["ERASE interrupted"] >= 20
    assert seen["acknowledged pages, right"] >= 5000
    assert seen["other pages: partly_programmed, marked"] >= 200
    assert seen["other pages: undefined, marked"] >= 20 * G.pages
    assert seen["other pages: erased, marked"] >= 200
    assert seen["other pages: programmed, right"] >= 20


def test_power_cuts_of_cells_with_errors(lane):
    """Nearly one error in a codeword on average, besides what the cuts leave."""
    rate = BitErrorRate(erases=1, fresh=2e-4, worn=0, kept=0, disturbed=0)
    seen = lives(lane, 77, LIVES, Faults(G, rate=rate), watched=True)
    assert seen["acknowledged pages, right"] >= 500
    assert seen["other pages: partly_programmed, marked"] >= 20


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 200))
def test_many_power_cuts(lane, seed):
    assert lives(lane, seed, LIVES, watched=True)["power cuts"] == LIVES
