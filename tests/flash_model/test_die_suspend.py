"""Suspend and resume of a die, clock by clock."""

import pytest

from flash_model.array import NandArray
from flash_model.faults import Faults
from flash_model.onfi import BusCycle
from flash_model.suspend import Suspend
from tests.flash_model.die_bench import busy, content, five, run

SUSPEND = Suspend(t_susp_ns=400, erase_most=4, program_most=4)
T_SUSP = 40  # in clocks of 10 ns
KINDS = {"erase": (0x61, 0xD2), "program": (0x86, 0xD1)}
OTHER = 300  # a row of another block


async def begin(bus, kind, row=17):
    if kind == "erase":
        await bus.send(1, 0x60, [row & 255, row >> 8, 0], 0xD0)
    else:
        await bus.send(1, 0x80, five(row))
        await bus.symbol(1, BusCycle.WRITE, 5)
        await bus.send(1, 0x10)


async def wait(ctx, clocks):
    for _ in range(clocks):
        await ctx.tick()


def timed(test, **options):
    run(test, timing={"suspend": SUSPEND}, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", [1, 3])
def test_it_takes_its_time_in_all(kind, times):
    """Clocks of R/B# low, those of the suspensions apart, are what they are without."""
    stop, go_on = KINDS[kind]

    async def test(ctx, bus, array):
        page = content(1)
        array.write_page(0, 1, OTHER, page)
        await begin(bus, kind)
        worked = 0
        for _ in range(times):
            await wait(ctx, 50)
            await bus.send(1, stop)
            worked += 51
            assert await bus.until_ready(1) == T_SUSP
            assert await bus.status(1) == 0xE4
            await bus.send(1, 0x00, five(OTHER), 0x30)
            assert await bus.until_ready(1) == busy("read")
            assert await bus.read(1) == page[:8]
            await wait(ctx, 30)
            await bus.send(1, go_on)
        assert worked + await bus.until_ready(1) == busy(kind)
        assert await bus.status(1) == 0xE0

    timed(test)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [T_SUSP - 1, T_SUSP, T_SUSP + 1])
def test_almost_done(kind, left):
    """What ends within tSUSP just ends; the resume command finds nothing then."""
    stop, go_on = KINDS[kind]

    async def test(ctx, bus, array):
        await begin(bus, kind)
        await wait(ctx, busy(kind) - left)
        await bus.send(1, stop)
        suspended = left > T_SUSP
        assert await bus.until_ready(1) == (T_SUSP if suspended else left - 1)
        assert await bus.status(1) == (0xE4 if suspended else 0xE0)
        await bus.send(1, go_on)
        assert await bus.until_ready(1) == (left - 1 if suspended else 0)

    timed(test)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_ignored(kind):
    stop, go_on = KINDS[kind]
    others = [byte for other, pair in KINDS.items() if other != kind for byte in pair]

    async def test(ctx, bus, array):
        for byte in (*others, stop, go_on):
            await bus.send(1, byte)
            assert bus.ready(1)
        await begin(bus, kind)
        for byte in (*others, go_on):
            await bus.send(1, byte)
        assert await bus.until_ready(1) == busy(kind) - 3
        await begin(bus, kind)
        await bus.send(1, stop)
        await bus.until_ready(1)
        erases = array.buffers["erase_counts"].sum()
        await bus.send(1, 0x60, [OTHER & 255, OTHER >> 8, 0], 0xD0)
        await bus.send(1, 0x80, five(OTHER))
        await bus.send(1, 0x10)
        assert bus.ready(1) and array.buffers["erase_counts"].sum() == erases
        assert not array.is_programmed(0, 1, OTHER)
        await bus.send(1, 0xFF)  # abandons it
        assert await bus.until_ready(1) == busy("reset")
        await bus.send(1, go_on)
        assert bus.ready(1) and await bus.status(1) == 0xE0

    timed(test)


@pytest.mark.parametrize("kind", KINDS)
def test_the_verdict_is_kept(kind):
    """Of a bad block; reads in between have none of it."""
    stop, go_on = KINDS[kind]

    def bad(geometry, **options):
        return NandArray(geometry, faults=Faults(geometry, bad_blocks=[(0, 1, 1)]), **options)

    async def test(ctx, bus, array):
        await begin(bus, kind)
        await wait(ctx, 5)  # tWB, no less
        await bus.send(1, stop)
        await bus.until_ready(1)
        assert await bus.status(1) == 0xE4
        await bus.send(1, 0x00, five(OTHER), 0x30)
        await bus.until_ready(1)
        assert await bus.status(1) == 0xE4
        await bus.send(1, go_on)
        await bus.until_ready(1)
        assert await bus.status(1) == 0xE1

    timed(test, array=bad)


ROWS = (16 + 3, 48 + 3, 32 + 3)  # page 3 of blocks in planes 1, 3 and 2 of 4
PLACES = {"erase": (0x60, 0xD1, 0xD0), "program": (0x80, 0x11, 0x10)}


async def begin_planes(bus, kind):
    """Of `ROWS`; R/B# is low for all of them then."""
    opening, more, confirm = PLACES[kind]
    for row in ROWS:
        address = five(row)[2 if kind == "erase" else 0 :]
        await bus.send(1, opening, address)
        if kind == "program":
            await bus.symbol(1, BusCycle.WRITE, row)
        await bus.symbol(1, BusCycle.COMMAND, confirm if row == ROWS[-1] else more)
        if row != ROWS[-1]:
            await bus.until_ready(1)


async def plane_status(bus, row):
    await bus.send(1, 0x78, five(row)[2:])
    return (await bus.read(1))[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("independent", [False, True])
def test_several_planes_go_on_as_one(kind, independent):
    """Each plane keeps its verdict; reads in between, of several planes too, change nothing."""
    stop, go_on = KINDS[kind]

    def weak(geometry, **options):
        return NandArray(geometry, faults=Faults(geometry, bad_blocks=[(0, 1, 3)]), **options)

    async def test(ctx, bus, array):
        others = (OTHER, OTHER + 16)
        pages = [content(row) for row in others]
        for row, page in zip(others, pages, strict=True):
            array.write_page(0, 1, row, page)
        for row in ROWS:
            array.write_page(0, 1, row + 1, content(row))
        await begin_planes(bus, kind)
        await wait(ctx, 50)
        await bus.send(1, stop)
        assert await bus.until_ready(1) == T_SUSP
        assert await bus.status(1) == 0xE4
        await bus.send(1, 0x00, five(others[0]), 0x32)
        assert await bus.until_ready(1) == busy("plane")
        await bus.send(1, 0x00, five(others[1]), 0x30)
        assert await bus.until_ready(1) == busy("read")
        for row, page in zip(others, pages, strict=True):
            await bus.send(1, 0x06, five(row), 0xE0)
            assert await bus.read(1) == page[:8]
        await bus.send(1, go_on)
        # It is no read: of independent planes, none can be sensed or read out now, not even when
        # no more is left of it than a read would take.
        waits = busy(kind) - 51 - busy("read") // 2
        await wait(ctx, waits)
        began = bus.clock
        assert [await plane_status(bus, row) & 0x60 for row in (0, *ROWS)] == [0] * 4
        await bus.send(1, 0x00, five(OTHER + 32), 0x30)  # of plane 0
        probed = bus.clock - began
        assert 51 + waits + probed + await bus.until_ready(1) == busy(kind)
        assert await bus.status(1) == 0xE1
        assert [await plane_status(bus, row) for row in ROWS] == [0xE0, 0xE1, 0xE0]
        for row in (ROWS[0], ROWS[2]):
            word = array.page(0, 1, row)[:8].tobytes()
            assert word == (row.to_bytes(8, "little") if kind == "program" else b"\xff" * 8)
            assert array.is_programmed(0, 1, row + 1) == (kind == "program")

    timed(test, array=weak, planes=4, plane_independent=independent)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_rule_for_planes_fails_after_the_suspension(kind):
    """A plane twice: what is confirmed does nothing, takes its time, and fails in all planes."""
    stop, go_on = KINDS[kind]

    async def test(ctx, bus, array):
        opening, more, confirm = PLACES[kind]
        for row, last in ((16, more), (48, confirm)):  # plane 1 of 2 both times
            await bus.send(1, opening, five(row)[2 if kind == "erase" else 0 :], last)
            await wait(ctx, 50)
        await bus.send(1, stop)
        await bus.until_ready(1)
        await bus.send(1, 0x00, five(OTHER), 0x30)
        await bus.until_ready(1)
        await bus.send(1, go_on)
        assert 51 + await bus.until_ready(1) == busy(kind)
        assert await bus.status(1) == 0xE1
        assert [await plane_status(bus, row) for row in (0, 16)] == [0xE1, 0xE1]

    timed(test, planes=2)


@pytest.mark.parametrize("kind", KINDS)
def test_between_planes_there_is_nothing_to_suspend(kind):
    stop, _ = KINDS[kind]

    async def test(ctx, bus, array):
        opening, more, _ = PLACES[kind]
        await bus.send(1, opening, five(16)[2 if kind == "erase" else 0 :], more)
        await bus.send(1, stop)
        assert await bus.until_ready(1) == busy("plane") - 1
        assert await bus.status(1) == 0xE0

    timed(test, planes=2)


@pytest.mark.parametrize("kind", KINDS)
def test_no_copy_into_a_suspended_die(kind):
    """Neither before nor after the resume command; the copy is forgotten."""
    stop, go_on = KINDS[kind]

    async def test(ctx, bus, array):
        array.write_page(0, 1, OTHER, content(5))
        await begin(bus, kind)
        await wait(ctx, 50)
        await bus.send(1, stop)
        await bus.until_ready(1)
        await bus.send(1, 0x00, five(OTHER), 0x35)
        assert await bus.until_ready(1) == busy("read")
        for _ in range(2):
            await bus.send(1, 0x85, five(OTHER + 1), 0x10)
            assert bus.ready(1)
            await bus.send(1, go_on)
            await bus.until_ready(1)
        assert not array.is_programmed(0, 1, OTHER + 1)

    timed(test)


def test_dies_without():
    async def test(ctx, bus, array):
        await begin(bus, "erase")
        await bus.send(1, 0x61)
        assert await bus.until_ready(1) == busy("erase") - 1

    run(test)


def test_only_erases():
    async def test(ctx, bus, array):
        await begin(bus, "program")
        await bus.send(1, 0x86)
        assert await bus.until_ready(1) == busy("program") - 1
        await begin(bus, "erase")
        await bus.send(1, 0x61)
        assert await bus.until_ready(1) == T_SUSP

    only = Suspend(t_susp_ns=400, erase_most=4, program_most=0)
    run(test, timing={"suspend": only})


@pytest.mark.parametrize(
    "name, value",
    [("t_susp_ns", 0), ("erase_most", 64), ("program_most", -1), ("erase_resume", 256)],
)
def test_impossible_values_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} = {value}.*choose"):
        Suspend(**{"t_susp_ns": 1, "erase_most": 1, "program_most": 1, name: value})
