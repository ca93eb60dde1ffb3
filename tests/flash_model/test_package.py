"""Dies behind their bus, driven symbol by symbol."""

from flash_model.onfi import JEDEC_ID, BusCycle
from flash_model.package import ChannelDies
from flash_model.profiles import profile
from rtl.nand.phy import Cycle, PhySignature
from tests.flash_model.die_bench import HZ, NONE, busy, content, five, run


def test_the_bus_is_that_of_the_controller():
    assert {c.name: c.value for c in Cycle} == {c.name: c.value for c in BusCycle}
    dut = ChannelDies(profile("tiny"), HZ)
    ours = {name: member.shape for name, member in dut.phy.signature.flip().members.items()}
    assert set(ours) == set(PhySignature(profile("tiny").geometry.dies).members)


def test_read_page_and_columns():
    async def test(ctx, bus, array):
        page = content(1)
        array.write_page(0, 1, 300, page)
        await bus.send(1, 0x00, five(300), 0x30)
        # R/B# goes low in the clock after the confirmation.
        assert await bus.until_ready(1) == busy("read")
        assert await bus.read(1) == page[:8]
        assert await bus.read(1) == page[8:16]
        await bus.send(1, 0x05, [0x08, 0x02], 0xE0)
        assert await bus.read(1) == page[0x208:0x210]
        assert await bus.status(1) == 0xE0
        await bus.send(1, 0x00)  # READ MODE: back to the page, where it was
        assert await bus.read(1) == page[0x210:0x218]
        await bus.send(1, 0x00, five(300, column=64), 0x30)
        await bus.until_ready(1)
        assert await bus.read(1) == page[64:72]

    run(test)


def test_busy_dies_take_status_and_reset_only():
    async def test(ctx, bus, array):
        array.write_page(0, 0, 5, content(2))
        await bus.send(0, 0x60, [5, 0, 0], 0xD0)
        assert await bus.status(0) == 0x80
        await bus.send(0, 0x00, five(5), 0x30)  # ignored
        await bus.send(0, 0xFF)
        assert await bus.until_ready(0) == busy("reset")
        assert await bus.status(0) == 0xE0
        assert array.buffers["read_counts"].sum() == 0
        assert not array.is_programmed(0, 0, 5)

    run(test)


def test_program_can_only_clear_bits():
    async def test(ctx, bus, array):
        async def program(data, row, column=0):
            await bus.send(2, 0x80, five(row, column))
            for at in range(0, len(data), 8):
                await bus.symbol(2, BusCycle.WRITE, int.from_bytes(data[at : at + 8], "little"))
            await bus.send(2, 0x10)
            assert await bus.until_ready(2) == busy("program")
            return await bus.status(2)

        first, second = content(3)[:64], content(4)[:16]
        assert await program(first, 17) == 0xE0
        assert await program(second, 17, column=16) == 0xE0
        both = bytes(a & b for a, b in zip(first[16:32], second))
        expected = first[:16] + both + first[32:]
        # What was not sent is not programmed: the page register starts as FFh.
        assert array.page(0, 2, 17).tobytes() == expected + bytes([0xFF]) * 480
        assert await program(first, 1 << 16) == 0xE1  # no such row
        await bus.send(2, 0x60, [16, 0, 0], 0xD0)
        assert await bus.until_ready(2) == busy("erase")
        assert array.page(0, 2, 17).tobytes() == bytes([0xFF]) * 544
        assert await bus.status(2) == 0xE0

    run(test)


def test_ids():
    async def test(ctx, bus, array):
        await bus.send(0, 0x90, [0x00])
        assert await bus.read(0) == JEDEC_ID
        await bus.send(0, 0x90, [0x20])
        assert (await bus.read(0))[:4] == b"ONFI"

    run(test)


def test_each_die_has_its_own_latches():
    """A command sequence may be left and taken up again after using another die."""

    async def test(ctx, bus, array):
        pages = {die: content(10 + die) for die in (0, 2)}
        for die, page in pages.items():
            array.write_page(0, die, 40 + die, page)
        await bus.send(0, 0x00, five(40)[:3])
        await bus.send(2, 0x00, five(42)[:2])
        for byte in five(40)[3:]:
            await bus.symbol(0, BusCycle.ADDRESS, byte)
        for byte in five(42)[2:]:
            await bus.symbol(2, BusCycle.ADDRESS, byte)
        await bus.send(2, 0x30)
        await bus.send(0, 0x30)
        await bus.until_ready(0)
        for at in range(0, 32, 8):
            assert await bus.read(0) == pages[0][at : at + 8]
            assert await bus.read(2) == pages[2][at : at + 8]

    run(test)


def test_next_event_and_skip():
    async def test(ctx, bus, array):
        dut = bus.dut
        assert ctx.get(dut.next_event) == NONE
        await bus.send(0, 0x60, [0, 0, 0], 0xD0)
        assert ctx.get(dut.next_event) == busy("erase")
        await bus.send(1, 0x00, five(0), 0x30)  # 7 clocks
        assert ctx.get(dut.next_event) == busy("read")
        # Skipping to one clock before the event: the die is ready after this very clock.
        ctx.set(dut.skip, busy("read") - 1)
        await ctx.tick()
        ctx.set(dut.skip, 0)
        assert (bus.ready(0), bus.ready(1), bus.ready(2)) == (0, 1, 1)
        assert ctx.get(dut.next_event) == busy("erase") - 7 - busy("read")
        ctx.set(dut.skip, busy("erase") - 7 - busy("read") - 2)
        await ctx.tick()
        ctx.set(dut.skip, 0)
        assert (bus.ready(0), ctx.get(dut.next_event)) == (0, 1)
        await ctx.tick()
        assert (bus.ready(0), ctx.get(dut.next_event)) == (1, NONE)

    run(test)
