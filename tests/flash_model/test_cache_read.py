"""Cache reads at the die: contents of both registers, R/B# and ARDY to the clock, refusals."""

import pytest

from flash_model.onfi import BusCycle
from tests.flash_model.die_bench import NONE, busy, content, five, run, sensing

RDY = 0xC0  # ready, the array busy behind
REST = 0xE0


def fill(array, die, rows):
    pages = {row: content(row) for row in rows}
    for row, page in pages.items():
        array.write_page(0, die, row, page)
    return pages


async def read_page(bus, die, row):
    await bus.send(die, 0x00, five(row), 0x30)
    assert await bus.until_ready(die) == busy("read")


async def words(bus, die, count):
    return b"".join([await bus.read(die) for _ in range(count)])


def test_pages_follow_each_other_through_two_registers():
    async def test(ctx, bus, array):
        pages = fill(array, 1, (3, 40, 41))
        await read_page(bus, 1, 3)
        assert array.data_register(0, 1).tobytes() == pages[3]
        assert await words(bus, 1, 2) == pages[3][:16]
        await bus.send(1, 0x00, five(40, column=64), 0x31)  # the column is ignored
        assert await bus.until_ready(1) == busy("cache")
        assert await words(bus, 1, 68) == pages[3]  # from its start, while 40 is being sensed
        for _ in range(sensing()):
            await ctx.tick()
        await bus.send(1, 0x00, five(41), 0x31)
        assert await bus.until_ready(1) == busy("cache")
        assert await words(bus, 1, 68) == pages[40]
        for _ in range(sensing()):
            await ctx.tick()
        await bus.send(1, 0x3F)
        assert await bus.until_ready(1) == busy("cache")
        assert await bus.status(1) == REST  # nothing is sensed any more
        await bus.send(1, 0x00)
        assert await words(bus, 1, 68) == pages[41]
        assert array.buffers["read_counts"].sum() == 3

    run(test)


def test_the_array_is_busy_for_t_r_behind_a_ready_die():
    async def test(ctx, bus, array):
        fill(array, 0, (1, 2))
        await read_page(bus, 0, 1)
        await bus.send(0, 0x00, five(2), 0x31)
        assert await bus.status(0) == 0x80
        clocks = 2 + await bus.until_ready(0)
        assert clocks == busy("cache")
        seen = [(await bus.read(0))[0] for _ in range(sensing() + 2)]
        assert seen == [RDY] * sensing() + [REST] * 2

    run(test)


@pytest.mark.parametrize("confirm", [0x31, 0x3F])
@pytest.mark.parametrize("wait", [0, 50, 192, 193, 194, 250])
def test_a_sensing_under_way_is_waited_for(confirm, wait):
    """R/B# is low for tWB, what is left of tR after the confirming strobe, and tRCBSY."""

    async def test(ctx, bus, array):
        pages = fill(array, 2, (5, 6, 7))
        await read_page(bus, 2, 5)
        await bus.send(2, 0x00, five(6), 0x31)
        await bus.until_ready(2)
        for _ in range(wait):
            await ctx.tick()
        symbols = 7
        if confirm == 0x31:
            await bus.send(2, 0x00, five(7), 0x31)
        else:
            symbols = 1
            await bus.send(2, 0x3F)
        left = max(0, sensing() - wait - symbols)
        assert await bus.until_ready(2) == busy("cache") + left
        assert await words(bus, 2, 3) == pages[6][:24]
        seen = (await bus.status(2)) & 0x20
        assert seen == (0 if confirm == 0x31 else 0x20)

    run(test)


@pytest.mark.parametrize(
    "illegal",
    [
        lambda bus: bus.send(0, 0x00, five(9), 0x30),
        lambda bus: bus.send(0, 0x80, five(2), 0x10),
        lambda bus: bus.send(0, 0x60, [2, 0, 0], 0xD0),
        lambda bus: bus.send(0, 0x90, [0x20]),
        lambda bus: bus.send(0, 0x00, five(9)[:3], 0x31),
    ],
    ids=["30h", "80h", "60h", "90h", "31h with three addresses"],
)
def test_what_is_illegal_behind_a_sensing_changes_nothing(illegal):
    async def test(ctx, bus, array):
        pages = fill(array, 0, (1, 2, 9))
        await read_page(bus, 0, 1)
        await bus.send(0, 0x00, five(2), 0x31)
        await bus.until_ready(0)
        first = await words(bus, 0, 2)
        await illegal(bus)
        assert bus.ready(0)
        await bus.symbol(0, BusCycle.WRITE, 0)
        assert await bus.status(0) == RDY
        await bus.send(0, 0x00)
        assert first + await words(bus, 0, 2) == pages[1][:32]  # goes on where it was
        await bus.send(0, 0x3F)
        await bus.until_ready(0)
        assert await words(bus, 0, 68) == pages[2]
        assert await bus.status(0) == REST
        assert array.page(0, 0, 2).tobytes() == pages[2]
        assert array.buffers["read_counts"].sum() == 2
        assert array.buffers["erase_counts"].sum() == 0

    run(test)


def test_the_column_can_be_changed_behind_a_sensing():
    async def test(ctx, bus, array):
        pages = fill(array, 0, (1, 2))
        await bus.send(0, 0x00, five(1, column=0x88), 0x30)
        await bus.until_ready(0)
        assert await words(bus, 0, 1) == pages[1][0x88:0x90]  # 30h takes the column
        await bus.send(0, 0x00, five(2), 0x31)
        await bus.until_ready(0)
        assert await words(bus, 0, 1) == pages[1][:8]
        await bus.send(0, 0x05, [0x18, 0x01], 0xE0)
        assert await words(bus, 0, 2) == pages[1][0x118:0x128]
        assert await bus.status(0) == RDY

    run(test)


async def _nothing(bus):
    pass


async def _ended(bus):
    await read_page(bus, 0, 1)
    await bus.send(0, 0x3F)
    await bus.until_ready(0)


async def _programmed(bus):
    await read_page(bus, 0, 1)
    await bus.send(0, 0x80, five(30), 0x10)
    await bus.until_ready(0)


async def _erased(bus):
    await read_page(bus, 0, 1)
    await bus.send(0, 0x60, [32, 0, 0], 0xD0)
    await bus.until_ready(0)


async def _reset(bus):
    await read_page(bus, 0, 1)
    await bus.send(0, 0x00, five(2), 0x31)
    await bus.until_ready(0)
    await bus.send(0, 0xFF)  # while the array senses
    assert await bus.until_ready(0) == busy("reset")
    assert await bus.status(0) == REST


@pytest.mark.parametrize("before", [_nothing, _ended, _programmed, _erased, _reset])
def test_cache_reads_must_follow_a_read(before):
    async def test(ctx, bus, array):
        fill(array, 0, (1, 2))
        await before(bus)
        reads = array.buffers["read_counts"].sum()
        await bus.send(0, 0x00, five(2), 0x31)
        assert bus.ready(0)
        await bus.send(0, 0x3F)
        assert bus.ready(0) and await bus.status(0) == REST
        assert array.buffers["read_counts"].sum() == reads
        await read_page(bus, 0, 2)
        assert await words(bus, 0, 1) == content(2)[:8]

    run(test)


def test_a_row_that_does_not_exist_still_lets_the_page_before_up():
    async def test(ctx, bus, array):
        pages = fill(array, 0, (1, 2))
        await read_page(bus, 0, 1)
        await bus.send(0, 0x00, five(2), 0x31)
        await bus.until_ready(0)
        for _ in range(sensing()):
            await ctx.tick()
        await bus.send(0, 0x00, five(1 << 16), 0x31)
        assert await bus.until_ready(0) == busy("cache")
        assert await bus.status(0) == RDY
        await bus.send(0, 0x00)
        assert await words(bus, 0, 1) == pages[2][:8]
        assert array.buffers["read_counts"].sum() == 2

    run(test)


def test_background_sensing_is_skipped_with_the_rest():
    """The same end of tR with and without skips; it is no event itself."""

    async def test(ctx, bus, array):
        dut = bus.dut

        async def skip(clocks):
            ctx.set(dut.skip, clocks - 1)
            await ctx.tick()
            ctx.set(dut.skip, 0)

        fill(array, 0, (1, 2))
        await read_page(bus, 0, 1)
        await bus.send(0, 0x70)
        await bus.send(0, 0x00, five(2), 0x31)
        await bus.send(0, 0x70)
        assert ctx.get(dut.next_event) == busy("cache") - 1
        await bus.send(1, 0x60, [0, 0, 0], 0xD0)  # five clocks
        assert ctx.get(dut.next_event) == busy("cache") - 6
        await skip(busy("cache") - 6)
        assert (bus.ready(0), bus.ready(1)) == (1, 0)
        assert ctx.get(dut.next_event) == busy("erase") - (busy("cache") - 6)
        await skip(sensing() - 1)
        assert (await bus.read(0))[0] == RDY  # the last clock of tR
        assert (await bus.read(0))[0] == REST
        left = ctx.get(dut.next_event)
        assert left == busy("erase") - (busy("cache") - 6) - (sensing() - 1) - 2
        await skip(left)
        assert (bus.ready(1), ctx.get(dut.next_event)) == (1, NONE)
        # With no R/B# low any stretch may be skipped, a sensing behind or not.
        await read_page(bus, 0, 1)
        await bus.send(0, 0x00, five(2), 0x31)
        await bus.until_ready(0)
        assert ctx.get(dut.next_event) == NONE
        await skip(1 << 20)
        assert await bus.status(0) == REST

    run(test)


def test_sequential_cache_reads_go_from_row_to_row():
    """31h without an address, also across the end of a block and after a random cache read."""

    async def test(ctx, bus, array):
        rows = [14, 15, 16, 17, 600, 601]
        pages = fill(array, 0, rows)
        await read_page(bus, 0, 14)
        for step, row in enumerate(rows[1:]):
            for _ in range(sensing()):
                await ctx.tick()
            if row == 600:
                await bus.send(0, 0x00, five(600), 0x31)
            elif step % 2:
                await bus.status(0)
                await bus.send(0, 0x00)  # READ MODE is no address
                await bus.send(0, 0x31)
            else:
                await bus.send(0, 0x31)
            assert await bus.until_ready(0) == busy("cache")
            await bus.send(0, 0x05, [0, 0], 0xE0)
            assert await words(bus, 0, 68) == pages[rows[step]]
        await bus.send(0, 0x3F)
        await bus.until_ready(0)
        assert await words(bus, 0, 68) == pages[601]

    run(test)


def test_a_sequence_of_cache_reads_ends_with_the_die():
    async def test(ctx, bus, array):
        pages = fill(array, 0, (1022, 1023))
        await read_page(bus, 0, 1022)
        reads = []
        for _ in range(3):
            await bus.send(0, 0x31)
            await bus.until_ready(0)
            reads.append(await words(bus, 0, 1))
        assert reads == [pages[1022][:8], pages[1023][:8], pages[1023][:8]]
        assert array.buffers["read_counts"].sum() == 2

    run(test)
