"""Programs at the die: columns, cache programs to the clock, every bit of the status byte."""

import pytest

from flash_model.array import NandArray
from flash_model.onfi import BusCycle
from flash_model.profiles import profile
from flash_model.timing import cycles
from tests.flash_model.die_bench import HZ, busy, content, five, run

FAIL, FAILC, ARDY, RDY, WP = 1, 2, 0x20, 0x40, 0x80
T_PROG = cycles(profile("tiny").timing.t_prog_ns, HZ)


async def data(bus, die, content):
    for at in range(0, len(content), 8):
        await bus.symbol(die, BusCycle.WRITE, int.from_bytes(content[at : at + 8], "little"))


async def program(bus, die, row, content, confirm, column=0):
    await bus.send(die, 0x80, five(row, column))
    await data(bus, die, content)
    await bus.send(die, confirm)


async def clocks(ctx, count):
    for _ in range(count):
        await ctx.tick()


class Failing(NandArray):
    """Rows 8 and above cannot be programmed, block 1 (rows 16 to 31) not be erased."""

    def program(self, channel, die, row):
        super().program(channel, die, row)
        return row >= 8

    def erase(self, channel, die, row):
        super().erase(channel, die, row)
        return row // 16 == 1


def test_change_write_column():
    async def test(ctx, bus, array):
        first, second, third = content(1)[:16], content(2)[:24], content(3)[:8]
        await bus.send(1, 0x80, five(77, column=8))
        await data(bus, 1, first)
        await bus.send(1, 0x85, [0x00, 0x02])
        await data(bus, 1, second)
        await bus.send(1, 0x85, [0x40, 0x00])
        await data(bus, 1, third)
        await bus.send(1, 0x10)
        assert await bus.until_ready(1) == busy("program")
        page = bytearray(b"\xff" * 544)
        page[8:24], page[0x200:0x218], page[0x40:0x48] = first, second, third
        assert array.page(0, 1, 77).tobytes() == bytes(page)
        await bus.send(1, 0x85, [0, 0])  # no program is open
        await data(bus, 1, first)
        await bus.send(1, 0x10)
        assert bus.ready(1) and array.register(0, 1).tobytes() == bytes(page)

    run(test)


def test_cache_programs_overlap():
    """R/B# is low for tWB + tPCBSY; the second waits for what is left of the first's tPROG."""

    async def test(ctx, bus, array):
        a, b, c = (content(seed) for seed in (4, 5, 6))
        await program(bus, 0, 0, a, 0x15)
        assert await bus.until_ready(0) == busy("cache_program")
        assert await bus.status(0) == RDY | WP
        passed = 2
        await program(bus, 0, 1, b, 0x15)
        passed += 1 + 5 + 68 + 1
        assert await bus.until_ready(0) == busy("cache_program") + T_PROG - passed
        await program(bus, 0, 2, c, 0x10)
        assert await bus.until_ready(0) == busy("program") + T_PROG - (1 + 5 + 68 + 1)
        assert await bus.status(0) == RDY | WP | ARDY
        for row, page in enumerate((a, b, c)):
            assert array.page(0, 0, row).tobytes() == page

    run(test)


def test_the_array_is_busy_for_t_prog_behind_a_ready_die():
    async def test(ctx, bus, array):
        await program(bus, 2, 3, content(1)[:8], 0x15)
        await bus.until_ready(2)
        await bus.send(2, 0x70)
        seen = [(await bus.read(2))[0] for _ in range(T_PROG + 2)]
        assert seen == [RDY | WP] * (T_PROG - 1) + [RDY | WP | ARDY] * 3

    run(test)


@pytest.mark.parametrize("rows", [(8, 1, 2), (1, 8, 2), (1, 2, 8), (8, 9, 1), (1, 2, 3)])
def test_failures_of_cache_programs(rows):
    """FAILC: the one before the last, once R/B# is high. FAIL: the last, once the array rests."""

    async def test(ctx, bus, array):
        fails = [row >= 8 for row in rows]
        for turn, row in enumerate(rows):
            last = turn == len(rows) - 1
            await program(bus, 1, row, content(row)[:8], 0x10 if last else 0x15)
            assert await bus.status(1) & (FAIL | FAILC) == 0  # they say nothing yet
            await bus.until_ready(1)
            status = await bus.status(1)
            before = fails[turn - 1] if turn else False
            assert bool(status & FAILC) == before
            assert bool(status & FAIL) == (last and fails[turn])
        assert await bus.status(0) == WP | RDY | ARDY  # another die
        await bus.send(1, 0x00, five(0), 0x30)
        await bus.until_ready(1)
        assert await bus.status(1) == WP | RDY | ARDY

    run(test, array=Failing)


def test_fail_shows_behind_a_cache_program_when_the_array_rests():
    async def test(ctx, bus, array):
        await program(bus, 0, 9, content(1)[:8], 0x15)
        await bus.until_ready(0)
        assert await bus.status(0) == WP | RDY
        await clocks(ctx, T_PROG)
        assert (await bus.read(0))[0] == WP | RDY | ARDY | FAIL

    run(test, array=Failing)


def test_failures_of_erases_and_resets_that_forget_them():
    async def test(ctx, bus, array):
        for block, status in ((1, 0xE1), (0, 0xE0), (1, 0xE1)):
            await bus.send(0, 0x60, [16 * block, 0, 0], 0xD0)
            await bus.until_ready(0)
            assert await bus.status(0) == status
        await bus.send(0, 0xFF)
        await bus.until_ready(0)
        assert await bus.status(0) == 0xE0

    run(test, array=Failing)


def test_write_protect():
    async def test(ctx, bus, array):
        array.write_page(0, 0, 5, content(1))
        ctx.set(bus.dut.write_protect, 1)
        for confirm in (0x10, 0x15):
            await program(bus, 0, 6, content(2), confirm)
            assert bus.ready(0)
        await bus.send(0, 0x60, [5, 0, 0], 0xD0)
        assert bus.ready(0)
        assert await bus.status(0) == RDY | ARDY
        await bus.send(0, 0x00, five(5), 0x30)  # reads go on
        await bus.until_ready(0)
        assert await bus.read(0) == content(1)[:8]
        assert array.page(0, 0, 5).tobytes() == content(1)
        assert not array.is_programmed(0, 0, 6)
        ctx.set(bus.dut.write_protect, 0)
        assert await bus.status(0) == WP | RDY | ARDY
        await program(bus, 0, 6, content(2), 0x10)
        assert await bus.until_ready(0) == busy("program")
        assert array.page(0, 0, 6).tobytes() == content(2)

    run(test)


@pytest.mark.parametrize(
    "illegal",
    [
        lambda bus: bus.send(0, 0x00, five(9), 0x30),
        lambda bus: bus.send(0, 0x60, [2, 0, 0], 0xD0),
        lambda bus: bus.send(0, 0x90, [0x20]),
        lambda bus: bus.send(0, 0xEC, [0]),
        lambda bus: bus.send(0, 0x31),
        lambda bus: bus.send(0, 0x3F),
        lambda bus: bus.send(0, 0x10),
        lambda bus: bus.send(0, 0x80, five(2)[:4], 0x10),
    ],
    ids=["30h", "60h", "90h", "ECh", "31h", "3Fh", "10h alone", "10h with four addresses"],
)
def test_what_is_illegal_behind_a_cache_program_changes_nothing(illegal):
    async def test(ctx, bus, array):
        await program(bus, 0, 1, content(1), 0x15)
        await bus.until_ready(0)
        await illegal(bus)
        assert bus.ready(0)
        assert await bus.status(0) == RDY | WP
        await program(bus, 0, 2, content(2), 0x10)
        assert await bus.until_ready(0) > busy("program")
        assert await bus.status(0) == RDY | WP | ARDY
        assert array.buffers["programmed"].nonzero()[0].tolist() == [1, 2]
        assert array.buffers["erase_counts"].sum() == array.buffers["read_counts"].sum() == 0
        assert array.page(0, 0, 2).tobytes() == content(2)

    run(test)


def test_a_reset_ends_what_is_behind():
    async def test(ctx, bus, array):
        await program(bus, 0, 9, content(1), 0x15)
        await bus.until_ready(0)
        await bus.send(0, 0xFF)
        assert await bus.until_ready(0) == busy("reset")
        assert await bus.status(0) == 0xE0  # its failure is forgotten too
        await bus.send(0, 0x60, [0, 0, 0], 0xD0)
        assert await bus.until_ready(0) == busy("erase")

    run(test, array=Failing)
