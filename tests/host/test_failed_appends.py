"""What the firmware does with a sequence that an append left broken: it is not saved as it is, and
cut before it goes on, under another segment."""

import numpy as np
import pytest

from host import DriveConfig, DriveError, KvDrive, Status
from host.firmware import tables
from rtl.tables import HEAD
from tests.host.fake_drive.lane import FakeLane

LAYERS, HEADS, DIM = 2, 2, 64
CONFIG = DriveConfig.preset("tiny")
GROUP = CONFIG.group_tokens(DIM)
TOKENS = 3 * GROUP + 2
SPOILED = {"tokens": TOKENS + 1, "tail_tokens": 3, "spoiled": 1}
BEHIND = {"tokens": 2 * GROUP + 2, "flash_groups": 2}
FULL = {"tokens": 4 * GROUP, "tail_tokens": GROUP}


@pytest.fixture
def drive():
    with KvDrive(CONFIG, backend="rtl", lane=FakeLane(CONFIG)) as drive:
        yield drive


class Broken:
    """Two sequences of 14 tokens; heads of the first one are changed as an error would."""

    def __init__(self, drive, rng):
        self.drive, self.firmware = drive, drive.backend.firmware
        self.new = rng.standard_normal((2, TOKENS, HEADS, DIM)).astype(np.float16)
        shape = {"layers": LAYERS, "kv_heads": HEADS, "head_dim": DIM, "max_tokens": 100}
        self.numbers = self.number, self.other = [drive.open(**shape) for _ in range(2)]
        for number in self.numbers:
            for layer in range(LAYERS):
                drive.append(number, layer, *self.new)
        self.records = self.firmware.repair.state.sequences
        self.segment = self.records[self.number].segment

    def change(self, index, **fields):
        device = self.firmware.device
        at = self.firmware.capacity.placements[self.number].heads + HEAD.size * index
        device.store(at, HEAD.pack(**HEAD.unpack(device.load(at, HEAD.size)) | fields))

    def heads(self):
        placement = self.firmware.capacity.placements[self.number]
        return tables.read_heads(self.firmware.device, placement)

    def refused(self, call, *arguments):
        with pytest.raises(DriveError) as caught:
            call(*arguments)
        assert caught.value.status == Status.SPOILED_APPEND

    def saved(self, number):
        return self.records[number].saved_tokens.tolist()


@pytest.mark.parametrize(
    "changes, most",
    [
        ({3: SPOILED, 2: SPOILED | {"spoiled": 0, "torn": 1}}, TOKENS),
        ({2: {"torn": 1}}, TOKENS),
        ({3: BEHIND}, 2 * GROUP + 2),
        ({0: FULL, 1: FULL}, 4 * GROUP - 1),
    ],
)
def test_it_is_saved_once_it_was_truncated(drive, rng, changes, most):
    broken = Broken(drive, rng)
    for index, fields in changes.items():
        broken.change(index, **fields)
    drive._sequences[broken.number].tokens[:] = [4 * GROUP] * LAYERS
    broken.refused(drive.flush, broken.number)
    broken.refused(drive.flush)
    assert [broken.saved(number) for number in broken.numbers] == [[0] * LAYERS, [TOKENS] * LAYERS]
    if most != TOKENS or 3 in changes:
        broken.refused(drive.truncate, broken.number, most + 1)
        assert broken.records[broken.number].segment == broken.segment
    drive.truncate(broken.number, most)
    heads = broken.heads()
    assert not heads.torn.any() and not heads.spoiled.any()
    assert heads.tokens.reshape(LAYERS, HEADS).tolist() == [
        [min(most, 4 * GROUP if layer == 0 and 0 in changes else TOKENS)] * HEADS
        for layer in range(LAYERS)
    ]
    assert broken.records[broken.number].segment != broken.segment
    assert tables.read_entry(broken.firmware.device, broken.number)["segment"] != broken.segment
    drive.flush(broken.number)
    assert broken.saved(broken.number) == heads.tokens[::HEADS].tolist()


def test_a_fork_of_it_is_broken_too(drive, rng):
    broken = Broken(drive, rng)
    broken.change(0, torn=1)
    number = drive.fork(broken.number)
    broken.refused(drive.flush, number)
    drive.truncate(broken.number, TOKENS)
    drive.flush(broken.number)
    broken.refused(drive.flush, number)
    drive.close(number)
    drive.flush()


def test_others_of_that_length_have_another_segment(drive, rng):
    """A truncation that takes no page away, of a sequence that is whole, keeps the segment."""
    broken = Broken(drive, rng)
    drive.truncate(broken.number, TOKENS - 1)
    assert broken.records[broken.number].segment == broken.segment
