"""Long streams of page reads against the bus bound: data and seven tWC cycles a page.

Run with ``-s`` for the shares of the bus bound that `rtl.nand.turns` quotes.
"""

import itertools
import random

import pytest

from flash_model.profiles import profile
from flash_model.timing import cycles
from host.bench.channel import CompiledChannel
from rtl.nand.operations import Activity, NandOp

DIES = 16
GOAL = 0.974
WARM, PAGES = 2 * DIES, 512
SCALED = {"t_r_ns": 14_260, "t_rcbsy_ns": 160}
"""With pages of 92 clocks: tR and tRCBSY, in pages, of the profile `paper`."""


def regular(stride):
    return (n * stride % DIES for n in itertools.count())


def passes(pages, stride, seed):
    """Passes over dies in turn; each starts at a die of its own."""
    rng = random.Random(seed)
    while True:
        start = rng.randrange(DIES)
        yield from ((start + n * stride) % DIES for n in range(pages))


def shuffled(seed):
    """Every die once in 16 pages, in any order."""
    rng = random.Random(seed)
    while True:
        yield from rng.sample(range(DIES), DIES)


def halves(seed):
    """Passes of 8 pages over the even or the odd dies, in pairs; each starts anywhere."""
    rng = random.Random(seed)
    while True:
        for odd in rng.sample(range(2), 2):
            start = rng.randrange(8)
            yield from ((2 * (start + 3 * n) + odd) % DIES for n in range(8))


BALANCED = {
    "stride 1": lambda: regular(1),
    "stride 3": lambda: regular(3),
    "passes of 64": lambda: passes(64, 3, 1),
    "passes of 16": lambda: passes(16, 5, 2),
    "shuffled 16": lambda: shuffled(3),
    "halves of 8": lambda: halves(4),
}
UNBALANCED = {
    "passes of 8": lambda: passes(8, 3, 1),
    "passes of 10": lambda: passes(10, 3, 1),
}
REAL = [("paper", 250_000_000), ("tlc_onfi5", 300_000_000)]


class Clocks:
    """What a page costs, in clocks."""

    def __init__(self, flash, clock_hz):
        t = flash.timing
        self.words = flash.geometry.page_bytes // 8
        self.data = t.data_cycles(self.words, clock_hz)
        self.command = 7 * cycles(t.t_wc_ns, clock_hz)
        self.turn = cycles(t.t_rhw_ns, clock_hz)
        self.preamble = cycles(t.t_preamble_ns, clock_hz)
        self.sense = cycles(t.t_r_ns, clock_hz) + cycles(t.t_rcbsy_ns, clock_hz)
        self.bound = self.data + self.command

    def two_registers(self, order):
        """Clocks at which the data of each page have gone, if all commands came in time and free.

        A die senses its pages one after another and holds two at most: one in each register. Data
        go in order, one page after another.
        """
        gone, sensed, held = [], {}, {}
        for die in order:
            mine = held.setdefault(die, [])
            begin = max(sensed.get(die, 0), gone[mine[-2]] if len(mine) > 1 else 0)
            sensed[die] = begin + self.sense
            mine.append(len(gone))
            page = self.bound + self.preamble
            gone.append(max(sensed[die], gone[-1] if gone else 0) + page)
        return gone


def steady(ends):
    """Clocks a page takes, of a stream in full flow."""
    return (ends[-WARM] - ends[WARM]) / (len(ends) - 2 * WARM)


def order_of(make, pages):
    return list(itertools.islice(make(), WARM + pages + WARM))


def measure(name, clock_hz, order, **options):
    """Clocks a page takes on a profile as it is, and what its dies and its bus allow."""
    flash = profile(name)
    clocks = Clocks(flash, clock_hz)
    channel = CompiledChannel(flash, clock_hz, depth=2 * DIES, **options)
    reads = [(die, n, 0, clocks.words) for n, die in enumerate(order)]
    page, possible = steady(channel.run(reads)), steady(clocks.two_registers(order))
    print(
        f"{name}: {page:.1f} clocks a page, {clocks.bound / page:.4f} of the bus bound "
        f"(dies allow {clocks.bound / possible:.4f})"
    )
    return page, possible, clocks


@pytest.mark.parametrize("order", BALANCED)
@pytest.mark.parametrize("name, clock_hz", REAL)
def test_line_rate(name, clock_hz, order):
    page, _, clocks = measure(name, clock_hz, order_of(BALANCED[order], PAGES))
    assert page <= clocks.bound / GOAL


@pytest.mark.parametrize("order", UNBALANCED)
@pytest.mark.parametrize("name, clock_hz", REAL)
def test_dies_asked_for_too_much_at_once_set_the_rate(name, clock_hz, order):
    """No order of commands helps a die that is asked for more pages in a row than it can sense."""
    page, possible, _ = measure(name, clock_hz, order_of(UNBALANCED[order], PAGES))
    assert page <= possible / GOAL


@pytest.mark.parametrize("order", ["stride 3", "passes of 64", "shuffled 16"])
@pytest.mark.parametrize("patience", [0, 1, 2, 3, 4])
@pytest.mark.soak
def test_patience(order, patience):
    print(f"patience {patience}, {order}", end=" ")
    measure("paper", 250_000_000, order_of(BALANCED[order], PAGES), patience=patience)


def test_between_data_phases_there_is_only_what_must_be(bench):
    """A preamble, or with commands tRHW and their cycles; the arrays hide behind."""
    b = bench(dies=DIES, depth=2 * DIES, timing=SCALED)
    clocks = Clocks(b.profile, b.clock_hz)
    pages = 2 * WARM + 30
    b.run(
        [
            {"op": NandOp.READ, "die": 3 * n % DIES, "row": n, "words": clocks.words}
            for n in range(pages)
        ]
    )
    ends = b.read_times[clocks.words - 1 :: clocks.words]
    gaps = [b - a - clocks.data - clocks.preamble for a, b in itertools.pairwise(ends[WARM:-WARM])]
    assert set(gaps) == {0, clocks.turn + 3 * clocks.command}
    assert gaps.count(0) == 2 * (len(gaps) - gaps.count(0)) or len(gaps) % 3
    assert b.activity[Activity.DATA] == pages * clocks.data
    assert b.pulses["page_read"] == pages
    assert sum(b.activity.values()) == b.clock
