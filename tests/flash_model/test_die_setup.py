"""Parameter page, unique ID, features, status of LUNs and resets at the die's bus."""

import pytest

from flash_model.onfi import BusCycle
from flash_model.parameter_page import parameter_page
from flash_model.profiles import profile
from tests.flash_model.die_bench import busy, content, five, run

PAGE, EXTENDED = parameter_page(profile("tiny"))[:256], parameter_page(profile("tiny"))[256:]
OTHER_LUN = [0, 4, 0]  # tiny has 1024 rows: row bit 10 is the first of the LUN's


async def words(bus, die, count):
    return b"".join([await bus.read(die) for _ in range(count)])


async def get_feature(bus, die, address):
    await bus.send(die, 0xEE, [address])
    assert await bus.until_ready(die) == busy("feature")
    return await bus.read(die)


async def set_feature(bus, die, address, value):
    await bus.send(die, 0xEF, [address])
    assert bus.ready(die)
    await bus.symbol(die, BusCycle.WRITE, value)
    assert await bus.until_ready(die) == busy("feature")


def test_the_parameter_page_comes_in_copies():
    async def test(ctx, bus, array):
        await bus.send(1, 0xEC, [0x00])
        assert await bus.until_ready(1) == busy("read")
        assert await words(bus, 1, 3 * 32) == 3 * PAGE
        assert await words(bus, 1, 2 * 6) == 2 * EXTENDED
        await bus.send(1, 0x05, [16, 3], 0xE0)
        assert await words(bus, 1, 2) == EXTENDED[16:32]
        await bus.send(1, 0x05, [0x50, 0], 0xE0)  # inside a copy
        assert await words(bus, 1, 2) == PAGE[80:96]
        await bus.send(1, 0x05, [0x10, 2], 0xE0)  # inside the third copy
        assert await words(bus, 1, 1) == PAGE[16:24]
        assert await bus.status(1) == 0xE0
        await bus.send(1, 0x00)  # READ MODE: goes on with the parameter page
        assert await words(bus, 1, 1) == PAGE[24:32]

    run(test)


def test_unique_ids_have_sixteen_copies_and_differ():
    async def test(ctx, bus, array):
        seen = set()
        for die in range(3):
            await bus.send(die, 0xED, [0x00])
            assert await bus.until_ready(die) == busy("read")
            copies = await words(bus, die, 16 * 4)
            assert copies == 16 * copies[:32]
            assert bytes(a ^ b for a, b in zip(copies[:16], copies[16:32])) == b"\xff" * 16
            seen.add(copies[:32])
        assert len(seen) == 3

    run(test)


@pytest.mark.parametrize("command", [0xEC, 0xED])
def test_no_cache_read_follows_what_the_maker_left(command):
    async def test(ctx, bus, array):
        array.write_page(0, 0, 3, content(1))
        await bus.send(0, 0x00, five(3), 0x30)
        await bus.until_ready(0)
        await bus.send(0, command, [0x40])  # no such address
        assert bus.ready(0)
        assert await words(bus, 0, 1) == content(1)[:8]
        await bus.send(0, command, [0x00])
        await bus.until_ready(0)
        await bus.send(0, 0x3F)
        assert bus.ready(0)
        await bus.send(0, 0x00, five(3), 0x30)
        await bus.until_ready(0)
        assert await words(bus, 0, 1) == content(1)[:8]

    run(test)


def test_features_are_each_die_s_own():
    async def test(ctx, bus, array):
        await set_feature(bus, 1, 0x01, 0x25)
        await set_feature(bus, 1, 0x89, 0x03)
        await set_feature(bus, 2, 0x89, 0x07)
        await set_feature(bus, 2, 0x55, 0xAA)  # no such feature
        assert await get_feature(bus, 0, 0x01) == bytes(8)
        assert await get_feature(bus, 1, 0x01) == bytes([0x25, *bytes(7)])
        assert await get_feature(bus, 1, 0x89) == bytes([3, *bytes(7)])
        assert await get_feature(bus, 2, 0x89) == bytes([7, *bytes(7)])
        assert await get_feature(bus, 2, 0x55) == bytes(8)
        assert array.buffers["retry_levels"].tolist() == [0, 3, 7]
        assert await bus.status(1) == 0xE0
        await bus.send(1, 0x00)

    run(test)


def test_a_feature_can_be_read_after_polling_the_status():
    async def test(ctx, bus, array):
        await set_feature(bus, 0, 0x89, 5)
        await bus.send(0, 0xEE, [0x89])
        assert await bus.status(0) == 0x80
        await bus.until_ready(0)
        assert (await bus.read(0))[0] == 0xE0
        await bus.send(0, 0x00)
        assert (await bus.read(0))[0] == 5

    run(test)


@pytest.mark.parametrize(
    "command,address,mode,level",
    [(0xFF, [], 0, 0), (0xFC, [], 0x13, 0), (0xFA, [9, 1, 0], 0x13, 5)],
    ids=["FFh", "FCh", "FAh"],
)
def test_what_a_reset_keeps(command, address, mode, level):
    async def test(ctx, bus, array):
        await set_feature(bus, 1, 0x01, 0x13)
        await set_feature(bus, 1, 0x89, 5)
        await bus.send(1, 0x60, [0, 0, 0], 0xD0)
        await bus.send(1, command, address)
        assert await bus.until_ready(1) == busy("reset")
        assert await bus.status(1) == 0xE0
        assert (await get_feature(bus, 1, 0x01))[0] == mode
        assert (await get_feature(bus, 1, 0x89))[0] == level
        assert array.buffers["retry_levels"].tolist() == [0, level, 0]

    run(test)


def test_commands_with_another_lun_s_number():
    async def test(ctx, bus, array):
        array.write_page(0, 0, 5, content(2))
        await bus.send(0, 0x00, five(5), 0x30)
        await bus.send(0, 0x78, OTHER_LUN)
        assert await bus.read(0) == b"\xff" * 8  # nobody drives the bus
        await bus.send(0, 0x78, [7, 1, 0])
        assert await bus.read(0) == b"\x80" * 8
        left = await bus.until_ready(0)
        await bus.send(0, 0x60, [5, 0, 0], 0xD0)
        await bus.send(0, 0xFA, OTHER_LUN)  # goes on
        assert await bus.until_ready(0) == busy("erase") - 4 > left
        await bus.send(0, 0x78, [5, 0, 0])
        assert await bus.read(0) == b"\xe0" * 8

    run(test)


def test_change_read_column_enhanced_chooses_lun_and_column():
    async def test(ctx, bus, array):
        page = content(6)
        array.write_page(0, 2, 5, page)
        await bus.send(2, 0x00, five(5), 0x30)
        await bus.until_ready(2)
        await bus.send(2, 0x06, five(5, column=0x110), 0xE0)
        assert await words(bus, 2, 2) == page[0x110:0x120]
        await bus.send(2, 0x06, [0, 0, *OTHER_LUN], 0xE0)
        assert await bus.read(2) == b"\xff" * 8
        await bus.send(2, 0x06, five(5, column=8)[:4], 0xE0)  # an address short
        assert await bus.read(2) == b"\xff" * 8
        await bus.send(2, 0x06, five(5, column=8), 0xE0)
        assert await words(bus, 2, 1) == page[8:16]

    run(test)


@pytest.mark.parametrize("command,address", [(0xEC, 0), (0xED, 0), (0xEE, 1), (0xEF, 1)])
def test_they_need_the_array_at_rest(command, address):
    async def test(ctx, bus, array):
        for row in (1, 2):
            array.write_page(0, 0, row, content(row))
        await bus.send(0, 0x00, five(1), 0x30)
        await bus.until_ready(0)
        await bus.send(0, 0x00, five(2), 0x31)
        await bus.until_ready(0)
        await bus.send(0, command, [address])
        await bus.symbol(0, BusCycle.WRITE, 0x22)
        assert bus.ready(0)
        assert await words(bus, 0, 68) == content(1)
        await bus.send(0, 0x3F)
        await bus.until_ready(0)
        assert await words(bus, 0, 68) == content(2)

    run(test)
