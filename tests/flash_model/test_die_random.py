"""Dies under random legal use against a model in bytes, with the protocol monitor on the bus."""

import dataclasses
import random

import pytest

from flash_model.array import NandArray
from flash_model.monitor import ProtocolMonitor
from flash_model.onfi import BusCycle
from flash_model.parameter_page import parameter_page, unique_id
from flash_model.profiles import profile
from tests.flash_model.die_bench import HZ, five, run
from tests.flash_model.reference_die import ReferenceDie

DIES = 3
BUS_TIMES = ("wc", "wb", "rr", "whr", "rhw", "adl", "ccs", "rpre", "dqsre")


def fails(kind, row):
    return row % 8 == 3 if kind == "program" else row // 16 == 2


class Failing(NandArray):
    """Refuses what ``fails`` says, without any other effect."""

    def program(self, channel, die, row):
        return True if fails("program", row) else super().program(channel, die, row)

    def erase(self, channel, die, row):
        return True if fails("erase", row) else super().erase(channel, die, row)


def monitor_of(flash):
    """Every time of the bus is a clock, the array's are the profile's."""
    clock = {f"t_{name}_ns": 1 for name in BUS_TIMES}
    timing = dataclasses.replace(flash.timing, rate_mts=800, **clock)
    return ProtocolMonitor(dataclasses.replace(flash, timing=timing), HZ)


class User:
    """Uses one die, and compares."""

    def __init__(self, ctx, bus, die, rng):
        self.ctx, self.bus, self.die, self.rng = ctx, bus, die, rng
        self.model = ReferenceDie(parameter_page(profile("tiny")), unique_id(0, 0, die), fails)
        self.done = set()

    async def pause(self, clocks=3):
        for _ in range(clocks):
            await self.ctx.tick()

    async def send(self, *sequence):
        await self.bus.send(self.die, *sequence)

    async def status(self):
        if self.rng.random() < 0.5:
            await self.send(0x70)
        else:
            await self.send(0x78, five(self.rng.randrange(1024))[2:])
        await self.pause()
        ready = bool(self.bus.ready(self.die))
        status = (await self.bus.read(self.die))[0]
        await self.pause()
        rests = bool(status & 0x20)
        assert status == self.model.status(ready, rests)
        assert ready or not rests
        self.done.add(f"status {status:02X}")
        return rests

    async def until_rest(self):
        while not await self.status():
            await self.pause(20)

    def row(self):
        return self.rng.choice([*range(24, 40), self.rng.randrange(1024), 15, 1023])

    def column(self):
        return 8 * self.rng.randrange(68)

    async def data(self, content):
        for at in range(0, len(content), 8):
            word = int.from_bytes(content[at : at + 8], "little")
            await self.bus.symbol(self.die, BusCycle.WRITE, word)
        await self.pause()

    async def output(self):
        model = self.model
        await self.send(0x00)
        await self.pause()
        for _ in range(self.rng.randrange(1, 12)):
            if model.shows == "page" and model.column >= model.SIZE:
                break
            assert await self.bus.read(self.die) == model.output()
        await self.pause()

    async def program(self):
        row, cached = self.row(), self.rng.random() < 0.6
        parts = []
        for turn in range(self.rng.randrange(1, 4)):
            column = self.column()
            size = 8 * self.rng.randrange(1, 1 + min(10, (544 - column) // 8))
            parts.append((column, self.rng.randbytes(size)))
            if turn == 0:
                await self.send(0x80, five(row, column))
            else:
                await self.send(0x85, five(0, column)[:2])
            await self.pause()
            await self.data(parts[-1][1])
        await self.send(0x15 if cached else 0x10)
        self.model.program(row, parts, cached)

    async def step(self):
        """One operation; R/B# is high before."""
        rng, model = self.rng, self.model
        kinds = [
            "read",
            "read",
            "program",
            "program",
            "erase",
            "set",
            "get",
            "factory",
            "id",
            "reset",
        ]
        if model.shows is not None:
            kinds += ["output", "output", "column"]
        if model.caches and rng.random() < 0.7:
            kinds = ["cache", "end", "output", "column"] + ["next"] * (model.row < 1023)
        kind = rng.choice(kinds)
        if kind in ("read", "erase", "set", "get", "factory", "id"):
            await self.until_rest()
        if kind == "program" and not model.programs:
            await self.until_rest()
        self.done.add(kind)
        match kind:
            case "read":
                row, column = self.row(), self.column()
                await self.send(0x00, five(row, column), 0x30)
                model.read(row, column)
            case "cache":
                row = self.row()
                await self.send(0x00, five(row, self.column()), 0x31)
                model.read_cache(row)
            case "next":
                await self.send(0x31)
                model.read_cache()
            case "end":
                await self.send(0x3F)
                model.read_cache(-1)
            case "output":
                await self.output()
            case "column":
                column = self.column()
                if rng.random() < 0.5:
                    await self.send(0x05, five(0, column)[:2], 0xE0)
                else:
                    await self.send(0x06, five(self.row(), column), 0xE0)
                model.change_column(column)
            case "program":
                await self.program()
            case "erase":
                row = self.row()
                await self.send(0x60, five(row)[2:], 0xD0)
                model.erase(row)
            case "set":
                address, value = rng.choice([0x01, 0x89, 0x90]), rng.randrange(256)
                await self.send(0xEF, [address])
                await self.pause()
                await self.bus.symbol(self.die, BusCycle.WRITE, value)
                model.set_feature(address, value)
            case "get":
                model.feature = rng.choice([0x01, 0x89, 0x90])
                await self.send(0xEE, [model.feature])
                model.show("feature")
            case "factory":
                what = rng.choice(["parameters", "unique ID"])
                await self.send(0xEC if what == "parameters" else 0xED, [0])
                model.show(what)
            case "id":
                await self.send(0x90, [0x20])
                await self.pause()
                assert (await self.bus.read(self.die))[:4] == b"ONFI"
                model.read_id()
            case "reset":
                command = rng.choice([0xFF, 0xFC, 0xFA])
                await self.send(command, [0, 0, 0] if command == 0xFA else [])
                model.reset(command)
        await self.pause(2)


@pytest.mark.parametrize("seed", range(3))
def test_random_use(seed):
    rng = random.Random(seed)
    monitors = []
    seen = set()

    def monitor(flash):
        monitors.append(monitor_of(flash))
        return monitors[0]

    async def test(ctx, bus, array):
        users = [User(ctx, bus, die, rng) for die in range(DIES)]
        for _ in range(400):
            user = rng.choice(users)
            if bus.ready(user.die):
                await user.step()
            elif rng.random() < 0.3:
                await user.status()
            else:
                await user.pause(40)
        for user in users:
            await bus.until_ready(user.die)
            await user.until_rest()
            for row in range(1024):
                expected = user.model.cells.get(row, user.model.ERASED)
                assert array.page(0, user.die, row).tobytes() == expected
            seen.update(user.done)

    run(test, dies=DIES, array=Failing, monitor=monitor, timeout=100_000)
    (watcher,) = monitors
    watcher.check()
    assert {"read", "cache", "next", "end", "output", "column", "program", "erase"} <= seen
    assert {"set", "get", "factory", "id", "reset", "status 80", "status E1"} <= seen
