"""The first start of a drive on flash, or in a memory, that held something else before."""

import numpy as np
import pytest

from cosim.device import simulated_drive
from flash_model.faults import Faults
from host import DriveError, KvDrive
from host.firmware import Firmware
from rtl.commands import Status
from tests.host.firmware.test_power_loss import Contents, PowerLoss, lose_power_at
from tests.host.test_page_memory import MEMORY

TABLES = {(channel, die, 63) for channel in range(2) for die in range(2)}
"""Blocks that the state table may lie in: it takes a while to look for it in nonsense."""

MARKS = {(0, 0, 0), (1, 1, 7), (0, 1, 63), (1, 0, 9)}


def blocks(geometry):
    g = geometry
    return [(c, d, b) for c in range(g.channels) for d in range(g.dies) for b in range(g.blocks)]


def page(rng, geometry):
    """Of another drive, which left the place of the maker's mark alone."""
    content = rng.integers(0, 256, geometry.page_total, np.uint8)
    content[geometry.page_bytes] = 0xFF
    return content.tobytes()


def used_before(lane, rng, but=TABLES):
    """Blocks, ``but`` for some, hold other data: full, up to some page, or none at all."""
    g = lane.config.flash.geometry
    for number, (channel, die, block) in enumerate(blocks(g)):
        if (channel, die, block) not in but:
            for n in range((g.pages, int(rng.integers(1, g.pages)), 0)[number % 3]):
                lane.array.write_page(channel, die, g.row(block, n), page(rng, g))


def erased(lane):
    """Blocks that were erased at least once."""
    g = lane.config.flash.geometry
    counts = lane.array.buffers["erase_counts"].reshape(g.channels, g.dies, g.blocks)
    return {tuple(place) for place in np.argwhere(counts).tolist()}


def lives_on(drive, seed, tokens=30):
    """Appends, attends, reads, loses power; judged by the twin."""
    contents = Contents(drive, seed)
    numbers = [contents.open(2 * tokens) for _ in range(2)]
    for number in numbers:
        contents.append(number, tokens, tokens - 3)
    contents.flush()
    assert contents.power_cycle(seed) == {number: [0, 0] for number in numbers}
    contents.append(numbers[1], tokens - 9, tokens)
    contents.check()
    stats = drive.stats()
    assert not any(stats[n] for n in ("pages_lost", "program_failures", "codewords_unrecovered"))


def test_a_module_that_another_drive_wrote_to_is_erased(tiny):
    g = tiny.flash.geometry
    with simulated_drive(tiny, faults=Faults(g, bad_blocks=MARKS)) as lane:
        used_before(lane, np.random.default_rng(1), MARKS)
        with KvDrive(tiny, lane=lane, factory_new=True) as drive:
            assert drive.backend.firmware.repair.blocks.bad == MARKS
            assert erased(lane) == set(blocks(g)) - MARKS
            lives_on(drive, 2)


def test_flash_from_the_factory_is_not_erased(tiny):
    """Nor is it if some bits of it read wrong, as many in a codeword as are corrected."""
    g, t = tiny.flash.geometry, tiny.code.t
    faults = Faults(g, bad_blocks=MARKS, bit_flips={(1, 0, g.row(5, 0)): t})
    with KvDrive(tiny, faults=faults, factory_new=True) as drive:
        assert drive.backend.firmware.repair.blocks.bad == MARKS
        # The state table's blocks are, and those that stand in for marked ones of 0..61.
        assert drive.stats()["blocks_erased"] == 2 + 3
        lives_on(drive, 3)


@pytest.mark.parametrize("place", [(0, 0, 0), (1, 1, 63)])
def test_one_page_that_is_left_is_enough(tiny, place):
    """Other blocks may hold pages whose first is FFh: they are erased with it."""
    g, rng = tiny.flash.geometry, np.random.default_rng(4)
    with simulated_drive(tiny) as lane:
        channel, die, block = place
        some = page(rng, g)[: 8 * tiny.code.words]  # a codeword, the rest is erased
        lane.array.write_page(channel, die, g.row(block, 0), some)
        for at in [(0, 0, 1), (0, 1, 30), (1, 1, 2)]:
            lane.array.write_page(*at[:2], g.row(at[2], 1), page(rng, g))
        with KvDrive(tiny, lane=lane, factory_new=True) as drive:
            assert erased(lane) == set(blocks(g))
            lives_on(drive, 4)


def test_a_zero_in_the_place_of_the_mark_is_a_mark(tiny):
    """What wrote it may have marked the block: it is left as it is."""
    g, rng = tiny.flash.geometry, np.random.default_rng(5)
    with simulated_drive(tiny) as lane:
        used_before(lane, rng)
        content = bytearray(page(rng, g))
        content[g.page_bytes] = 0
        lane.array.write_page(1, 0, g.row(17, 0), content)
        with KvDrive(tiny, lane=lane, factory_new=True) as drive:
            assert drive.backend.firmware.repair.blocks.bad == {(1, 0, 17)}
            lives_on(drive, 5)
            assert lane.array.page(1, 0, g.row(17, 0)).tobytes() == bytes(content)


def test_flash_that_was_written_where_the_marks_are_is_refused(tiny):
    g = tiny.flash.geometry
    with simulated_drive(tiny) as lane:
        for channel, die, block in blocks(g)[: len(blocks(g)) // 2 + 1]:
            lane.array.write_page(channel, die, g.row(block, 0), bytes(g.page_total))
        with pytest.raises(DriveError, match="129 of 256 blocks bear a maker's mark") as caught:
            KvDrive(tiny, lane=lane, factory_new=True)
        assert caught.value.status == Status.INTERNAL_ERROR
        assert not lane.array.buffers["erase_counts"].any()


def test_a_block_that_is_not_erased_any_more_is_bad(tiny):
    g = tiny.flash.geometry
    with simulated_drive(tiny, faults=Faults(g, weak_blocks={(0, 1, 3): 0, (1, 1, 63): 0})) as lane:
        used_before(lane, np.random.default_rng(6))
        with KvDrive(tiny, lane=lane, factory_new=True) as drive:
            assert drive.backend.firmware.repair.blocks.bad == {(0, 1, 3), (1, 1, 63)}
            lives_on(drive, 6)


@pytest.mark.parametrize("count", [2, pytest.param(60, marks=pytest.mark.soak)])
def test_a_first_start_that_is_cut_off_begins_anew(tiny, count):
    """In any clock: of the look, of erases, which leave blocks of nonsense, of the table."""
    rng = np.random.default_rng(7)
    with simulated_drive(tiny) as lane:
        begin = lane.cycle
        used_before(lane, rng)
        Firmware(lane, tiny).start()
        clocks = lane.cycle - begin
    cut = 0
    for number in range(count):
        with simulated_drive(tiny) as lane:
            used_before(lane, rng)
            for share in (rng.random(), 0.9 + 0.1 * rng.random()):
                lose_power_at(lane, lane.cycle + max(1, int(share * clocks)))
                try:
                    Firmware(lane, tiny).start()
                except PowerLoss:
                    cut += 1
                del lane.idle, lane.run
                lane.power_cut(number)
            with KvDrive(tiny, lane=lane, factory_new=True) as drive:
                contents = Contents(drive, number)
                contents.append(contents.open(200), 60, 0)
                contents.check()
                stats = drive.stats()
                assert not stats["program_failures"] and not stats["codewords_unrecovered"]
    assert cut >= count


def random(rng, cells):
    cells[:] = rng.integers(0, 256, cells.shape, np.uint8)


def zeros(rng, cells):
    cells[:] = 0xFF  # inverted


def ones_at_first(rng, cells):
    random(rng, cells[len(cells) // 2 :])


@pytest.mark.parametrize("rubbish", [random, zeros, ones_at_first])
def test_a_memory_that_held_rubbish(rubbish):
    """It has no marks, and none of its blocks is bad."""
    with simulated_drive(MEMORY) as lane:
        rubbish(np.random.default_rng(8), lane.array.buffers["cells"])
        lane.array.buffers["programmed"][:] = 1
        with KvDrive(MEMORY, lane=lane, factory_new=True) as drive:
            stats = drive.stats()
            assert stats["blocks_erased"] >= len(blocks(MEMORY.flash.geometry))
            assert not stats["blocks_bad"]
            lives_on(drive, 8)
