"""Benches of the selection units: streams with stalls, dealt tokens, a clock to count by."""

import random

import numpy as np
from amaranth.sim import Simulator


async def feed(ctx, port, items, *, seed=0, stall=0.0):
    """Send items; without stalls, one whenever the port is ready."""
    rng = random.Random(seed)
    for item in items:
        while rng.random() < stall:
            await ctx.tick()
        ctx.set(port.payload, item)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)


async def drain(ctx, port, count, take, *, seed=0, stall=0.0):
    """Take items; between valid and ready, valid and payload must not move."""
    rng = random.Random(seed)
    pending, taken = None, 0
    while taken < count:
        ready = rng.random() >= stall
        ctx.set(port.ready, ready)
        _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
        if pending is not None:
            assert valid and payload == pending, "valid or payload moved before ready"
        pending = payload if valid and not ready else None
        if valid and ready:
            take(payload)
            taken += 1
    ctx.set(port.ready, 0)


def simulate(dut, benches, *, timeout):
    """Run benches until all have ended; returns a list whose first item counts the clocks."""
    clock = [0]

    async def count(ctx):
        async for _ in ctx.tick():
            clock[0] += 1
            if clock[0] >= timeout:
                raise TimeoutError(f"no end after {timeout} clocks")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(count, background=True)
    for bench in benches(clock):
        simulator.add_testbench(bench)
    simulator.run()


def dealt(tokens, channels, group, first):
    """The tokens of each channel, in their order."""
    owner = (np.arange(tokens) // group + first) % channels
    return [np.flatnonzero(owner == channel) for channel in range(channels)]
