"""Block groups with live and dead pages are emptied when space is short, and nobody notices."""

import numpy as np
import pytest

from host import KvDrive
from host.errors import DriveError
from host.firmware.compaction import Compaction
from rtl.commands import Status
from tests.host.conftest import make_drive

LAYERS, HEADS, DIM = 2, 2, 64
PORTION = 12
"""Tokens of an append: no whole part of a block group."""


class Contents:
    """A drive and what was appended to it."""

    def __init__(self, drive, seed):
        self.drive, self.rng, self.kept = drive, np.random.default_rng(seed), {}

    def open(self, max_tokens):
        number = self.drive.open(layers=LAYERS, kv_heads=HEADS, head_dim=DIM, max_tokens=max_tokens)
        self.kept[number] = np.zeros((LAYERS, 2, 0, HEADS, DIM), np.float16)
        return number

    def fill(self, numbers, tokens, how="append"):
        """Appends portions of sequences in turn, so that they share all block groups."""
        for start in range(0, tokens, PORTION):
            for number in numbers:
                count = min(PORTION, tokens - start)
                new = self.rng.standard_normal((LAYERS, 2, count, HEADS, DIM)).astype(np.float16)
                for layer in range(LAYERS):
                    getattr(self.drive, how)(number, layer, *new[layer])
                self.kept[number] = np.concatenate([self.kept[number], new], axis=2)

    def close(self, number):
        self.drive.close(number)
        del self.kept[number]

    def check(self):
        """Everything reads as it was written, and attends as a twin with the same tokens."""
        for number, wanted in self.kept.items():
            with KvDrive(self.drive.config, backend="twin") as twin:
                same = twin.open(layers=LAYERS, kv_heads=HEADS, head_dim=DIM)
                for layer, (k, v) in enumerate(wanted):
                    assert all(map(np.array_equal, self.drive.read(number, layer), (k, v)))
                    twin.append(same, layer, k, v)
                    q = self.rng.standard_normal((HEADS, DIM)).astype(np.float16)
                    outputs = (self.drive.attend(number, layer, q), twin.attend(same, layer, q))
                    assert np.array_equal(*outputs)


def most_tokens(drive, sequences):
    """Tokens of each of so many sequences that fill a drive."""
    firmware = drive.backend.firmware
    pages = firmware.capacity._channel_pages // sequences
    group = firmware.capacity.shape(LAYERS, HEADS, DIM, 4)
    return pages // int(group.channel_pages().max()) * 4


def fragmented(contents):
    """Four sequences that fill the drive in turn, every other one closed; tokens of each."""
    tokens = most_tokens(contents.drive, 4)
    numbers = [contents.open(tokens) for _ in range(4)]
    contents.fill(numbers, tokens)
    for number in numbers[::2]:
        contents.close(number)
    assert not contents.drive.backend.firmware.space.groups.reclaimable
    return tokens


def test_a_fragmented_drive_takes_what_its_capacity_promises(tiny):
    with KvDrive(tiny) as drive:
        contents = Contents(drive, 1)
        tokens = fragmented(contents)
        contents.check()
        numbers = [contents.open(tokens) for _ in range(2)]
        assert drive.stats()["pages_compacted"] == 0  # not before it must be
        contents.fill(numbers, tokens)
        contents.check()
        stats = drive.stats()
        assert stats["pages_compacted"] > 0
        assert stats["pages_moved"] == stats["pages_lost"] == 0


def test_without_compaction_there_is_no_space(tiny, monkeypatch):
    monkeypatch.setattr(Compaction, "possible", lambda self, count: count <= 0)
    with KvDrive(tiny) as drive:
        contents = Contents(drive, 1)
        tokens = fragmented(contents)
        with pytest.raises(DriveError) as error:
            contents.open(tokens)
        assert error.value.status == Status.NO_SPACE


def test_pages_of_forks_move_and_are_found_after_a_loss_of_power(tiny):
    """A page that two sequences hold moves for both, and once."""
    with KvDrive(tiny) as drive:
        contents = Contents(drive, 2)
        tokens = fragmented(contents)
        first, other = contents.kept
        contents.close(other)
        fork = drive.fork(first)
        contents.kept[fork] = contents.kept[first]
        contents.fill([contents.open(2 * tokens)], 2 * tokens)
        moved = drive.stats()["pages_compacted"]
        assert 0 < moved <= contents.kept[first].shape[2] // 4 * 2 * LAYERS * HEADS
        contents.check()
        drive.flush()
        drive.power_cycle()
        contents.check()


def test_a_page_that_cannot_be_read_stays(tiny, monkeypatch):
    """Its group is not erased, other groups are emptied instead."""
    with make_drive("fake", tiny) as drive:
        contents = Contents(drive, 3)
        tokens = fragmented(contents)
        firmware = drive.backend.firmware
        bad = tuple(int(part[0]) for part in firmware.space.live())
        real = firmware._pages.read
        monkeypatch.setattr(
            firmware._pages, "read", lambda *place: None if place == bad else real(*place)
        )
        numbers = [contents.open(tokens) for _ in range(2)]
        contents.fill(numbers, tokens - 64)
        (group,) = firmware.space.compaction.unreadable
        assert bad in firmware.space.groups.within(group, *firmware.space.live())
        assert drive.stats()["pages_compacted"] > 0
        for number, wanted in contents.kept.items():
            for layer in range(LAYERS):
                assert np.array_equal(drive.read(number, layer), wanted[layer])
