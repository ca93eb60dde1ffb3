"""K by channel beside K: what the firmware keeps of it, on the fake lane, and the twin's books."""

import numpy as np
import pytest

from host import DriveConfig, DriveError, KvDrive, Status
from host.firmware import tables
from rtl.tables import SEQUENCE, PageKind
from tests.host.columns import check_columns
from tests.host.conftest import make_drive
from tests.host.fake_drive.lane import FakeLane, PowerLoss

LAYERS, HEADS, DIM, UNIT = 2, 2, 64, 256
SHAPE = {"layers": LAYERS, "kv_heads": HEADS, "head_dim": DIM, "index": "channel"}
GROUP = 4
PAGES = UNIT // GROUP
"""Of a unit: as many as it has token groups."""


class Contents:
    """A drive on the fake lane, and what its sequences hold."""

    def __init__(self, drive, seed=0):
        self.drive, self.rng, self.kept = drive, np.random.default_rng(seed), {}

    def open(self, max_tokens=600, **shape):
        number = self.drive.open(**SHAPE | shape, max_tokens=max_tokens)
        self.kept[number] = [np.zeros((2, 0, HEADS, DIM), np.float16)] * LAYERS
        return number

    def append(self, number, tokens, layers=range(LAYERS), how="append"):
        for layer in layers:
            new = self.rng.standard_normal((2, tokens, HEADS, DIM)).astype(np.float16)
            before = self.kept[number][layer]
            self.kept[number][layer] = np.concatenate([before, new], axis=1)
            getattr(self.drive, how)(number, layer, *new)

    def step(self, number, layer=0):
        q, k, v = self.rng.standard_normal((3, HEADS, DIM)).astype(np.float16)
        self.drive.step(number, layer, q, k, v)
        new = np.stack([k, v])[:, None]
        self.kept[number][layer] = np.concatenate([self.kept[number][layer], new], axis=1)

    def fork(self, number):
        new = self.drive.fork(number)
        self.kept[new] = list(self.kept[number])
        return new

    def truncate(self, number, tokens):
        self.drive.truncate(number, tokens)
        self.kept[number] = [x[:, :tokens] for x in self.kept[number]]

    def close(self, number):
        self.drive.close(number)
        del self.kept[number]

    def power_cycle(self, seed=0):
        self.drive.power_cycle(seed)
        for number, layers in self.kept.items():
            held = [self.drive.tokens(number, layer) for layer in range(LAYERS)]
            assert all(now <= x.shape[1] for now, x in zip(held, layers, strict=True))
            self.kept[number] = [x[:, :now] for now, x in zip(held, layers, strict=True)]

    def check(self, whole=True):
        """Pages of K by channel of each sequence, all compared; and one layer of K and V."""
        found = {}
        for number, layers in self.kept.items():
            for layer, x in enumerate(layers):
                if x.shape[1] and (number, layer) == (max(self.kept), 0):
                    assert all(map(np.array_equal, self.drive.read(number, layer), x))
            found[number] = check_columns(self.drive, number, [x[0] for x in layers], whole)
        return found


ONE, STREAMS = {}, {"die_parts": 2, "append_streams": 4}
"""One stream for all sequences; streams of their own."""


either = pytest.mark.parametrize("contents", [ONE, STREAMS], ids=["one", "streams"], indirect=True)


@pytest.fixture
def contents(request):
    config = DriveConfig.preset("tiny", **getattr(request, "param", STREAMS))
    with KvDrive(config, backend="rtl", lane=FakeLane(config)) as drive:
        yield Contents(drive)


@pytest.fixture(params=["fake", "gateware"])
def made(request):
    """The same on one stream, made by the fake lane and by the gateware."""
    config = DriveConfig.preset("tiny")
    lane = FakeLane(config) if request.param == "fake" else None
    with KvDrive(config, backend="rtl", lane=lane) as drive:
        yield Contents(drive)


def held(drive, number):
    """Places of a sequence's pages, as a set."""
    firmware = drive.backend.firmware
    places = tables.read_map(firmware.device, firmware.capacity.placements[number])
    return set(zip(*(part.tolist() for part in places), strict=True))


def test_units_are_there_once_their_tokens_are(contents):
    number = contents.open()
    for tokens, units in ((UNIT - 1, 0), (1, 1), (UNIT, 2), (50, 2)):
        contents.append(number, tokens)
        assert contents.check() == {number: units * PAGES * LAYERS * HEADS}


@pytest.mark.parametrize("how", ["append", "preload"])
def test_many_units_of_one_append(made, how):
    number = made.open(1000)
    made.append(number, 3)
    made.append(number, 2 * UNIT, [1], how)
    made.append(number, 2 * UNIT - 3, [0], how)
    assert made.check()[number] == 4 * PAGES * HEADS
    made.append(number, UNIT - 3, [1])
    made.append(number, UNIT, [0], "preload")
    made.step(number, 1)
    made.step(number, 1)
    assert made.check()[number] == 6 * PAGES * HEADS


def test_steps_complete_a_unit(made):
    number = made.open()
    made.append(number, UNIT - 2)
    for _ in range(3):
        made.step(number)
    assert made.check()[number] == PAGES * HEADS


def test_forks_share_whole_units_and_write_others_themselves(made):
    first = made.open()
    made.append(first, 300)
    pages = made.drive.stats()["pages_programmed"]
    second = made.fork(first)
    assert made.drive.stats()["pages_programmed"] - pages < 8  # the state table
    assert held(made.drive, first) == held(made.drive, second)
    made.append(first, 220)
    made.append(second, 215)
    assert made.check() == dict.fromkeys((first, second), 2 * PAGES * LAYERS * HEADS)
    shared = held(made.drive, first) & held(made.drive, second)
    assert len(shared) == LAYERS * HEADS * (2 * 75 + PAGES)
    third = made.fork(second)
    made.close(first)
    made.close(second)
    assert made.check() == {third: 2 * PAGES * LAYERS * HEADS}


@pytest.mark.parametrize("keep", [0, 255, 256, 511, 512])
def test_truncated_sequences_keep_whole_units(contents, keep):
    number = contents.open()
    contents.append(number, 530)
    before = held(contents.drive, number)
    contents.truncate(number, keep)
    assert contents.check()[number] == keep // UNIT * PAGES * LAYERS * HEADS
    assert held(contents.drive, number) <= before
    contents.append(number, 590 - keep)
    contents.check()


def test_a_sequence_without_it_has_no_pages_of_it(contents):
    number = contents.open(index="none")
    contents.append(number, 300)
    assert len(held(contents.drive, number)) == 2 * 75 * LAYERS * HEADS
    lane = contents.drive.backend.lane
    entry = SEQUENCE.unpack(lane.dram[lane.registers["SEQUENCE_TABLE"] + SEQUENCE.size * number :])
    assert entry["unit_groups"] == entry["columns"] == 0


@either
def test_pages_are_moved_and_their_groups_used_again(contents):
    """Sequences of many lengths; what lives longest is moved again and again."""
    old = contents.open(600)
    contents.append(old, 520)
    for turn in range(8):
        number = contents.open(400)
        contents.append(number, 380 + turn)
        if turn % 3 == 0:
            contents.append(old, 3)
        contents.close(number)
    assert contents.check()[old] == 2 * PAGES * LAYERS * HEADS
    stats = contents.drive.stats()
    assert stats["blocks_erased"] > 0
    contents.close(old)
    firmware = contents.drive.backend.firmware
    assert not len(firmware.space.live()[0]) and not firmware.shared.saved.any()


def test_pages_that_live_on_in_half_dead_groups_are_compacted(rng):
    """Two sequences share all groups; one goes, and the drive is filled again."""
    config = DriveConfig.preset("tiny")
    with make_drive("fake", config) as drive:
        contents = Contents(drive)
        numbers = [contents.open(500), contents.open(500)]
        for _ in range(10):
            for number in numbers:
                contents.append(number, 50)
        contents.close(numbers[0])
        contents.append(contents.open(500), 500)
        new = contents.open(380)
        contents.append(new, 380)
        assert drive.stats()["pages_compacted"] > 0
        found = contents.check()
        assert set(found.values()) == {PAGES * LAYERS * HEADS}
        drive.flush()
        contents.power_cycle()
        assert contents.check() == found


def test_what_a_bad_block_held_is_moved(contents):
    """Every block of a sequence in turn is taken for bad."""
    number = contents.open(300)
    other = contents.fork(number)
    contents.append(number, 290)
    contents.close(other)
    other = contents.fork(number)
    repair = contents.drive.backend.firmware.repair
    columns = set()
    for channel, die, row in sorted(held(contents.drive, number)):
        meta = repair._pages.read(channel, die, row)[0]
        if (meta[2] >> 2 & 7) == PageKind.COLUMNS:
            columns.add((channel, die, row // 16))
    assert len(columns) > 4
    for place in sorted(columns)[:6]:
        with repair.at_rest(contents.drive.backend.firmware.space.feed):
            repair.failures.tired.add(place)
            repair._changed = True
        repair.service(contents.drive.backend.firmware.space.feed)
        assert place in repair.blocks.bad and place not in {
            (c, d, r // 16) for c, d, r in held(contents.drive, number)
        }
    assert held(contents.drive, number) == held(contents.drive, other)
    contents.check()
    contents.append(other, 10)
    contents.power_cycle()
    assert set(contents.check().values()) == {PAGES * LAYERS * HEADS}


@either
def test_units_outlive_a_loss_of_power(contents):
    first = contents.open()
    contents.append(first, 300)
    second = contents.fork(first)
    contents.append(first, 250)
    contents.append(second, 260)
    contents.truncate(second, 515)
    contents.drive.flush()
    before = {n: held(contents.drive, n) for n in (first, second)}
    for seed in range(2):
        contents.power_cycle(seed)
        assert contents.check() == dict.fromkeys((first, second), 2 * PAGES * LAYERS * HEADS)
        assert {n: held(contents.drive, n) for n in (first, second)} == before
    contents.truncate(first, 400)  # within the second unit
    contents.power_cycle(2)
    assert contents.check()[first] == PAGES * LAYERS * HEADS
    contents.append(first, 130)
    third = contents.fork(first)
    contents.drive.flush()
    contents.power_cycle(3)
    assert set(contents.check().values()) == {2 * PAGES * LAYERS * HEADS}
    assert held(contents.drive, first) == held(contents.drive, third)


def test_an_old_unit_does_not_count_for_those_who_left_it(contents):
    """A fork within a unit, and a truncation into it: the first's pages of it are others' tokens,
    though segment, head and number fit."""
    first = contents.open(300)
    contents.append(first, 200)
    second = contents.fork(first)
    contents.append(first, 100)
    third = contents.fork(first)
    contents.truncate(third, 210)
    contents.append(second, 55)  # a token less than the unit
    contents.append(third, 45)
    contents.drive.flush()
    contents.power_cycle()
    found = contents.check()
    assert found == {first: PAGES * LAYERS * HEADS, second: 0, third: 0}
    for number in (second, third):
        contents.append(number, 1)
    contents.drive.flush()
    contents.power_cycle(1)
    assert set(contents.check().values()) == {PAGES * LAYERS * HEADS}


def cut_within_a_unit(contents, number, programs, tokens):
    """Appends to layer 0, and loses the power after so many pages: K and V of two heads, then
    their units."""
    lane = contents.drive.backend.lane
    lane.programs_left = programs
    with pytest.raises(PowerLoss):
        contents.append(number, tokens, [0])
        contents.drive.backend.driver.quiesce()
    contents.power_cycle()


@pytest.mark.parametrize(
    ("programs", "tokens", "pages"),
    [(4 * 14 - 1, 252, 0), (4 * 14, 256, 0), (4 * 14 + PAGES - 1, 256, 0)]
    + [(4 * 14 + PAGES, 256, PAGES), (4 * 14 + 2 * PAGES - 1, 256, PAGES)],
)
def test_a_unit_that_was_broken_off_is_made_after_the_next_append(
    contents, programs, tokens, pages
):
    number = contents.open()
    contents.append(number, 200)
    contents.drive.flush()
    cut_within_a_unit(contents, number, programs, 56)
    assert contents.kept[number][0].shape[1] == tokens
    assert contents.check(whole=False) == {number: pages}
    contents.append(number, 60)
    assert contents.check() == {number: PAGES * LAYERS * HEADS}
    contents.power_cycle()
    assert contents.check() == {number: PAGES * LAYERS * HEADS}


def behind(contents):
    """A sequence whose groups are there, and whose unit of head 1 in layer 0 is not."""
    number = contents.open(300)
    contents.append(number, 200)
    contents.drive.flush()
    cut_within_a_unit(contents, number, 4 * 14 + 2 * PAGES - 30, 56)
    assert contents.kept[number][0].shape[1] == 256
    assert contents.check(whole=False) == {number: PAGES}
    return number


def test_what_is_behind_catches_up_and_is_not_forgotten(contents):
    number = behind(contents)
    contents.power_cycle(1)
    assert contents.check(whole=False) == {number: PAGES}
    contents.append(number, 1)  # its segment has pages of K by channel, and no group
    contents.append(number, 55, [1])
    assert contents.check() == {number: PAGES * LAYERS * HEADS}
    fork = contents.fork(number)
    contents.drive.flush()
    for seed in range(2, 5):
        contents.power_cycle(seed)
        assert contents.check() == dict.fromkeys((number, fork), PAGES * LAYERS * HEADS)
        assert held(contents.drive, number) == held(contents.drive, fork)
    records = contents.drive.backend.firmware.repair.state.sequences
    assert len(records[number].ancestors) <= 4  # losses of power do not make it longer
    contents.append(number, 20)
    contents.truncate(number, 257)
    contents.power_cycle(5)
    assert contents.check()[number] == PAGES * LAYERS * HEADS


def test_forks_and_truncations_of_what_is_behind(contents):
    number = behind(contents)
    fork = contents.fork(number)
    contents.append(number, 1)
    contents.append(fork, 2)
    contents.truncate(fork, 256)
    other = contents.fork(fork)
    contents.drive.flush()
    contents.power_cycle(1)
    found = contents.check(whole=False)
    assert found == {number: 2 * PAGES, fork: 2 * PAGES, other: 2 * PAGES}
    contents.truncate(number, 255)
    contents.append(number, 1)
    contents.drive.flush()
    contents.power_cycle(2)
    found = contents.check(whole=False)
    assert found == {number: 2 * PAGES, fork: 2 * PAGES, other: 2 * PAGES}


def test_the_drive_can_be_promised_to_the_last_page(rng):
    """What is admitted finds room, columns included; one token more per head does not."""
    config = DriveConfig.preset("tiny", dram_bytes=1 << 22)
    with make_drive("fake", config) as drive, make_drive("twin", config) as twin:
        room = drive.backend.firmware.capacity._channel_pages
        # a head of a unit takes 2 * 64 + 64 pages, on two channels
        layers = room // (3 * PAGES // 2 * HEADS)
        shape = SHAPE | {"layers": layers, "max_tokens": UNIT}
        rest = room - layers * 3 * PAGES // 2 * HEADS
        for one in (drive, twin):
            with pytest.raises(DriveError, match="flash pages a channel") as refusal:
                one.open(**shape | {"layers": layers + 1})
            assert refusal.value.status == Status.NO_SPACE
            one.open(**shape | {"layers": layers + 1, "index": "none"})
            one.close(0)
            number = one.open(**shape)
            if rest >= 2:
                spare = {"layers": 1, "kv_heads": 1, "head_dim": DIM}
                one.close(one.open(**spare, max_tokens=GROUP * (rest // 2) * 2))
            with pytest.raises(DriveError):
                one.open(layers=1, kv_heads=1, head_dim=DIM, max_tokens=GROUP * (rest + 4))
        k, v = rng.standard_normal((2, UNIT, HEADS, DIM)).astype(np.float16)
        for layer in range(layers):
            drive.append(number, layer, k, v)
        assert check_columns(drive, number, [k] * layers) == layers * HEADS * PAGES


@pytest.mark.parametrize("index", ["channel", "bounds"])
def test_the_twin_refuses_what_the_drive_refuses(index):
    """The same calls; forks that share units, until there is no room for another."""
    config = DriveConfig.preset("tiny", max_sequences=16, sparse_tokens=1024, bounds=True)
    answers = []
    for backend in ("twin", "fake"):
        mine = []
        rng = np.random.default_rng(4)
        with make_drive(backend, config) as drive:
            shape = SHAPE | {"layers": 4, "index": index}
            first = drive.open(**shape, max_tokens=300)
            data = rng.standard_normal((2, 270, HEADS, DIM)).astype(np.float16)
            for layer in range(4):
                drive.append(first, layer, *data)
            numbers = [first, drive.fork(first)]
            drive.truncate(numbers[1], 259)
            for most in (300, 520, 290, 900, 270, 1000):
                try:
                    numbers.append(drive.fork(numbers[-1], max_tokens=most))
                    mine.append(numbers[-1])
                except DriveError as error:
                    mine.append(error.status)
            drive.close(numbers[0])
            for tokens in (900, 700, 500, 300, 100, 260, 255, 30, 3):
                try:
                    mine.append(drive.open(**shape, max_tokens=tokens))
                except DriveError as error:
                    mine.append(error.status)
            mine.append({n: drive.stats()[n] for n in ("pages_read", "bytes_flash")})
            capacity = drive.backend.firmware.capacity if backend == "fake" else None
            saved = drive.backend.firmware.shared.saved if capacity else drive.backend._saved
            mine.append(saved.tolist())
        answers.append(mine)
    assert answers[0] == answers[1]
    assert Status.NO_SPACE in answers[0]


def test_units_that_one_command_brings_are_not_read_back(rng):
    """A command of a tiny drive brings a unit of one head; commands begin with one if they can."""
    config, counts = DriveConfig.preset("tiny"), []
    data = rng.standard_normal((2, 1000, 1, DIM)).astype(np.float16)
    for backend in ("rtl", "fake", "twin"):
        with make_drive(backend, config) as drive:
            number = drive.open(**SHAPE | {"layers": 1, "kv_heads": 1}, max_tokens=1000)
            held, mine = 0, []
            for tokens in (UNIT, UNIT + 9, 200, 300):
                drive.append(number, 0, *data[:, held : held + tokens])
                held += tokens
                if backend != "twin":
                    assert check_columns(drive, number, [data[0, :held]]) == held // UNIT * PAGES
                stats = drive.stats()
                mine.append([stats[n] for n in ("pages_read", "pages_programmed", "commands")])
            counts.append(mine)
    assert counts[0] == counts[1] == counts[2]
    assert [pages for pages, _, _ in counts[2]] == [0, 0, 0, PAGES]  # the last two began within one


@pytest.mark.parametrize("backend", ["golden", "twin", "fake"])
def test_head_dims_that_cannot_be_kept_are_refused(backend):
    config = DriveConfig.preset("tiny")
    with make_drive(backend, config) as drive:
        with pytest.raises(DriveError, match=r"head_dim = 128.*these head_dims: 64\b") as refusal:
            drive.open(**SHAPE | {"head_dim": 128})
        assert refusal.value.status == Status.UNSUPPORTED_INDEX
        with pytest.raises(
            DriveError, match="'rows': give 'none', 'channel' or 'bounds'"
        ) as refusal:
            drive.open(**SHAPE | {"index": "rows"})
        assert refusal.value.status == Status.UNSUPPORTED_INDEX
        drive.close(drive.open(**SHAPE))


def test_health_counts_what_is_written(rng):
    """Bytes of a token: two vectors, or three with K a second time."""
    for index, vectors in (("none", 2), ("channel", 3)):
        with make_drive("twin", DriveConfig.preset("tiny")) as drive:
            number = drive.open(**SHAPE | {"index": index})
            for layer in range(LAYERS):
                drive.append(number, layer, *np.zeros((2, UNIT, HEADS, DIM), np.float16))
            pages = vectors * PAGES * HEADS * LAYERS
            assert drive.stats()["pages_programmed"] == pages
            per_token = drive.health()["bytes_per_token"]
            assert per_token == pages * 512 / UNIT == vectors * 2 * DIM * HEADS * LAYERS
