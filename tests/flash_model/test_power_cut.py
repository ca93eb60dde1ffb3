"""Power cuts at random clocks: what is left, told by closed forms and by R/B#."""

import random

import numpy as np
import pytest

from flash_model.array import NandArray
from flash_model.array_port import ArrayOp
from flash_model.geometry import Geometry
from flash_model.power_cut import Interrupted, PageState
from tests.flash_model.die_bench import busy, content, five, run, sensing

G = Geometry(channels=2, dies=2, planes=1, blocks=8, pages=4, page_bytes=512, spare_bytes=32)
BITS = 8 * 544
CUTS = [1, 2] + random.Random(4).sample(range(3, busy("program")), 4)
"""Clocks after the confirmation."""


def ones(data):
    return int(np.unpackbits(np.frombuffer(bytes(data), np.uint8)).sum())


def check_share(page, intended, share):
    """``page`` has about ``share`` of the zeros of ``intended``, and no others."""
    page, intended = (np.frombuffer(bytes(x), np.uint8) for x in (page, intended))
    assert (page & intended == intended).all()
    wanted = BITS - ones(intended)
    cleared = BITS - ones(page)
    assert abs(cleared - share * wanted) <= 5 * (wanted * share * (1 - share)) ** 0.5
    assert (cleared == 0) == (share == 0)


@pytest.mark.parametrize("after", [*CUTS, busy("program"), busy("program") + 1])
def test_a_program_is_partly_there(after):
    page = content(1)

    async def test(ctx, bus, array):
        await bus.send(1, 0x80, five(5))
        for at in range(0, 544, 8):
            await bus.symbol(1, 3, int.from_bytes(page[at : at + 8], "little"))
        await bus.symbol(1, 1, 0x10)
        confirmed = bus.clock - 1
        for _ in range(after - 1):
            await ctx.tick()
        works = not bus.ready(1)
        found = array.power_cut(bus.clock, seed=3)
        share = (after - 1) / busy("program")
        assert works == (after <= busy("program")) == bool(found)
        assert bus.clock - confirmed == after
        if works:
            assert found == [Interrupted(ArrayOp.PROGRAM, 0, 1, 5, share)]
        share = min(share, 1)
        check_share(array.page(0, 1, 5), page, share)
        expected = PageState.PARTLY_PROGRAMMED if works else PageState.PROGRAMMED
        assert array.page_state(0, 1, 5) == (expected if share else PageState.ERASED)
        assert (array.page(0, 1, 4) == 0xFF).all() and (array.page(0, 0, 5) == 0xFF).all()
        left.append(array)

    async def afterwards(ctx, bus, array):
        """A fresh die on the same array: nothing in its register, the page reads as it is."""
        assert await bus.read(1) == b"\xff" * 8
        await bus.send(1, 0x00, five(5), 0x30)
        await bus.until_ready(1)
        read = b"".join([await bus.read(1) for _ in range(68)])
        assert read == array.page(0, 1, 5).tobytes()

    left = []
    run(test)
    run(afterwards, array=lambda *_, **__: left[0])


@pytest.mark.parametrize("second", [0x10, 0x15])
@pytest.mark.parametrize("after", random.Random(5).sample(range(1, 2 * busy("program")), 5))
def test_of_two_cache_programs_the_second_waits_for_the_first(second, after):
    first, wait = busy("cache_program") + busy("program"), 20
    array = NandArray(G)
    pages = [np.frombuffer(content(seed), np.uint8) for seed in (1, 2)]
    total = {0x10: busy("program"), 0x15: busy("cache_program") + busy("program")}[second]
    # The second is confirmed `wait` clocks after the first one's R/B# has risen.
    confirmed = busy("cache_program") + 1 + wait
    left = first - confirmed
    for row, (clock, clocks) in enumerate(((0, first), (confirmed, left + total))):
        array.register(0, 0)[:] = pages[row]
        array.serve(ArrayOp.PROGRAM, 0, 0, row, clock=clock, clocks=clocks)
    clock = confirmed + after
    found = array.power_cut(clock, seed=1)
    ends = first + 1, confirmed + 1 + left + total
    for row, begin, end in ((0, 1, ends[0]), (1, max(confirmed + 1, ends[0]), ends[1])):
        share = min(max((clock - begin) / (end - begin), 0), 1)
        check_share(array.page(0, 0, row), pages[row], share)
        assert sum(entry.row == row for entry in found) == (share < 1)
        if 0 < share < 1:
            assert array.page_state(0, 0, row) == PageState.PARTLY_PROGRAMMED
        else:
            assert array.page_state(0, 0, row) == (share == 1)
        assert array.buffers["page_programs"][row] == (share > 0)


@pytest.mark.parametrize("after", [1, 7, busy("erase"), busy("erase") + 1])
def test_an_erase_leaves_its_block_undefined(after):
    async def test(ctx, bus, array):
        pages = array.geometry.pages
        for row in range(3 * pages):
            array.write_page(0, 0, row, content(row))
        await bus.send(0, 0x60, [pages + 3, 0, 0], 0xD0)
        for _ in range(after - 1):
            await ctx.tick()
        works = not bus.ready(0)
        found = array.power_cut(bus.clock, seed=3)
        assert works == (after <= busy("erase"))
        assert [entry.op for entry in found] == [ArrayOp.ERASE] * works
        for row in range(3 * pages):
            inside = row // pages == 1
            state = array.page_state(0, 0, row)
            got = array.page(0, 0, row)
            if not inside:
                assert state == PageState.PROGRAMMED and got.tobytes() == content(row)
            elif works:
                assert state == PageState.UNDEFINED
                assert abs(ones(got) - BITS / 2) < 5 * (BITS / 4) ** 0.5
            else:
                assert state == PageState.ERASED and (got == 0xFF).all()
        # Programmed over, it stays undefined; erased once more, it is good.
        array.serve(ArrayOp.PROGRAM, 0, 0, pages)
        assert array.page_state(0, 0, pages) == (
            PageState.UNDEFINED if works else PageState.PROGRAMMED
        )
        array.serve(ArrayOp.ERASE, 0, 0, pages)
        assert (array.page(0, 0, pages + 1) == 0xFF).all()
        assert array.page_state(0, 0, pages) == PageState.ERASED

    run(test)


def test_a_read_in_progress_is_lost_with_the_registers():
    async def test(ctx, bus, array):
        array.write_page(0, 0, 9, content(9))
        await bus.send(0, 0xEF, [0x89])
        await bus.symbol(0, 3, 5)
        await bus.until_ready(0)
        await bus.send(0, 0x00, five(9), 0x30)
        for _ in range(sensing() // 2):
            await ctx.tick()
        assert not array.power_cut(bus.clock)
        for name in ("registers", "data_registers"):
            assert (array.buffers[name] == 0xFF).all()
        assert not array.buffers["retry_levels"].any()
        assert array.page(0, 0, 9).tobytes() == content(9)

    run(test)


def test_bits_that_were_programmed_before_stay():
    """A second program of a page: only the bits that it adds are in question."""
    array = NandArray(G)
    for data, clock in ((b"\x0f", 0), (b"\xfc", 1000)):
        array.register(0, 0)[:] = np.frombuffer(data * 544, np.uint8)
        array.serve(ArrayOp.PROGRAM, 0, 0, 0, clock=clock, clocks=100)
    array.power_cut(1000 + 1 + 30)
    page = array.page(0, 0, 0)
    assert (page & 0xF0 == 0).all() and (page & 0x0C == 0x0C).all()
    left = ones(page & 0x03)
    assert abs(left - 0.7 * 2 * 544) < 5 * (2 * 544 * 0.21) ** 0.5
    assert array.page_state(0, 0, 0) == PageState.PARTLY_PROGRAMMED


def test_the_seed_the_place_and_the_clock_say_what_is_left():
    def left(seed, row=3, clock=60):
        array = NandArray(G)
        array.register(0, 0)[:] = 0
        array.serve(ArrayOp.PROGRAM, 0, 0, row, clock=0, clocks=100)
        array.power_cut(clock, seed)
        return array.page(0, 0, row).tobytes()

    assert left(1) == left(1)
    assert len({left(1), left(2), left(1, row=4), left(1, clock=61)}) == 4


def test_a_simulation_that_starts_anew_finds_everything_complete():
    async def first(ctx, bus, array):
        for _ in range(50):
            await ctx.tick()
        await bus.send(0, 0x80, five(5), 0x10)
        arrays.append(array)

    async def second(ctx, bus, array):
        assert not array.power_cut(bus.clock)

    arrays = []
    run(first)
    run(second, array=lambda *_, **__: arrays[0])
    assert arrays[0].page_state(0, 0, 5) == PageState.PROGRAMMED


def test_impossible_seeds_are_refused():
    with pytest.raises(ValueError, match="seed = -1 is not possible"):
        NandArray(G).power_cut(0, seed=-1)
