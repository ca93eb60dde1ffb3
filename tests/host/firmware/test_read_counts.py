"""Reads per block, counted by the gateware, against what the cells were made to do."""

import dataclasses

import numpy as np

from host import KvDrive
from tests.host.firmware.test_repair import DIM, HEADS, LAYERS, Contents, repair_of


def counted(drive):
    """Counts of all blocks [channels, dies, blocks] as the firmware sees them."""
    g, device = drive.config.flash.geometry, drive.backend.firmware.device
    places = np.ndindex(g.channels, g.dies, g.blocks)
    counts = [device.reads(*place) for place in places]
    return np.array(counts).reshape(g.channels, g.dies, g.blocks)


def sensed(drive):
    g = drive.config.flash.geometry
    cells = drive.backend.lane.array.buffers["read_counts"]
    return cells.reshape(g.channels, g.dies, g.blocks).astype(int)


def test_counts_are_those_of_the_cells(tiny, rng):
    with KvDrive(tiny) as drive:
        began = sensed(drive)  # management reads, which find the bad-block table
        assert not counted(drive).any()
        contents = Contents(drive, rng)
        numbers = [contents.open(300) for _ in range(2)]
        q = rng.standard_normal((LAYERS, 2 * HEADS, DIM)).astype(np.float16)
        for tokens in (40, 90, 70):
            for number in numbers:
                contents.append(number, tokens)
                for layer in range(LAYERS):
                    drive.attend(number, layer, q[layer])
        contents.check()
        counts = counted(drive)
        assert counts.sum() > 1000 and np.array_equal(counts, sensed(drive) - began)
        assert drive.health()["reads_per_block_max"] == counts.max()

        # An erase begins a count anew.
        for number in numbers:
            contents.close(number)
        assert drive.backend.firmware.space.reclaim(2) == 2
        after = counted(drive)
        assert (after == 0).sum() - (counts == 0).sum() == 2 * 4
        assert np.array_equal(after[after > 0], counts[after > 0])


def test_blocks_over_the_limit_are_told(tiny, rng):
    config = dataclasses.replace(tiny, read_limit=120)
    with KvDrive(config) as drive:
        contents = Contents(drive, rng)
        few, many = contents.open(100), contents.open(400)
        contents.append(few, 64)
        contents.append(many, 64)
        drive.attend(few, 0, rng.standard_normal((HEADS, DIM)).astype(np.float16))
        for _ in range(12):
            drive.attend(many, 0, rng.standard_normal((HEADS, DIM)).astype(np.float16))
        drive.backend.driver.quiesce()
        drive.backend.firmware.service()
        over = {tuple(map(int, place)) for place in np.argwhere(counted(drive) >= 120)}
        assert repair_of(drive).read_often == over and over
        assert 0 < len(over) < (counted(drive) > 0).sum()

        # With the next command of its own the firmware writes them anew, where they are full.
        before = len(over)
        contents.open(20)
        assert drive.stats()["pages_refreshed"] > 0
        assert len(repair_of(drive).read_often) < before
        contents.check()
