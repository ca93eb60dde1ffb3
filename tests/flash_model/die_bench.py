"""Drives dies symbol by symbol, in pysim."""

import dataclasses

import numpy as np
from amaranth.sim import Simulator

from flash_model.array import NandArray
from flash_model.array_server import ArrayServer
from flash_model.die_state import busy_cycles
from flash_model.onfi import BusCycle
from flash_model.package import ChannelDies
from flash_model.parameter_page import parameter_page
from flash_model.profiles import profile
from flash_model.timing import cycles

__all__ = ["Bus", "HZ", "NONE", "busy", "content", "five", "run", "sensing"]

HZ = 100_000_000
NONE = 0xFFFF_FFFF


def busy(operation):
    """Clocks of R/B# low."""
    return busy_cycles(profile("tiny").timing, HZ)[operation]


def sensing():
    """Clocks of tR."""
    return cycles(profile("tiny").timing.t_r_ns, HZ)


class Bus:
    """Drives the bus one symbol per clock."""

    def __init__(self, ctx, dut, server):
        self.ctx, self.dut, self.phy, self.server = ctx, dut, dut.phy, server

    @property
    def clock(self):
        """Number of the next clock, as the array's server counts."""
        return self.server.clock

    async def symbol(self, die, cycle, word=0):
        ctx, phy = self.ctx, self.phy
        ctx.set(phy.die, die)
        ctx.set(phy.cycle, cycle)
        ctx.set(phy.w_data, word)
        ctx.set(phy.strobe, 1)
        await ctx.tick()
        ctx.set(phy.strobe, 0)
        ctx.set(phy.cycle, BusCycle.IDLE)

    async def send(self, die, command, address=(), confirm=None):
        await self.symbol(die, BusCycle.COMMAND, command)
        for byte in address:
            await self.symbol(die, BusCycle.ADDRESS, byte)
        if confirm is not None:
            await self.symbol(die, BusCycle.COMMAND, confirm)

    async def read(self, die):
        await self.symbol(die, BusCycle.READ)
        assert self.ctx.get(self.phy.r_valid)
        return self.ctx.get(self.phy.r_data).to_bytes(8, "little")

    async def status(self, die):
        await self.send(die, 0x70)
        return (await self.read(die))[0]

    def ready(self, die):
        return self.ctx.get(self.phy.ready) >> die & 1

    async def until_ready(self, die):
        """Clocks until R/B# is high."""
        clocks = 0
        while not self.ready(die):
            await self.ctx.tick()
            clocks += 1
            assert clocks < 5_000
        return clocks


def five(row, column=0):
    return [column & 255, column >> 8, row & 255, row >> 8 & 255, row >> 16]


def content(seed):
    return np.random.default_rng(seed).integers(0, 256, 544, dtype=np.uint8).tobytes()


def run(test, dies=3, array=NandArray, monitor=None, timeout=20_000, timing=None, **geometry):
    """Run ``test(ctx, Bus, NandArray)`` on a channel of dies of profile ``tiny``.

    ``array`` makes the array behind them, ``monitor(profile)`` what observes the bus; ``geometry``
    and the dict ``timing`` are what differs from the profile's.
    """
    base = profile("tiny")
    flash = dataclasses.replace(
        base,
        geometry=dataclasses.replace(base.geometry, channels=1, dies=dies, **geometry),
        timing=dataclasses.replace(base.timing, **(timing or {})),
    )
    array = array(flash.geometry, parameters=parameter_page(flash))
    dut = ChannelDies(flash, HZ)
    server = ArrayServer(array, 0, dut.array)

    async def bench(ctx):
        await test(ctx, Bus(ctx, dut, server), array)
        done.append(True)

    async def watchdog(ctx):
        clocks = 0
        async for _ in ctx.tick():
            clocks += 1
            if clocks == timeout:
                raise TimeoutError(f"no end after {clocks} clocks")

    async def watch(ctx):
        phy, clock = dut.phy, 0
        tick = ctx.tick().sample(phy.die, phy.cycle, phy.strobe, phy.w_data, phy.ready)
        watcher = monitor(flash)
        async for _, _, die, cycle, strobe, data, ready in tick:
            watcher.observe(clock, die, cycle.value, strobe, data & 255, ready)
            clock += 1

    done = []
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(server.run, background=True)
    sim.add_testbench(watchdog, background=True)
    if monitor is not None:
        sim.add_testbench(watch, background=True)
    sim.add_testbench(bench)
    sim.run()
    assert done
