"""The firmware on a behavioural lane: bring-up, books, block groups, churn without loss."""

import itertools
from collections import Counter

import numpy as np
import pytest

from host import DriveConfig, DriveError, KvDrive, Status
from host.capacity import OWN_GROUPS, Capacity, spare_groups
from host.firmware.blocks import Blocks
from host.firmware.device import Device
from host.firmware.groups import BlockGroups
from host.firmware.state import DriveState
from host.firmware.state_table import StateTable
from host.sequence_shape import SequenceShape
from rtl.tables import SEQUENCE, SequenceState, group_channel, page_die, place_of
from tests.host.conftest import make_drive
from tests.host.fake_drive.lane import FakeLane

SMALL = {"pass_tokens": 256, "dram_bytes": 1 << 20}


@pytest.fixture
def config():
    return DriveConfig.preset("tiny", **SMALL)


@pytest.fixture
def lane(config):
    return FakeLane(config)


@pytest.fixture
def drive(config, lane):
    with KvDrive(config, backend="rtl", lane=lane) as drive:
        yield drive


class Checker:
    """A drive with random contents, remembered in numpy."""

    def __init__(self, drive, rng):
        self.drive, self.rng, self.kept = drive, rng, {}

    def open(self, layers, kv_heads, max_tokens):
        number = self.drive.open(
            layers=layers, kv_heads=kv_heads, head_dim=64, max_tokens=max_tokens
        )
        assert number not in self.kept
        empty = np.zeros((0, kv_heads, 64), np.float16)
        self.kept[number] = [[empty, empty] for _ in range(layers)]
        return number

    def append(self, number, layer, tokens, fill="append"):
        heads = self.kept[number][layer][0].shape[1]
        new = self.rng.standard_normal((2, tokens, heads, 64)).astype(np.float16)
        getattr(self.drive, fill)(number, layer, *new)
        for kind in range(2):
            self.kept[number][layer][kind] = np.concatenate(
                [self.kept[number][layer][kind], new[kind]]
            )

    def fill(self, number, tokens, **how):
        for layer in range(len(self.kept[number])):
            self.append(number, layer, tokens, **how)

    def forget(self, number):
        del self.kept[number]
        return number

    def close(self, number):
        self.check(number)
        self.drive.close(self.forget(number))

    def check(self, *numbers):
        for number in numbers or self.kept:
            for layer, wanted in enumerate(self.kept[number]):
                if len(wanted[0]):
                    got = self.drive.read(number, layer)
                    assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.fixture
def checker(drive, rng):
    return Checker(drive, rng)


def test_bring_up(drive, lane, config):
    assert len(lane.reset) == config.channels * config.dies
    assert 1 <= len(lane.pushed[0]) <= 16 and len(lane.given) == 4 * len(lane.pushed[0])
    table = lane.dram[lane.registers["SEQUENCE_TABLE"] :][: SEQUENCE.size * config.max_sequences]
    assert not table.any()


def test_sequence_entry(drive, lane):
    drive.open(layers=2, kv_heads=3, head_dim=64, max_tokens=30)
    entry = SEQUENCE.unpack(lane.dram[lane.registers["SEQUENCE_TABLE"] :])
    wanted = {"state": SequenceState.OPEN, "head_dim": 64, "kv_heads": 3, "layers": 2,
              "max_tokens": 30, "groups": 8, "group_tokens": 4, "pass_groups": 64,
              "pass_rest": 0, "pass_entries": 1}  # fmt: skip
    assert {name: entry[name] for name in wanted} == wanted
    spans = sorted(
        [
            (entry["heads"], 6 * 16),
            (entry["map"], 6 * 8 * 8),
            (entry["passes"], 6 * 8),
            (entry["tail"], 6 * 1024),
        ]
    )
    assert spans[0][0] >= SEQUENCE.size * 4 and sum(spans[-1]) <= len(lane.dram)
    assert all(a + size <= b for (a, size), (b, _) in zip(spans, spans[1:], strict=False))
    drive.close(0)
    entry = SEQUENCE.unpack(lane.dram[lane.registers["SEQUENCE_TABLE"] :])
    assert entry["state"] == SequenceState.CLOSED


def test_every_firmware_call_costs_cycles(config, normal):
    spent = {}
    for cycles in (100, 10_000):
        config = DriveConfig.preset("tiny", **SMALL, firmware_cycles=cycles)
        with KvDrive(config, backend="rtl", lane=FakeLane(config)) as drive:
            start = drive.stats()["cycles"]
            drive.close(drive.open(layers=1, kv_heads=1, head_dim=64))
            spent[cycles] = drive.stats()["cycles"] - start
    assert spent[10_000] - spent[100] == 2 * 9_900  # OPEN and CLOSE


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_pages_per_channel_match_the_map(channels):
    shape = SequenceShape(layers=3, kv_heads=5, head_dim=64, max_tokens=75, page_bytes=512,
                          channels=channels, pass_tokens=64)  # fmt: skip
    first = np.arange(15) % 7
    wanted = np.zeros(channels, int)
    for layer in range(3):
        for head in range(5):
            for group in range(first[layer * 5 + head], 75 // 4):
                wanted[group_channel(group, layer, 5, head, channels)] += 2
    assert np.array_equal(shape.channel_pages(first), wanted)


@pytest.mark.parametrize("first", [1, 5, 7])
def test_pages_per_channel_follow_the_first_channel(first):
    shape = SequenceShape(layers=2, kv_heads=3, head_dim=64, max_tokens=11, page_bytes=512,
                          channels=8, pass_tokens=64, first_channel=first)  # fmt: skip
    wanted = np.zeros(8, int)
    for index, group in itertools.product(range(6), range(11 // 4)):
        wanted[(group + 3 * index + first) % 8] += 2
    assert np.array_equal(shape.channel_pages(), wanted)


def test_open_sequences_have_places_of_their_own(config):
    capacity = Capacity(config)
    shape = capacity.shape(1, 1, 64, 8)
    opened = [capacity.admit(shape) for _ in range(4)]
    assert len({placement.shape.place for placement in opened}) == 4
    assert {placement.shape.first_channel for placement in opened[:2]} == {0, 1}
    capacity.release(opened[1].sequence)
    assert capacity.admit(shape).shape.place == opened[1].shape.place  # the one that is free


def test_forks_begin_where_their_origin_does(drive, lane, normal):
    drive.open(layers=1, kv_heads=1, head_dim=64, max_tokens=16)
    origin = drive.open(layers=1, kv_heads=1, head_dim=64, max_tokens=16)
    drive.append(origin, 0, *(normal(9, 1, 64) for _ in "kv"))
    table = lane.registers["SEQUENCE_TABLE"]
    entries = [
        SEQUENCE.unpack(lane.dram[table + SEQUENCE.size * n :])
        for n in (0, origin, drive.fork(origin))
    ]
    places = [(entry["first_channel"], entry["first_die"]) for entry in entries]
    assert places[1] == places[2] != places[0]


def test_a_sequence_goes_where_a_channel_has_room(config):
    """One group of one head takes two pages of one channel; the drive is filled to the last."""
    capacity = Capacity(config)
    shape = capacity.shape(1, 1, 64, 4)
    room = capacity._channel_pages
    capacity._reserved = np.array([room - 1, room - 2])
    assert capacity.admit(shape).shape.first_channel == 1  # channel 0 would come first
    with pytest.raises(DriveError) as info:
        capacity.admit(shape)
    assert info.value.status == Status.NO_SPACE


def test_numbers_are_dealt_round_robin(config):
    capacity = Capacity(config)
    shape = capacity.shape(1, 1, 64, 8)
    numbers = []
    for _ in range(9):
        numbers.append(capacity.admit(shape).sequence)
        capacity.release(numbers[-1])
    assert numbers == [0, 1, 2, 3, 0, 1, 2, 3, 0]


def test_the_whole_drive_can_be_filled_and_used_again(checker, config, lane):
    """Reservations are exact: what is admitted fits, and the last page is usable."""
    geometry = config.flash.geometry
    groups = geometry.blocks - spare_groups(geometry) - OWN_GROUPS  # 59
    pages = geometry.dies * groups * geometry.pages  # 1888
    for turn in (1, 2):
        # 4 sequences of 2 layers x 4 heads x 59 groups x 2 pages over 2 channels: 472 pages each
        numbers = [checker.open(2, 4, 4 * groups) for _ in range(4)]
        assert checker.drive.backend.firmware.space.provide()
        for tokens in (100, 4 * groups - 100):
            for number in numbers:
                checker.fill(number, tokens)
        checker.check()
        for number in numbers:
            checker.close(number)
        assert lane.taken == [turn * pages] * 2
    assert lane.counters["blocks_erased"] > 0


SOAK = pytest.mark.soak


@pytest.mark.parametrize(
    ("backend", "actions"),
    [("fake", 600), ("rtl", 100), pytest.param("fake", 6000, marks=SOAK),
     pytest.param("rtl", 2000, marks=SOAK)],
)  # fmt: skip
def test_random_churn_never_loses_data(backend, actions, rng):
    """Several drives' worth of random sequences, appended in turns and closed in any order."""
    with make_drive(backend, DriveConfig.preset("tiny")) as drive:
        churn(Checker(drive, rng), rng, actions)
        stats, firmware = drive.stats(), drive.backend.firmware
        programmed = [channel["pages_programmed"] for channel in stats["channel_counters"]]
        assert firmware.space.provide() and np.ptp(programmed) == firmware.space.lag().max()
        if actions > 500:
            assert stats["blocks_erased"] > actions // 6


def churn(checker, rng, actions):
    refused = opened = 0
    for _ in range(actions):
        action = rng.random()
        if action < 0.3:
            layers, heads = int(rng.integers(1, 4)), int(rng.integers(1, 4))
            try:
                checker.open(layers, heads, int(rng.integers(1, 257)))
                opened += 1
            except DriveError as error:
                assert error.status in (Status.NO_SPACE, Status.TOO_MANY_SEQUENCES)
                refused += error.status == Status.NO_SPACE
        elif checker.kept:
            number = int(rng.choice(list(checker.kept)))
            if action < 0.42:
                checker.close(number)
            else:
                layer = int(rng.integers(len(checker.kept[number])))
                held = len(checker.kept[number][layer][0])
                room = checker.drive._sequences[number].max_tokens - held
                if room:
                    how = "preload" if action > 0.9 else "append"
                    checker.append(number, layer, int(rng.integers(1, room + 1)), how)
    checker.check()
    assert opened > actions // 10 and refused <= opened // 10


def test_lopsided_sequences_do_not_lock_the_ring(checker, drive, lane):
    """Single groups of a single head all lie on channel 0: without care its ring would run dry."""
    for _ in range(600):  # 2 pages each; the ring holds 16 groups of 32 pages a channel
        number = checker.open(1, 1, 4)
        checker.append(number, 0, 4)
        checker.close(number)
    lag = drive.backend.firmware.space.lag()
    assert lag.max() <= 5 * 32 and lane.taken[0] > 16 * 32
    assert np.array_equal(lag, max(lane.taken) - np.array(lane.taken))
    checker.fill(checker.open(3, 4, 256), 256)
    checker.check()


def test_steps_flush_what_they_fill(checker, drive, normal):
    number = checker.open(1, 3, 40)
    for _ in range(40):
        k, v = normal(3, 64), normal(3, 64)
        drive.step(number, 0, normal(3, 64), k, v)
        kept = checker.kept[number][0]
        kept[0], kept[1] = np.concatenate([kept[0], k[None]]), np.concatenate([kept[1], v[None]])
    checker.check()
    assert drive.stats()["pages_programmed"] == 3 * 10 * 2
    checker.close(number)


def test_pages_that_pin_groups_are_moved(checker):
    """A few pages of an old sequence in every group: groups are emptied when they are needed."""
    old = checker.open(1, 2, 256)  # 2 heads: both channels alike
    for _ in range(200):
        if len(checker.kept[old][0][0]) < 252:
            checker.append(old, 0, 4)
        number = checker.open(1, 2, 64)
        checker.fill(number, 64)
        checker.close(number)
    assert checker.drive.stats()["pages_compacted"] > 0
    checker.append(old, 0, 256 - len(checker.kept[old][0][0]))
    checker.close(old)
    checker.fill(checker.open(3, 4, 256), 256)
    checker.check()


def test_preload_goes_beside_the_append_path(checker, lane):
    a, b = checker.open(2, 2, 200), checker.open(2, 2, 200)
    wanted = Counter()  # (channel, die) of the pages that go in through the back door

    def preload(number, tokens):
        held = checker.drive.tokens(number)
        checker.fill(number, tokens, fill="preload")
        for layer, head, kind in itertools.product(range(2), repeat=3):
            for group in range(held // 4, (held + tokens) // 4):
                first_channel, first_die = place_of([a, b].index(number), 2, 2)
                channel = group_channel(group, layer, 2, head, 2, first_channel)
                index = 2 * layer + head
                wanted[channel, page_die(group // 2, index, head, kind, 2, 2, first_die)] += 1

    for tokens in (3, 50, 1, 47):
        preload(a, tokens)
        checker.fill(b, tokens)
        preload(b, 2)
        checker.fill(a, 1)
    checker.check()
    hardware = {(c, d, r) for c, d, r in lane.array.pages if (c, d, r // 16) in lane.given}
    table = {place for place in lane.array.pages if place[2] // 16 == 63}  # of bad blocks
    preloaded = set(lane.array.pages) - hardware - table
    assert hardware and preloaded
    assert Counter(page[:2] for page in preloaded) == wanted
    per_die = Counter(page[:2] for page in hardware)  # there, dies are used in turn
    assert max(per_die.values()) - min(per_die.values()) <= 2
    checker.close(a)
    checker.check()


def test_preloaded_groups_are_reclaimed(checker, lane):
    for _ in range(20):
        number = checker.open(2, 2, 256)
        checker.fill(number, 255, fill="preload")
        checker.close(number)
    assert lane.counters["blocks_erased"] > 0


def test_preload_to_few_of_the_dies(checker):
    """What the others lack does not keep groups from being erased; one long sequence was promised
    nearly all of them."""
    checker.open(4, 2, 925)
    for _ in range(70):
        number = checker.open(1, 1, 4)
        checker.fill(number, 4, fill="preload")
        checker.close(number)


@pytest.mark.parametrize("broken", [{5}, {5, 62}, {5, 6, 62, 61}])
def test_blocks_that_cannot_be_erased_are_replaced(checker, lane, broken):
    """Each is asked once; block 62 of a channel is a spare, then groups are given up.

    One that fails itself is given up before all of its blocks were asked.
    """
    firmware = checker.drive.backend.firmware
    real, failed = firmware.device.flash, Counter()

    def flash(operation, channel, die, row=0, *, pause):
        if operation == 2 and row // 16 in broken:
            failed[channel, die, row // 16] += 1
            return False
        return real(operation, channel, die, row, pause=pause)

    firmware.device.flash = flash
    for _ in range(10):  # 8 groups each
        number = checker.open(2, 2, 256)
        checker.fill(number, 256)
        checker.drive.close(checker.forget(number))
    assert set(failed.values()) == {1} and set(failed) == firmware.repair.blocks.bad
    assert (0, 0, 5) in failed and {block for _, _, block in failed} <= broken
    stand_ins = set(firmware.repair.blocks.serving.values())
    assert {(d, b) for _, d, b in lane.given if b > 61} <= stand_ins
    checker.fill(checker.open(2, 2, 256), 200)
    checker.check()
    table = StateTable(firmware.device, checker.drive.config, 1)
    assert table.load().bad == firmware.repair.blocks.bad


def test_a_write_protected_die_is_not_taken_for_bad(checker, lane):
    firmware = checker.drive.backend.firmware
    for _ in range(2):
        number = checker.open(2, 2, 256)
        checker.fill(number, 250)
        checker.drive.close(checker.forget(number))
    real = firmware.device.flash
    firmware.device.flash = lambda op, *at, **how: op != 2 and real(op, *at, **how)
    lane.die_status = 0x60
    with pytest.raises(DriveError, match="die 0 of channel 0 is write-protected: release WP#"):
        firmware.space.reclaim()
    assert not firmware.repair.blocks.bad


def test_marked_blocks_are_found_once_and_never_used(config):
    lane = FakeLane(config, formatted=False)
    marks = lane.marks = {(0, 0, 0), (0, 1, 5), (1, 0, 5), (1, 1, 62), (1, 0, 63), (0, 1, 6)}
    for start in range(2):
        with KvDrive(config, backend="rtl", lane=lane) as drive:
            repair = drive.backend.firmware.repair
            assert repair.blocks.bad == marks
            if not start:
                checker = Checker(drive, np.random.default_rng(1))
                for turn in range(11):  # 6 groups each
                    number = checker.open(2, 2, 256)
                    checker.fill(number, 200, fill=("append", "preload")[turn % 2])
                    if turn in (0, 1, 10):
                        checker.check(number)
                    drive.close(checker.forget(number))
                assert not marks & {(c, d, row // 16) for c, d, row in lane.array.pages}
                assert lane.counters["blocks_erased"] > 0
        lane = after_power_loss(config, lane)


def after_power_loss(config, lane):
    """A fresh drive on the same flash, whose makers' marks were written over."""
    fresh = FakeLane(config, formatted=False)
    fresh.array = lane.array
    return fresh


@pytest.mark.parametrize("dies, channels", [(1, 1), (2, 1), (2, 2)])
def test_the_table_survives_an_interruption_at_any_page(config, dies, channels):
    """Versions of 0 to 90 blocks; the last page to be written is not, or holds nonsense."""
    config = DriveConfig.preset("tiny", **SMALL, dies=dies, channels=channels)
    rng = np.random.default_rng(dies)
    lane = FakeLane(config, formatted=False)
    device = Device(lane, config, 0)
    table, bad = StateTable(device, config, 1), set()
    assert table.load() is None
    real = device.program_page
    for version in range(60):
        before = set(bad)
        bad |= {
            (int(rng.integers(channels)), int(rng.integers(dies)), int(rng.integers(60)))
            for _ in range(4)
        }
        pages = 2 * len(table.pages(config, version, DriveState(bad=bad), 0))
        stop, spoils = int(rng.integers(pages + 3)), bool(rng.integers(2))
        done = Counter()

        def program(channel, die, row, raw, stop=stop, spoils=spoils, done=done):
            done["pages"] += 1
            if done["pages"] <= stop:
                return real(channel, die, row, raw)
            if done["pages"] == stop + 1 and spoils:
                real(channel, die, row, rng.integers(0, 256, len(raw), dtype=np.uint8))
            raise InterruptedError

        device.program_page = program
        try:
            table.save(DriveState(bad=bad))
        except InterruptedError:
            assert stop < pages
        table = StateTable(device, config, 1)  # power is back
        found = (table.load() or DriveState()).bad
        if 2 * stop >= pages:
            assert found == bad
        elif version:
            assert found in (before, bad)
        bad = found
    assert len(bad) > 20


def test_groups_by_hand():
    geometry = DriveConfig.preset("tiny").flash.geometry  # 32 pages per channel and group
    groups = BlockGroups(geometry, Blocks(geometry))
    assert groups.best(0, [], 0.0) == 0
    groups.push(0, [groups.use(0)])
    assert groups.erased == 61 and groups.stripes == {0: [[0]]}
    channel, row = np.repeat([0, 1], 32), np.tile(np.repeat(np.arange(16), 2), 2)
    die = np.tile([0, 1], 32)
    none = (np.empty(0, int),) * 3
    assert groups.unwritten(0, *none).tolist() == [32, 32]
    assert groups.unwritten(0, channel[:3], die[:3], row[:3]).tolist() == [29, 32]
    assert groups.missing({0: np.array([32, 0])}, *none) == -61
    assert groups.missing({0: np.array([32, 33]), 1: np.array([1, 1])}, *none) == 2 - 61
    groups.bury(channel[:-1], die[:-1], row[:-1])
    assert groups.reclaimable == []
    groups.bury(channel[-1:], die[-1:], row[-1:])
    assert groups.reclaimable == [0] and groups.unwritten(0, *none).tolist() == [0, 0]
    groups.recycled(0)
    assert groups.erased == 62 and groups.missing({0: np.array([32 * 65, 0])}, *none) == 65 - 62


def test_what_a_stream_leaves_unwritten_is_dead():
    geometry = DriveConfig.preset("tiny").flash.geometry
    groups = BlockGroups(geometry, Blocks(geometry, parts=2))  # 16 pages per channel and group
    groups.push(3, [groups.use(4), groups.use(7)])  # blocks 2 and 3
    live = np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([32, 32, 48])
    groups.bury(np.array([0]), np.array([0]), np.array([33]))
    assert groups.unwritten(3, *live).tolist() == [30, 30]
    groups.end(3, *live)
    assert groups.unwritten(3, *live).tolist() == [0, 0]
    assert {g: pages.tolist() for g, pages in groups.settled(*live).items()} == {
        4: [1, 1],
        7: [0, 1],
    }
    groups.bury(*live)
    assert groups.reclaimable == [4, 7]


@pytest.mark.parametrize("index", ["none", "channel"])
def test_the_back_door_of_a_drive_with_one_die(index):
    config = DriveConfig.preset("tiny", dies=1, **SMALL)
    k, v = np.random.default_rng(6).standard_normal((2, 600, 2, 64)).astype(np.float16)
    with KvDrive(config, lane=FakeLane(config)) as drive:
        number = drive.open(layers=1, kv_heads=2, head_dim=64, index=index)
        drive.preload(number, 0, k, v)
        assert all(map(np.array_equal, drive.read(number, 0, 0, 600), (k, v)))
