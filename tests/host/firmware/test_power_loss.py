"""A drive that loses its power holds what was flushed, and of the rest a beginning, bit for bit."""

import math

import numpy as np
import pytest

from cosim.reference import twin_attend
from host import DriveConfig, DriveError, KvDrive
from host.firmware.state import MOST_SEGMENTS
from rtl.commands import Opcode, Status
from tests.host.columns import check_columns

LAYERS, HEADS, DIM, QUERIES = 2, 2, 64, 2
SHAPE = {"layers": LAYERS, "kv_heads": HEADS, "head_dim": DIM}


class Contents:
    """A drive, and what it must hold."""

    def __init__(self, drive, seed):
        self.drive, self.rng = drive, np.random.default_rng(seed)
        self.kept, self.flushed = {}, {}

    def open(self, max_tokens=200, **options):
        number = self.drive.open(**SHAPE, max_tokens=max_tokens, **options)
        self.kept[number] = [np.zeros((2, 0, HEADS, DIM), np.float16) for _ in range(LAYERS)]
        self.flushed[number] = [0] * LAYERS
        return number

    def append(self, number, *counts, how="append"):
        for layer, count in enumerate(counts):
            if count:
                new = self.rng.standard_normal((2, count, HEADS, DIM)).astype(np.float16)
                getattr(self.drive, how)(number, layer, *new)
                self.kept[number][layer] = np.concatenate([self.kept[number][layer], new], axis=1)

    def fork(self, old):
        number = self.drive.fork(old)
        self.kept[number], self.flushed[number] = list(self.kept[old]), [0] * LAYERS
        return number

    def truncate(self, number, tokens):
        self.drive.truncate(number, tokens)
        self.kept[number] = [x[:, :tokens] for x in self.kept[number]]
        self.flushed[number] = [min(held, tokens) for held in self.flushed[number]]

    def close(self, number):
        self.drive.close(number)
        del self.kept[number], self.flushed[number]

    def flush(self, number=None):
        self.drive.flush(number)
        for each in self.kept if number is None else [number]:
            self.flushed[each] = [x.shape[1] for x in self.kept[each]]

    def power_cycle(self, seed=0):
        """What is missing then, by sequence and layer."""
        lost = self.drive.power_cycle(seed)
        assert lost.keys() == self.kept.keys()
        for number, layers in self.kept.items():
            for layer, x in enumerate(layers):
                held = self.drive.tokens(number, layer)
                assert self.flushed[number][layer] <= held == x.shape[1] - lost[number][layer]
                layers[layer] = x[:, :held]
        self.check()
        return lost

    def check(self):
        for number, layers in self.kept.items():
            for layer, x in enumerate(layers):
                if not x.shape[1]:
                    continue
                if number == min(self.kept):
                    assert all(map(np.array_equal, self.drive.read(number, layer), x)), layer
                q = self.rng.standard_normal((HEADS * QUERIES, DIM)).astype(np.float16)
                out = self.drive.attend(number, layer, q)
                for head in range(HEADS):
                    mine = slice(head * QUERIES, (head + 1) * QUERIES)
                    wanted = twin_attend(
                        q[mine],
                        *x[:, :, head],
                        1 / math.sqrt(DIM),
                        pass_tokens=self.drive.config.pass_tokens,
                    )
                    assert np.array_equal(out[mine], wanted.out), (number, layer, head)


@pytest.fixture(params=["rtl", "twin"])
def contents(request, tiny):
    with KvDrive(tiny, backend=request.param) as drive:
        yield Contents(drive, 3)


def test_what_was_flushed_is_there_again(contents, tiny):
    a, b, empty = contents.open(), contents.open(), contents.open()
    contents.append(a, 150, 149)
    contents.append(b, 3, 10)
    contents.flush()
    lost = contents.power_cycle()
    assert lost == {n: [0, 0] for n in (a, b, empty)}
    contents.append(a, 7, 8)
    contents.append(empty, 5, 0)
    contents.flush(a)
    assert contents.power_cycle(1) == {a: [0, 0], b: [0, 0], empty: [5 % tiny.group_tokens(DIM), 0]}


def test_full_groups_are_there_without_a_flush(contents, tiny):
    group = tiny.group_tokens(DIM)
    number = contents.open()
    contents.append(number, 9 * group + 1, 8 * group - 1)
    contents.flush(contents.open())  # which waits for the programs of all
    assert contents.power_cycle()[number] == [1, group - 1]


def test_forks_truncations_and_closes_stay_what_they_are(contents, tiny):
    group = tiny.group_tokens(DIM)
    a = contents.open()
    contents.append(a, 20 * group + 1, 20 * group + 2)
    b = contents.fork(a)
    contents.append(a, 3 * group, 3 * group)
    contents.append(b, 2 * group, 2 * group)
    contents.truncate(b, 21 * group)
    contents.append(b, group, 2 * group)
    c = contents.fork(b)
    contents.truncate(c, 10 * group + 3)
    contents.append(c, group, group)
    contents.flush()
    contents.power_cycle(1)
    contents.truncate(a, 5 * group + 1)
    contents.power_cycle(2)
    contents.close(b)
    contents.append(c, 2 * group, 2 * group)
    contents.flush()
    contents.power_cycle(3)
    with pytest.raises(DriveError) as refusal:
        contents.drive.flush(b)
    assert refusal.value.status == Status.CLOSED_SEQUENCE
    d = contents.open()
    contents.append(d, 33, 33)
    contents.flush()
    assert contents.power_cycle(4) == {n: [0, 0] for n in (a, c, d)}


def test_a_truncation_into_flushed_tokens_keeps_them(contents, tiny):
    """The rest of a page that is given up was flushed, so it is flushed again."""
    group = tiny.group_tokens(DIM)
    number = contents.open()
    contents.append(number, 10 * group + 2, 10 * group + 3)
    contents.flush()
    contents.append(number, 5 * group, 0)
    for seed, tokens in enumerate((14 * group + 1, 10 * group + 1, 7 * group + 2)):
        contents.truncate(number, tokens)
        assert contents.power_cycle(seed)[number] == [int(seed == 0), 0]


def test_commands_under_way_are_lost(contents):
    number = contents.open()
    contents.append(number, 9, 9)
    contents.flush()
    q, k, v = (np.zeros((n * HEADS, DIM), np.float16) for n in (QUERIES, 1, 1))
    ticket = contents.drive.submit([(number, 0, q, k, v)])
    contents.drive.power_cycle()
    assert [contents.drive.tokens(number, layer) for layer in range(LAYERS)] == [9, 9]
    with pytest.raises(DriveError, match="waited for"):
        contents.drive.wait(ticket)


class PowerLoss(Exception):
    """The clock of the cut has come."""


def lose_power_at(lane, clock):
    """Has a lane raise `PowerLoss` in this clock, whoever lets time pass."""

    def idle(clocks):
        type(lane).idle(lane, max(0, min(clocks, clock - lane.cycle)))
        if lane.cycle >= clock:
            raise PowerLoss

    def run(mailbox, irq, limit):
        event = type(lane).run(lane, mailbox, irq, max(1, min(limit, clock - lane.cycle)))
        if lane.cycle >= clock:
            raise PowerLoss
        return event

    lane.idle, lane.run = idle, run


class Cuts(Contents):
    """Random calls; what one that is cut off would have changed is taken back as far as it may."""

    MOST, CHUNK = 200, 40  # tokens of a sequence, of an append

    def call(self):
        """One call, a random one."""
        rng, numbers = self.rng, list(self.kept)
        number = int(rng.choice(numbers)) if numbers else None
        what = rng.choice(["append"] * 8 + ["flush"] * 2 + ["open", "fork", "truncate", "close"])
        if what == "open" or number is None:
            if len(numbers) < 3:
                self.open()
        elif what == "fork":
            if len(numbers) < 3:
                self.fork(number)
        elif what == "append":
            left = [self.MOST - x.shape[1] for x in self.kept[number]]
            counts = rng.integers(0, self.CHUNK, LAYERS)
            self.append(number, *np.minimum(left, counts).tolist())
        elif what == "flush":
            self.flush(number if rng.integers(2) else None)
        elif what == "truncate":
            self.truncate(number, int(rng.integers(0, self.MOST)))
        else:
            self.close(number)

    def append(self, number, *counts, how="append"):
        for layer, count in enumerate(counts):
            if count:
                new = self.rng.standard_normal((2, count, HEADS, DIM)).astype(np.float16)
                before = self.kept[number][layer]
                self.kept[number][layer] = np.concatenate([before, new], axis=1)
                self.drive.append(number, layer, *new)

    def truncate(self, number, tokens):
        tokens = min(tokens, max(x.shape[1] for x in self.kept[number]))
        self.flushed[number] = [min(held, tokens) for held in self.flushed[number]]
        self.cut_to = number, tokens
        super().truncate(number, tokens)
        self.cut_to = None

    def close(self, number):
        self.closing = number
        super().close(number)
        self.closing = None

    cut_to = closing = None

    def lose_power(self, clocks, seed):
        """Calls until the power goes; what the drive holds then is judged."""
        lane = self.drive.backend.lane
        lose_power_at(lane, lane.cycle + clocks)
        try:
            while True:
                self.call()
        except PowerLoss:
            del lane.idle, lane.run
        lost = self.drive.power_cycle(seed)
        if self.closing is not None and self.closing not in lost:
            del self.kept[self.closing], self.flushed[self.closing]
        for number, layers in self.kept.items():
            for layer, x in enumerate(layers):
                held = self.drive.tokens(number, layer)
                assert self.flushed[number][layer] <= held <= x.shape[1], (number, layer)
                layers[layer] = x[:, :held]
        self.cut_to = self.closing = None
        self.check()


def random_cuts(kind, seed, count, most, **changes):
    """Cuts, each after up to ``most`` clocks, of a drive with one stream or with four."""
    streams = 1 if seed % 2 else 4
    with KvDrive(DriveConfig.preset("tiny", append_streams=streams, **changes)) as drive:
        cuts = kind(drive, seed)
        for number in range(count):
            cuts.lose_power(int(cuts.rng.integers(1, most)), number)
        assert drive.backend.firmware.tokens_lost == 0
    return cuts


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, 10))]
)
def test_random_cuts(seed):
    """Cuts of a drive that goes on living, in any clock of any call and its firmware."""
    random_cuts(Cuts, seed, 20 if seed == 0 else 30, 120_000)


class CutsByChannel(Cuts):
    """The same with K by channel, which may lag behind K after a loss of power."""

    MOST, CHUNK = 300, 160

    index = "channel"

    def open(self):
        return super().open(self.MOST, index=self.index)

    def check(self):
        super().check()
        for number, layers in self.kept.items():
            self.pages += check_columns(self.drive, number, [x[0] for x in layers], whole=False)

    pages = 0


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, 3))]
)
def test_random_cuts_with_k_by_channel(seed):
    assert random_cuts(CutsByChannel, seed, 3 if seed == 0 else 30, 600_000).pages


class CutsOfBounds(CutsByChannel):
    """With bounds."""

    index = "bounds"


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(n, marks=pytest.mark.soak) for n in range(2, 5))]
)
def test_random_cuts_with_bounds(seed):
    changes = {"sparse_tokens": 1024, "bounds": True}
    assert random_cuts(CutsOfBounds, seed, 2 if seed == 1 else 30, 300_000, **changes).pages


def test_bad_input(tiny):
    with KvDrive(tiny) as drive:
        driver = drive.backend.driver
        number, closed = (drive.open(**SHAPE, max_tokens=99) for _ in range(2))
        drive.close(closed)
        for opcode in (Opcode.SAVE, Opcode.HELD):
            for sequence, status in (
                (closed, Status.CLOSED_SEQUENCE),
                (3, Status.UNKNOWN_SEQUENCE),
            ):
                with pytest.raises(DriveError) as refusal:
                    driver.execute(opcode, sequence=sequence)
                assert refusal.value.status == status
        with pytest.raises(DriveError) as refusal:
            driver.execute(Opcode.HELD, sequence=number, layer=LAYERS)
        assert refusal.value.status == Status.LAYER_OUT_OF_RANGE
        q = np.zeros((HEADS * QUERIES, DIM), np.float16)
        k = np.zeros((HEADS, DIM), np.float16)
        ticket = drive.submit([(number, 0, q, k, k)])
        with pytest.raises(DriveError, match="wait for them first"):
            drive.flush(number)
        drive.wait(ticket)


def test_numbers_of_segments_begin_again(tiny):
    """After the last one only a drive without sequences, and without old pages, begins anew."""
    with KvDrive(tiny) as drive:
        contents = Contents(drive, 5)
        number = contents.open()
        contents.append(number, 50, 50)
        state = drive.backend.firmware.repair.state
        state.next_segment = MOST_SEGMENTS
        contents.flush()  # takes the last one
        for call in (contents.open, lambda: contents.fork(number)):
            with pytest.raises(DriveError) as refusal:
                call()
            assert refusal.value.status == Status.NO_SPACE
        contents.append(number, 4, 4)
        contents.check()
        contents.close(number)
        contents.power_cycle()
        number = contents.open()
        assert drive.backend.firmware.repair.state.sequences[number].segment == 2
        contents.append(number, 50, 50)
        contents.flush()
        assert contents.power_cycle(1) == {number: [0, 0]}
