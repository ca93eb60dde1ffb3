"""Several planes of a die at once, copyback and independent planes, at the die's bus.

Times are closed forms of the profile's; R/B# falls in the clock after a confirmation. With 64
blocks of 16 pages, the row of page p of block b is 16 b + p and its plane b modulo the planes.
"""

import numpy as np
import pytest

from flash_model.array import NandArray
from flash_model.faults import Faults
from flash_model.onfi import BusCycle
from tests.flash_model.die_bench import busy, content, five, run

PAGE_WORDS = 68


async def output(bus, words=PAGE_WORDS):
    return b"".join([await bus.read(0) for _ in range(words)])


async def fill(bus, command, row, data, confirm):
    """A page of a program; returns the clocks R/B# is low."""
    await bus.send(0, command, five(row))
    for at in range(0, len(data), 8):
        await bus.symbol(0, BusCycle.WRITE, int.from_bytes(data[at : at + 8], "little"))
    await bus.symbol(0, BusCycle.COMMAND, confirm)
    return await bus.until_ready(0)


async def plane_status(bus, row):
    await bus.send(0, 0x78, five(row)[2:])
    return (await bus.read(0))[0]


async def refused(bus, *sequence):
    """R/B# stays high after a sequence."""
    await bus.send(0, *sequence)
    assert bus.ready(0)


ROWS = [16 * 5 + 7, 16 * 2 + 7, 16 * 8 + 7, 16 * 11 + 7]  # page 7, planes 1, 2, 0, 3 of 4


def test_a_multi_plane_read_senses_once_and_06h_picks_the_plane():
    async def test(ctx, bus, array):
        for row in ROWS:
            array.write_page(0, 0, row, content(row))
        for row in ROWS[:-1]:
            await bus.send(0, 0x00, five(row), 0x32)
            assert await bus.until_ready(0) == busy("plane")
            assert await bus.status(0) == 0xE0  # between planes the array rests
        await bus.send(0, 0x00, five(ROWS[-1], column=16), 0x30)
        assert await bus.until_ready(0) == busy("read")
        assert await output(bus, 2) == content(ROWS[-1])[16:32]  # the last plane's
        for row in ROWS:
            await bus.send(0, 0x06, five(row, column=8), 0xE0)
            assert await output(bus, 67) == content(row)[8:]
        await bus.send(0, 0x05, [0, 0], 0xE0)  # stays in its plane
        assert await output(bus) == content(ROWS[-1])
        await refused(bus, 0x31)  # no cache read follows
        assert array.buffers["operations"][0].tolist() == [4, 0, 0]

    run(test, planes=4)


@pytest.mark.parametrize("later", [0x80, 0x81])
def test_a_multi_plane_program_takes_one_tprog(later):
    async def test(ctx, bus, array):
        array.write_page(0, 0, ROWS[0], b"\x0f" * 544)
        for number, row in enumerate(ROWS):
            confirm = 0x10 if row == ROWS[-1] else 0x11
            took = await fill(bus, later if number else 0x80, row, content(row)[:528], confirm)
            assert took == busy("program" if confirm == 0x10 else "plane")
            programmed = [array.is_programmed(0, 0, row) for row in ROWS[1:]]
            assert programmed == [confirm == 0x10] * 3
        assert await bus.status(0) == 0xE0
        for row in ROWS:
            page = np.frombuffer(content(row)[:528] + b"\xff" * 16, np.uint8)
            expected = page & 0x0F if row == ROWS[0] else page
            assert np.array_equal(array.page(0, 0, row), expected)
        # A program after it begins with cleared registers.
        await fill(bus, 0x80, ROWS[0] + 1, b"", 0x10)
        assert (array.page(0, 0, ROWS[0] + 1) == 0xFF).all()

    run(test, planes=4)


def test_a_multi_plane_erase_takes_one_tbers():
    async def test(ctx, bus, array):
        for block in range(64):
            array.write_page(0, 0, 16 * block + 3, content(block))
        blocks = [9, 2, 4, 63]
        for block in blocks:
            last = block == blocks[-1]
            # Blocks are erased whatever page is named.
            await bus.send(0, 0x60, five(16 * block + block % 16)[2:], 0xD0 if last else 0xD1)
            assert await bus.until_ready(0) == busy("erase" if last else "plane")
        assert await bus.status(0) == 0xE0
        left = [block for block in range(64) if array.is_programmed(0, 0, 16 * block + 3)]
        assert left == [block for block in range(64) if block not in blocks]

    run(test, planes=4)


def test_each_plane_has_a_verdict():
    def array(geometry, **options):
        faults = Faults(geometry, weak_pages={(0, 0, ROWS[1]): 0}, weak_blocks={(0, 0, 11): 0})
        return NandArray(geometry, faults=faults, **options)

    async def test(ctx, bus, array):
        for row in ROWS:
            await fill(bus, 0x80, row, content(row), 0x10 if row == ROWS[-1] else 0x11)
        assert await bus.status(0) == 0xE1
        assert [await plane_status(bus, row) for row in ROWS] == [0xE0, 0xE1, 0xE0, 0xE0]
        for row in ROWS:
            await bus.send(0, 0x60, five(row)[2:], 0xD0 if row == ROWS[-1] else 0xD1)
            assert await bus.until_ready(0)
        assert await bus.status(0) == 0xE1
        assert [await plane_status(bus, row) for row in ROWS] == [0xE0, 0xE0, 0xE0, 0xE1]
        await bus.send(0, 0x00, five(3), 0x30)  # what was said is past
        await bus.until_ready(0)
        assert [await plane_status(bus, row) for row in ROWS] == [0xE0] * 4

    run(test, planes=4, array=array)


@pytest.mark.parametrize(
    "second",
    [16 * 5 + 8, 16 * 9 + 7, 16 * 64 + 7],
    ids=["another page number", "the same plane twice", "no such row"],
)
def test_what_breaks_the_rules_for_planes_does_nothing_and_fails(second):
    first = 16 * 1 + 7 if second == 16 * 9 + 7 else 16 * 2 + 7

    async def test(ctx, bus, array):
        await fill(bus, 0x80, first, content(1), 0x11)
        assert await fill(bus, 0x81, second, content(2), 0x10) == busy("program")
        assert await bus.status(0) == 0xE1
        assert not array.buffers["programmed"].any()
        array.write_page(0, 0, first, content(3))
        await bus.send(0, 0x00, five(first), 0x32)
        await bus.until_ready(0)
        await bus.send(0, 0x00, five(second), 0x30)
        assert await bus.until_ready(0) == busy("read")
        assert array.buffers["operations"].sum() == 0
        await bus.send(0, 0x00, five(first), 0x30)  # and is forgotten
        await bus.until_ready(0)
        assert await output(bus) == content(3)

    run(test, planes=4)


def test_erases_of_planes_need_no_page_number_but_planes_apart():
    async def test(ctx, bus, array):
        array.write_page(0, 0, 16, content(1))
        await bus.send(0, 0x60, five(16)[2:], 0xD1)
        await bus.until_ready(0)
        await bus.send(0, 0x60, five(16 * 3)[2:], 0xD0)
        await bus.until_ready(0)
        assert await bus.status(0) == 0xE1
        assert array.is_programmed(0, 0, 16) and not array.buffers["erase_counts"].any()

    run(test, planes=2)


@pytest.mark.parametrize(
    "between",
    [[0xFF], [0x00, five(3), 0x30], [0x05, [0, 0], 0xE0], [0xEE, [1]]],
    ids=["reset", "read", "column", "feature"],
)
def test_a_multi_plane_command_that_is_left_is_forgotten(between):
    async def test(ctx, bus, array):
        await fill(bus, 0x80, 7, content(1), 0x11)
        await bus.send(0, *between)
        await bus.until_ready(0)
        await fill(bus, 0x80, 16 + 9, content(2), 0x10)
        assert await bus.status(0) == 0xE0
        assert np.flatnonzero(array.buffers["programmed"]).tolist() == [16 + 9]
        assert array.page(0, 0, 25).tobytes() == content(2)

    run(test, planes=2)


def test_what_does_not_go_together_is_ignored():
    async def test(ctx, bus, array):
        await refused(bus, 0x81, five(3), 0x10)  # 81h is of a later plane
        await bus.send(0, 0x80, five(7), 0x11)
        await bus.until_ready(0)
        await refused(bus, 0x80, five(16 + 7), 0x15)  # no cache program of several planes
        await bus.send(0, 0x00, five(7), 0x32)
        await bus.until_ready(0)
        await refused(bus, 0x00, five(16 + 7), 0x35)
        await refused(bus, 0x00, five(16 + 7), 0x31)
        assert not array.buffers["programmed"].any()
        assert array.buffers["operations"].sum() == 0

    run(test, planes=2)


def test_cache_reads_move_through_planes():
    async def test(ctx, bus, array):
        rows = [5, 16 + 3, 16 + 4, 9]
        for row in rows:
            array.write_page(0, 0, row, content(row))
        await bus.send(0, 0x00, five(rows[0]), 0x30)
        await bus.until_ready(0)
        for before, row in zip(rows, rows[1:]):
            await bus.send(0, 0x00, five(row), 0x31)
            await bus.until_ready(0)
            assert await output(bus) == content(before)
        await bus.send(0, 0x3F)
        await bus.until_ready(0)
        assert await output(bus) == content(rows[-1])

    run(test, planes=2)


@pytest.mark.parametrize("planes", [1, 2])
def test_copyback_moves_a_page_and_what_is_written_into_it(planes):
    source, target = 16 * 2 + 3, 16 * (2 + planes) + 9

    async def test(ctx, bus, array):
        page = bytearray(content(5))
        array.write_page(0, 0, source, bytes(page))
        await bus.send(0, 0x00, five(source), 0x35)
        assert await bus.until_ready(0) == busy("read")
        assert await output(bus, 2) == page[:16]
        await bus.send(0, 0x85, five(target), 0x10)
        assert await bus.until_ready(0) == busy("program")
        assert array.page(0, 0, target).tobytes() == page
        await bus.send(0, 0x00, five(source), 0x35)
        await bus.until_ready(0)
        await bus.send(0, 0x85, five(target + 1, column=8))
        await bus.symbol(0, BusCycle.WRITE, 0x1122334455667788)
        await bus.send(0, 0x85, [0x40, 0])
        await bus.symbol(0, BusCycle.WRITE, 0)
        await bus.send(0, 0x10)
        await bus.until_ready(0)
        page[8:16], page[0x40:0x48] = bytes.fromhex("8877665544332211"), bytes(8)
        assert array.page(0, 0, target + 1).tobytes() == page
        assert await bus.status(0) == 0xE0
        assert array.page(0, 0, source).tobytes() == content(5)
        await refused(bus, 0x85, five(target + 2), 0x10)  # once for each 35h
        assert not array.is_programmed(0, 0, target + 2)

    run(test, planes=planes)


def test_a_copy_to_another_plane_fails_and_one_of_a_plain_read_is_ignored():
    async def test(ctx, bus, array):
        array.write_page(0, 0, 5, content(5))
        await bus.send(0, 0x00, five(5), 0x30)
        await bus.until_ready(0)
        await refused(bus, 0x85, five(6), 0x10)
        await bus.send(0, 0x00, five(5), 0x35)
        await bus.until_ready(0)
        await refused(bus, 0x85, five(6), 0x11)
        await refused(bus, 0x85, five(6), 0x15)
        await bus.send(0, 0x85, five(16 + 5), 0x10)
        assert await bus.until_ready(0) == busy("program")
        assert await bus.status(0) == 0xE1
        assert np.flatnonzero(array.buffers["programmed"]).tolist() == [5]
        await bus.send(0, 0x00, five(5), 0x30)
        await bus.until_ready(0)
        assert await output(bus) == content(5)

    run(test, planes=2)


@pytest.mark.parametrize("wait", [1, 50, busy("read") - 30])
def test_an_independent_plane_reads_while_others_do(wait):
    rows = [3, 16 + 9, 32 + 4]  # page numbers that differ

    async def test(ctx, bus, array):
        for row in (*rows, 64 + 5):
            array.write_page(0, 0, row, content(row))
        confirmed = []
        for row in rows:
            await bus.send(0, 0x00, five(row), 0x30)
            confirmed.append(bus.clock)  # R/B# would be low from here on, for busy("read") clocks
            for _ in range(wait):
                await ctx.tick()
        ends = [clock + busy("read") for clock in confirmed]
        assert not bus.ready(0) and await bus.status(0) == 0x80
        for row, end in zip(rows, ends):
            while bus.clock < end - 3:  # the address of 78h takes three clocks, the command one
                await ctx.tick()
            if bus.clock == end - 3:
                await bus.send(0, 0x78, five(row)[2:])
                # Strobed in the last clock in which the plane is busy, and in the next.
                assert (await bus.read(0))[0] == (0x80 if bus.clock - 1 < end else 0xE0)
            assert await plane_status(bus, row) == 0xE0
            await bus.send(0, 0x06, five(row), 0xE0)
            assert await output(bus, 2) == content(row)[:16]
            if row == rows[0] and bus.clock + 10 < ends[-1]:
                assert not bus.ready(0)
                await bus.send(0, 0x00, five(64 + 5), 0x30)  # plane 0 is at rest: again
                assert not bus.ready(0) and await plane_status(bus, row) == 0x80
        await bus.until_ready(0)
        assert await bus.status(0) == 0xE0

    run(test, planes=4, plane_independent=True)


@pytest.mark.parametrize("wait", [0, 1, 90, busy("read") - 9, busy("read")])
def test_ready_busy_rises_with_the_last_plane(wait):
    async def test(ctx, bus, array):
        array.write_page(0, 0, 3, content(3))
        array.write_page(0, 0, 25, content(25))
        await bus.send(0, 0x00, five(3), 0x30)
        for _ in range(wait):
            await ctx.tick()
        await bus.send(0, 0x00, five(25, column=8), 0x30)
        assert await bus.until_ready(0) == busy("read")
        assert await output(bus, 67) == content(25)[8:]
        await bus.send(0, 0x06, five(3), 0xE0)
        assert await output(bus) == content(3)
        # A cache read follows only where nothing was side by side.
        await bus.send(0, 0x3F)
        assert bus.ready(0) == (wait < busy("read"))

    run(test, planes=2, plane_independent=True)


def test_a_plane_that_senses_takes_nothing():
    async def test(ctx, bus, array):
        for row in (3, 5):
            array.write_page(0, 0, row, content(row))
        await bus.send(0, 0x00, five(3), 0x30)
        await bus.send(0, 0x00, five(5), 0x30)  # the same plane
        await bus.send(0, 0x06, five(3), 0xE0)
        await bus.read(0)  # takes nothing of a busy plane
        for sequence in ([0x60, [16, 0, 0], 0xD0], [0x80, five(20), 0x10], [0x00, five(17), 0x32]):
            await bus.send(0, *sequence)
        await bus.until_ready(0)
        assert await output(bus) == content(3)
        assert array.buffers["operations"][0].tolist() == [1, 0, 0]

    run(test, planes=2, plane_independent=True)


def test_without_independent_planes_a_busy_die_takes_no_read():
    async def test(ctx, bus, array):
        await bus.send(0, 0x00, five(3), 0x30)
        await bus.send(0, 0x00, five(16 + 3), 0x30)
        await bus.until_ready(0)
        assert array.buffers["operations"][0].tolist() == [1, 0, 0]
        assert await plane_status(bus, 16) == 0xE0

    run(test, planes=2)


@pytest.mark.parametrize("after", [40, 250])
def test_a_power_cut_finds_all_planes_equally_far(after):
    async def test(ctx, bus, array):
        for row in ROWS:
            # What waits for the other planes has not begun.
            assert not array.buffers["programmed"].any()
            confirm = 0x10 if row == ROWS[-1] else 0x11
            await bus.send(0, 0x80, five(row))
            for _ in range(PAGE_WORDS):
                await bus.symbol(0, BusCycle.WRITE, 0)
            await bus.symbol(0, BusCycle.COMMAND, confirm)
            if confirm == 0x11:
                await bus.until_ready(0)
        for _ in range(after - 1):
            await ctx.tick()
        found = array.power_cut(bus.clock, seed=1)
        share = (after - 1) / busy("program")
        assert {(entry.row, entry.share) for entry in found} == {(row, share) for row in ROWS}
        for row in ROWS:
            cleared = 544 * 8 - np.bitwise_count(array.page(0, 0, row)).sum()
            assert abs(cleared - share * 4352) < 5 * (4352 * share * (1 - share)) ** 0.5
        pages = {array.page(0, 0, row).tobytes() for row in ROWS}
        assert len(pages) == 4

    run(test, planes=4)


def test_a_power_cut_between_planes_leaves_nothing():
    async def test(ctx, bus, array):
        await fill(bus, 0x80, ROWS[0], content(1), 0x11)
        assert not array.power_cut(bus.clock)
        assert not array.buffers["programmed"].any() and not array.buffers["cells"].any()

    run(test, planes=4)
