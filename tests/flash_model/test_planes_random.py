"""Random multi-plane use of a die, against pages kept as bytes, with the protocol monitor watching.

Nothing of time is in the model: what each plane's register and cells hold, and which planes fail.
"""

import random

import pytest

from flash_model.array import NandArray
from flash_model.faults import Faults
from flash_model.onfi import BusCycle
from tests.flash_model.die_bench import busy, five, run
from tests.flash_model.test_die_random import monitor_of

PLANES, BLOCKS, PAGES, SIZE = 4, 64, 16, 544
STEPS = [
    *[("read", 1), ("erase", 1), ("copy", 1), ("read", PLANES), ("erase", PLANES)] * 3,
    *[("output", 1), ("program", 1), ("program", PLANES)] * 6,
]
"""What is done, and with how many planes at most."""
ERASED = b"\xff" * SIZE


class Planes:
    """A die's planes as bytes, or None: what a failed program leaves is not known.

    Parameters
    ----------
    weak_pages, weak_blocks : set of int
        Rows whose programs, and blocks whose erases, fail.
    """

    def __init__(self, weak_pages, weak_blocks):
        self.weak_pages, self.weak_blocks = weak_pages, weak_blocks
        self.cells, self.failed = {}, set()
        self.registers = [ERASED] * PLANES

    @staticmethod
    def plane(row):
        return row // PAGES % PLANES

    def read(self, rows):
        self.failed = set()
        for row in rows:
            self.registers[self.plane(row)] = self.cells.get(row, ERASED)

    def program(self, pages, *, clears=True):
        """``pages``: rows and (column, data) parts."""
        self.failed = set()
        if clears:
            self.registers = [ERASED] * PLANES
        for row, parts in pages:
            plane = self.plane(row)
            page, old = self.registers[plane], self.cells.get(row, ERASED)
            if page is not None:
                for column, data in parts:
                    page = page[:column] + data + page[column + len(data) :]
            self.registers[plane] = page
            fails = row in self.weak_pages
            self.failed |= {plane} if fails else set()
            known = page is not None and old is not None and not fails
            self.cells[row] = bytes(a & b for a, b in zip(old, page)) if known else None

    def erase(self, rows):
        self.failed = set()
        for row in rows:
            block = row // PAGES
            if block in self.weak_blocks:
                self.failed.add(self.plane(row))
                continue
            for page in range(block * PAGES, (block + 1) * PAGES):
                self.cells.pop(page, None)

    def status(self, plane=None):
        failed = bool(self.failed) if plane is None else plane in self.failed
        return 0xE0 | failed


@pytest.mark.parametrize("seed", range(2))
def test_random_multi_plane_use(seed):
    rng = random.Random(seed)
    weak_pages = set(rng.sample(range(BLOCKS * PAGES), 60))
    weak_blocks = set(rng.sample(range(16), 3))
    monitors, done = [], set()

    def array(geometry, **options):
        faults = Faults(
            geometry,
            weak_pages={(0, 0, row): 0 for row in weak_pages},
            weak_blocks={(0, 0, block): 0 for block in weak_blocks},
        )
        return NandArray(geometry, faults=faults, **options)

    def monitor(flash):
        monitors.append(monitor_of(flash))
        return monitors[0]

    async def test(ctx, bus, array):
        model = Planes(weak_pages, weak_blocks)

        async def pause():
            for _ in range(3):
                await ctx.tick()

        async def confirmed(operation):
            """R/B# is low for just the operation's time."""
            assert await bus.until_ready(0) == busy(operation)
            await pause()

        async def data():
            """Some parts of a page, the first at column 0; returns them."""
            parts = []
            for turn in range(rng.randrange(1, 3)):
                column = 8 * rng.randrange(SIZE // 8) if turn else 0
                part = rng.randbytes(8 * rng.randrange(1, 1 + min(6, (SIZE - column) // 8)))
                if turn:
                    await bus.send(0, 0x85, five(0, column)[:2])
                await pause()
                for at in range(0, len(part), 8):
                    word = int.from_bytes(part[at : at + 8], "little")
                    await bus.symbol(0, BusCycle.WRITE, word)
                await pause()
                parts.append((column, part))
            return parts

        for kind, most in rng.sample(STEPS, len(STEPS)):
            planes = rng.sample(range(PLANES), rng.randrange(min(most, 2), 1 + most))
            page = rng.randrange(PAGES)
            rows = [PAGES * (PLANES * rng.randrange(4) + plane) + page for plane in planes]
            match kind:
                case "read":
                    for row in rows:
                        last = row == rows[-1]
                        await bus.send(0, 0x00, five(row), 0x30 if last else 0x32)
                        await confirmed("read" if last else "plane")
                    model.read(rows)
                case "program":
                    pages = []
                    for row in rows:
                        last = row == rows[-1]
                        later = rng.choice([0x80, 0x81]) if pages else 0x80
                        await bus.send(0, later, five(row))
                        pages.append((row, await data()))
                        await bus.send(0, 0x10 if last else 0x11)
                        await confirmed("program" if last else "plane")
                    model.program(pages)
                case "erase":
                    for row in rows:
                        last = row == rows[-1]
                        await bus.send(0, 0x60, five(row)[2:], 0xD0 if last else 0xD1)
                        await confirmed("erase" if last else "plane")
                    model.erase(rows)
                case "copy":
                    target = PAGES * (PLANES * rng.randrange(4) + planes[0]) + rng.randrange(PAGES)
                    await bus.send(0, 0x00, five(rows[0]), 0x35)
                    await confirmed("read")
                    model.read(rows[:1])
                    await bus.send(0, 0x85, five(target))
                    parts = await data() if rng.random() < 0.5 else []
                    await bus.send(0, 0x10)
                    await confirmed("program")
                    model.program([(target, parts)], clears=False)
                case "output":
                    # Something must have been read: the plane's register shows again with 06h.
                    await bus.send(0, 0x00, five(rows[0]), 0x30)
                    await confirmed("read")
                    model.read(rows[:1])
                    for plane in range(PLANES):
                        column = 8 * rng.randrange(SIZE // 8)
                        await bus.send(0, 0x06, five(PAGES * plane, column), 0xE0)
                        await pause()
                        read = await bus.read(0)
                        await pause()
                        register = model.registers[plane]
                        assert register is None or read == register[column : column + 8]
            await bus.send(0, 0x70)
            await pause()
            assert (await bus.read(0))[0] == model.status()
            await pause()
            plane = rng.randrange(PLANES)
            await bus.send(0, 0x78, five(PAGES * plane)[2:])
            await pause()
            assert (await bus.read(0))[0] == model.status(plane)
            await pause()
            done.add("failed" if model.failed else "done")
        for row in range(BLOCKS * PAGES):
            expected = model.cells.get(row, ERASED)
            assert expected is None or array.page(0, 0, row).tobytes() == expected, row
        assert sum(page is not None for page in model.cells.values()) > 5

    run(test, dies=1, array=array, monitor=monitor, planes=PLANES, timeout=200_000)
    monitors[0].check()
    assert done == {"failed", "done"}
