"""Sequences with streams of their own: what dies together lies together, on any die."""

from collections import Counter
from contextlib import suppress

import pytest

from host import DriveConfig, DriveError, KvDrive
from host.capacity import OWN_GROUPS
from host.firmware import tables
from rtl.tables import SEQUENCE
from tests.host.fake_drive.lane import FakeLane
from tests.host.firmware.test_firmware import Checker

STREAMS = {"die_parts": 2, "append_streams": 4}
"""Groups of 16 pages a channel; a sequence that may fill two of them has its own."""


def drive_with(**changes):
    config = DriveConfig.preset("tiny", **{"pass_tokens": 256, **changes})
    return KvDrive(config, backend="rtl", lane=FakeLane(config))


@pytest.fixture
def drive():
    with drive_with(**STREAMS) as drive:
        yield drive


@pytest.fixture
def checker(drive, rng):
    return Checker(drive, rng)


def stream_of(drive, number):
    lane = drive.backend.lane
    table = lane.dram[lane.registers["SEQUENCE_TABLE"] + SEQUENCE.size * number :]
    return SEQUENCE.unpack(table)["stream"]


def held(drive, number):
    """Channel, die and row of a sequence's pages."""
    firmware = drive.backend.firmware
    return tables.read_map(firmware.device, firmware.capacity.placements[number])


@pytest.mark.parametrize("changes, moves", [({}, True), (STREAMS, False)])
def test_what_dies_together_need_not_be_moved(changes, moves, rng):
    """Four sequences fill the drive in turns; two are closed, and two others take their place."""
    with drive_with(**changes) as drive:
        checker = Checker(drive, rng)
        numbers = [checker.open(2, 4, 224) for _ in range(4)]
        for _ in range(28):
            for number in numbers:
                checker.fill(number, 8)
        for number in numbers[::2]:
            checker.drive.close(checker.forget(number))
        for _ in range(2):
            checker.fill(checker.open(2, 4, 224), 224)
        stats = drive.stats()
        assert stats["blocks_erased"] > 50
        assert (stats["pages_compacted"] > 100) == moves and (stats["pages_compacted"] > 0) == moves
        checker.check()


def test_long_sequences_have_a_stream_each_and_short_ones_share(checker, drive):
    a, b = checker.open(2, 2, 256), checker.open(2, 2, 100)
    short = checker.open(1, 1, 4 * 16 * drive.config.stream_groups - 16)  # a group less than two
    assert [stream_of(drive, number) for number in (a, b, short)] == [1, 2, 0]
    for tokens in (50, 30, 20):
        for number in (a, b, short):
            checker.fill(number, tokens)
    blocks = {n: {(c, d, r // 16) for c, d, r in zip(*held(drive, n))} for n in (a, b, short)}
    assert not blocks[a] & blocks[b] and not (blocks[a] | blocks[b]) & blocks[short]
    groups = drive.backend.firmware.space.groups
    before = len(groups.reclaimable)
    checker.close(a)  # 100 tokens: 100 pages a channel, 7 groups, in stripes of 2
    assert len(groups.reclaimable) == before + 8
    assert stream_of(drive, checker.open(2, 2, 256)) == 1
    checker.check()


def test_pages_lie_on_all_dies_if_there_are_enough_of_them(checker, drive):
    a, b = checker.open(2, 2, 256), checker.open(1, 2, 40)
    checker.fill(a, 200)
    checker.fill(b, 40)
    dies = Counter(held(drive, a)[1].tolist())
    assert abs(dies[0] - dies[1]) <= 2 * 7  # pages that one die may be ahead, on each channel
    assert set(held(drive, b)[1].tolist()) == {0, 1}


def test_forks_append_to_streams_of_their_own(checker, drive):
    a = checker.open(2, 2, 256)
    checker.fill(a, 61)
    b = drive.fork(a)
    checker.kept[b] = [list(pair) for pair in checker.kept[a]]
    assert [stream_of(drive, number) for number in (a, b)] == [1, 2]
    for tokens in (10, 50):
        checker.fill(a, tokens)
        checker.fill(b, tokens)
    checker.check()
    checker.close(a)
    checker.fill(b, 60)
    checker.check()


def test_truncated_again_and_again(checker, drive):
    """What it writes and gives up does not use up the stripes of its stream, nor the drive."""
    numbers = [checker.open(1, 1, 256) for _ in range(3)]
    for turn in range(60):
        for number in numbers:
            checker.append(number, 0, 64 + turn % 5)
            keep = turn % 4
            drive.truncate(number, keep)
            checker.kept[number][0] = [x[:keep] for x in checker.kept[number][0]]
    checker.check()
    assert drive.stats()["blocks_erased"] > 50
    groups = drive.backend.firmware.space.groups
    assert sum(map(len, groups.stripes.values())) < 24


def test_lopsided_sequences_do_not_lock_the_shared_ring(checker, drive):
    """Single groups of a single head all lie on channel 0; the ring holds four stripes."""
    for _ in range(150):
        number = checker.open(1, 1, 4)
        checker.append(number, 0, 4)
        checker.close(number)
    assert drive.backend.lane.taken[0] - drive.backend.lane.taken[1] > 4 * 32
    assert drive.backend.firmware.space.lag().max() < 3 * 32


def test_streams_may_begin_anew_in_a_drive_that_is_promised(rng):
    """Each is promised a group for it; truncations are not refused."""
    with drive_with(**STREAMS | {"append_streams": 16}, max_sequences=32) as drive:
        checker, space = Checker(drive, rng), drive.backend.firmware.space
        numbers = []
        with suppress(DriveError):
            while True:
                numbers.append(checker.open(1, 2, 224))
        assert len(numbers) == len(space.streams) == 14
        for number in numbers:
            checker.fill(number, 124)
        for number in numbers[::2]:
            drive.truncate(number, 80)
            checker.kept[number][0] = [x[:80] for x in checker.kept[number][0]]
        for stream in space.streams.values():
            space._end(stream)
        assert space.keeps()
        for number in numbers:
            checker.fill(number, 100)
        checker.check()


def test_the_whole_drive_can_be_promised_and_filled(checker, drive):
    """62 groups of each part; but for those of the firmware and a stripe of the shared stream,
    all can be filled, by sequences that take whole groups."""
    groups = 2 * 62 - OWN_GROUPS - 2
    for _ in range(2):
        numbers = [checker.open(2, 4, 4 * 29) for _ in range(3)]  # 232 pages a channel: 15 groups
        numbers.append(checker.open(2, 4, 4 * (groups - 45)))
        with pytest.raises(Exception, match="sequences are open"):
            checker.open(1, 1, 4)
        for number in numbers:
            for tokens in (30, 86) if number != numbers[-1] else (100, 4 * (groups - 45) - 100):
                checker.fill(number, tokens)
        checker.check()
        for number in numbers:
            checker.close(number)
    assert drive.stats()["blocks_erased"] > 100


@pytest.mark.parametrize(
    "changes, allowed",
    [
        ({"die_parts": 3}, "die_parts = 3"),
        ({"die_parts": -1}, "die_parts = -1"),
        ({"append_streams": 3}, "append_streams = 3"),
        ({"append_streams": 512}, "append_streams = 512"),
    ],
)
def test_impossible_parts_and_streams(changes, allowed):
    with pytest.raises(ValueError, match=allowed):
        DriveConfig.preset("tiny", **changes)
