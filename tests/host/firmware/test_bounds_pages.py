"""Bounds of K beside K: what the drive keeps of them, on gateware and on the fake lane, and the
twin's books. Units are of 32 tokens, a page each."""

import numpy as np
import pytest

from host import DriveConfig, DriveError, KvDrive, Sparf, Status
from rtl.tables import PageKind
from tests.host.columns import check_columns
from tests.host.conftest import make_drive
from tests.host.fake_drive.lane import FakeLane, PowerLoss
from tests.host.firmware.test_columns import DIM, HEADS, LAYERS, SHAPE, Contents, held

CONFIG = DriveConfig.preset("tiny", sparse_tokens=1024, bounds=True)
STREAMS = DriveConfig.preset("tiny", sparse_tokens=1024, bounds=True, die_parts=2, append_streams=4)
UNIT, GROUPS = 32, 8
ALL = LAYERS * HEADS


class Bounds(Contents):
    """The same with sequences that have bounds."""

    def open(self, max_tokens=600, **shape):
        return super().open(max_tokens, **{"index": "bounds"} | shape)


either = pytest.mark.parametrize(
    "contents", [CONFIG, STREAMS], ids=["one", "streams"], indirect=True
)


@pytest.fixture
def contents(request):
    config = getattr(request, "param", STREAMS)
    with KvDrive(config, backend="rtl", lane=FakeLane(config)) as drive:
        yield Bounds(drive)


@pytest.fixture(params=["fake", "rtl"])
def made(request):
    with make_drive(request.param, CONFIG) as drive:
        yield Bounds(drive)


def test_units_are_there_once_their_tokens_are(made):
    number, tokens = made.open(), 0
    for more in (UNIT - 1, 1, 3 * UNIT, UNIT + 20, 300):
        made.append(number, more)
        tokens += more
        assert made.check() == {number: tokens // UNIT * ALL}


def test_appends_preloads_steps_and_sequences_with_k_by_channel(made):
    number, other = made.open(), made.open(index="channel")
    for each in (number, other):
        made.append(each, 2 * UNIT - 1, [1])
        made.append(each, 5 * UNIT + 2, [0], "preload")
    made.step(number, 1)
    made.append(number, 8 * UNIT, [1])
    made.append(other, 7 * UNIT, [0], "preload")
    made.append(other, 3 * UNIT, [0])
    made.step(number, 1)
    assert made.check() == {number: 15 * HEADS, other: 64 * HEADS}


def test_bf16(made):
    """And elements of all kinds, as far as K may have them."""
    number = made.drive.open(**SHAPE | {"index": "bounds"}, max_tokens=100, kv_format="bf16")
    dtype = made.drive._sequences[number].format.dtype
    rng = np.random.default_rng(3)
    words = rng.integers(0, 1 << 16, (2, LAYERS, 3 * UNIT, HEADS, DIM), np.uint16)
    k, v = words.view(dtype)
    for layer in range(LAYERS):
        made.drive.append(number, layer, k[layer, :50], v[layer, :50])
        made.drive.append(number, layer, k[layer, 50:], v[layer, 50:])
    assert check_columns(made.drive, number, list(k)) == 3 * ALL


def test_forks_share_whole_units_and_write_others_themselves(made):
    first = made.open()
    made.append(first, 3 * UNIT + 10)
    second = made.fork(first)
    assert held(made.drive, first) == held(made.drive, second)
    made.append(first, 60)
    made.append(second, 55)
    found = made.check()
    assert found == dict.fromkeys((first, second), 5 * ALL)
    shared = held(made.drive, first) & held(made.drive, second)
    assert len(shared) == ALL * (2 * 26 + 3)
    third = made.fork(second)
    made.close(first)
    made.close(second)
    assert made.check() == {third: 5 * ALL}
    made.close(third)
    firmware = made.drive.backend.firmware
    assert not len(firmware.space.live()[0]) and not firmware.shared.saved.any()


@pytest.mark.parametrize("keep", [0, UNIT - 1, UNIT, 5 * UNIT + 31])
def test_truncated_sequences_keep_whole_units(contents, keep):
    number = contents.open()
    contents.append(number, 6 * UNIT + 9)
    before = held(contents.drive, number)
    contents.truncate(number, keep)
    assert contents.check()[number] == keep // UNIT * ALL
    assert held(contents.drive, number) <= before
    contents.append(number, 300 - keep)
    contents.check()


def test_what_a_bad_block_held_is_moved(contents):
    number = contents.open()
    contents.append(number, 500)
    other = contents.fork(number)
    firmware = contents.drive.backend.firmware
    repair, blocks = firmware.repair, set()
    for channel, die, row in held(contents.drive, number):
        meta = repair._pages.read(channel, die, row)[0]
        if (meta[2] >> 2 & 7) == PageKind.COLUMNS:
            blocks.add((channel, die, row // 16))
    assert len({place[:2] for place in blocks}) == 4  # on all dies
    for place in sorted(blocks)[:4]:
        with repair.at_rest(firmware.space.feed):
            repair.failures.tired.add(place)
            repair._changed = True
        repair.service(firmware.space.feed)
        assert place in repair.blocks.bad
    assert held(contents.drive, number) == held(contents.drive, other)
    contents.check()
    contents.append(other, 20)
    contents.drive.flush()
    contents.power_cycle()
    assert contents.check() == {number: 15 * ALL, other: 16 * ALL}


@either
def test_units_outlive_a_loss_of_power(contents):
    first = contents.open()
    contents.append(first, 100)
    second = contents.fork(first)
    contents.append(first, 250)
    contents.append(second, 260)
    contents.truncate(second, 330)
    third = contents.fork(second)
    contents.truncate(third, 100)  # within a unit
    contents.append(third, 30)
    contents.drive.flush()
    before = {n: held(contents.drive, n) for n in contents.kept}
    for seed in range(2):
        contents.power_cycle(seed)
        assert contents.check() == {first: 10 * ALL, second: 10 * ALL, third: 4 * ALL}
        assert {n: held(contents.drive, n) for n in contents.kept} == before


def test_an_old_unit_does_not_count_for_those_who_left_it(contents):
    """A fork within a unit, and a truncation into it: the first's page of it is others' tokens."""
    first = contents.open()
    contents.append(first, UNIT + 20)
    second = contents.fork(first)
    contents.append(first, 12)
    third = contents.fork(first)
    contents.truncate(third, UNIT + 22)
    contents.append(second, 11)
    contents.append(third, 9)
    contents.drive.flush()
    contents.power_cycle()
    assert contents.check() == {first: 2 * ALL, second: ALL, third: ALL}
    for number in (second, third):
        contents.append(number, 1)
    contents.drive.flush()
    contents.power_cycle(1)
    assert set(contents.check().values()) == {2 * ALL}


@pytest.mark.parametrize("programs", [4 * GROUPS - 1, 4 * GROUPS, 4 * GROUPS + 1])
def test_a_unit_that_was_broken_off_is_made_after_the_next_append(contents, programs):
    """The power goes after so many pages: K and V of a unit of two heads, then the bounds of each.

    What is made later has a segment of its own, which is not forgotten.
    """
    number = contents.open()
    contents.append(number, 2)
    contents.append(number, UNIT - 2, [1])
    contents.drive.flush()
    contents.drive.backend.lane.programs_left = programs
    with pytest.raises(PowerLoss):
        contents.append(number, UNIT - 2, [0])
        contents.drive.backend.driver.quiesce()
    contents.power_cycle()
    whole = programs >= 4 * GROUPS
    assert contents.kept[number][0].shape[1] == (UNIT if whole else UNIT - 4)
    behind = HEADS + max(0, programs - 4 * GROUPS)
    assert contents.check(whole=False) == {number: behind}
    contents.append(number, 5, [0])
    assert contents.check() == {number: ALL}
    fork = contents.fork(number)
    contents.drive.flush()
    for seed in range(1, 3):
        contents.power_cycle(seed)
        assert contents.check() == {number: ALL, fork: ALL}
        assert held(contents.drive, number) == held(contents.drive, fork)


def test_units_that_one_command_brings_are_not_read_back(rng):
    """Drive, fake lane and twin count the same pages."""
    counts = []
    data = rng.standard_normal((2, 1000, 1, DIM)).astype(np.float16)
    for backend in ("rtl", "fake", "twin"):
        with make_drive(backend, CONFIG) as drive:
            shape = SHAPE | {"layers": 1, "kv_heads": 1, "index": "bounds"}
            number, at, mine = drive.open(**shape, max_tokens=1000), 0, []
            for tokens in (5 * UNIT, UNIT + 9, 40, 300):
                drive.append(number, 0, *data[:, at : at + tokens])
                at += tokens
                if backend != "twin":
                    assert check_columns(drive, number, [data[0, :at]]) == at // UNIT
                stats = drive.stats()
                mine.append([stats[n] for n in ("pages_read", "pages_programmed", "commands")])
            counts.append(mine)
    assert counts[0] == counts[1] == counts[2]
    # 40 tokens begin within a unit; so do 300, which the host cuts where the next one begins.
    assert [pages for pages, _, _ in counts[2]] == [0, 0, GROUPS, 2 * GROUPS]


def test_half_pages():
    """Pages of 16 KiB, head_dim 64: units of 4 groups fill half of a page."""
    config = DriveConfig(
        profile="tlc_onfi5",
        channels=2,
        dies=2,
        sparse_tokens=1024,
        bounds=True,
        dram_bytes=16 << 20,
    )
    with make_drive("fake", config) as drive:
        contents = Bounds(drive)
        number = contents.open(1100)
        contents.append(number, 500, [0])
        contents.append(number, 530, [0, 1])
        assert contents.check() == {number: 3 * HEADS}
        contents.drive.flush()
        contents.power_cycle()
        assert contents.check() == {number: 3 * HEADS}


@pytest.mark.parametrize("backend", ["golden", "twin", "fake"])
def test_what_cannot_be_kept_is_refused(backend):
    shape = SHAPE | {"index": "bounds"}
    with make_drive(backend, CONFIG) as drive:
        with pytest.raises(DriveError, match=r"head_dim = 128.*these head_dims: 64\b") as refusal:
            drive.open(**shape | {"head_dim": 128})
        assert refusal.value.status == Status.UNSUPPORTED_INDEX
        number = drive.open(**shape)
        zeros = np.zeros((1, HEADS, DIM), np.float16)
        for layer in range(LAYERS):
            drive.append(number, layer, zeros, zeros)
        with pytest.raises(DriveError) as refusal:  # it has no K by channel
            drive.attend(number, 0, zeros[0], attention=Sparf(1 / 8))
        assert refusal.value.status == Status.NO_INDEX
    with make_drive(backend, DriveConfig.preset("tiny", sparse_tokens=1024)) as drive:
        with pytest.raises(DriveError, match="bounds = True") as refusal:
            drive.open(**shape)
        assert refusal.value.status == Status.UNSUPPORTED_INDEX


def test_health_counts_what_is_written():
    """A byte of four tokens' elements: an eighth of K more."""
    with make_drive("twin", CONFIG) as drive:
        number = drive.open(**SHAPE | {"index": "bounds"})
        for layer in range(LAYERS):
            drive.append(number, layer, *np.zeros((2, 8 * UNIT, HEADS, DIM), np.float16))
        assert drive.stats()["pages_programmed"] == 8 * (2 * GROUPS + 1) * ALL
        assert drive.health()["bytes_per_token"] == 17 / 8 * 2 * DIM * ALL
