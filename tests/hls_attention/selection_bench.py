"""Benches of the selection units: streams with stalls, dealt tokens, a clock to count by."""

import math
import random
from dataclasses import dataclass

import numpy as np
from amaranth.sim import Simulator

from hls_attention import selection_twin as twin


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
    """Run ``benches(clock)`` until all have ended; ``clock[0]`` counts."""
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
    owner = (np.arange(tokens) // max(group, 1) + first) % channels
    return [np.flatnonzero(owner == channel) for channel in range(channels)]


@dataclass
class Selection:
    """A job and its keys."""

    keys: np.ndarray
    k: int
    sinks: int = 0
    window: int = 0
    group: int = 1
    first: int = 0
    passes: int = 1
    unit: int = 0
    units: int = 0
    unit_first: int = 0

    def fields(self):
        return {
            "k": self.k,
            "tokens": len(self.keys),
            "sinks": self.sinks,
            "window": self.window,
            "group_tokens": self.group,
            "first_channel": self.first,
            "passes": self.passes,
            **self.unit_fields(),
        }

    def unit_fields(self):
        if not self.unit:
            return {}
        whole = self.units * self.unit
        return {"in_units": whole, "unit_tokens": self.unit, "unit_channel": self.unit_first}

    def expected(self):
        return twin.select(self.keys, self.k, sinks=self.sinks, window=self.window)

    def lanes(self, channels):
        whole = self.units * self.unit
        units = dealt(whole, channels, self.unit, self.unit_first)
        groups = dealt(len(self.keys) - whole, channels, self.group, self.first)
        return [np.concatenate([a, whole + b]) for a, b in zip(units, groups)]

    def rounds(self, config):
        """Rounds by the definition of the ranks: until what shares a prefix is all wanted."""
        token = np.arange(len(self.keys))
        forced = (token < self.sinks) | (token >= len(self.keys) - self.window)
        rank = (forced.astype(object) << config.key_bits) | self.keys.astype(object)
        rank = (rank << config.token_bits) | ((1 << config.token_bits) - 1 - token)
        rank = rank << (config.padded_bits - config.rank_bits)
        rank = np.sort(rank)[::-1]
        k = min(self.k, len(rank))
        for digits in range(1, config.rounds + 1):
            prefix = rank >> (config.padded_bits - digits * config.digit_bits)
            if k == len(rank) or prefix[k - 1] != prefix[k]:
                return digits
        raise AssertionError("ranks are not distinct")

    def clocks(self, config):
        """Of a job whose keys come one a clock and whose verdicts are taken at once."""
        channels, rounds = config.channels, self.rounds(config)
        rows = max(map(len, self.lanes(channels)))
        sweep = (1 << config.digit_bits) + math.ceil(math.log2(channels)) + 8
        again = (self.passes - 1) * (rows + 4)
        dealing = channels * (1 + bool(config.max_unit))
        return rows * (rounds + 1) + rounds * sweep + dealing + 3 + again


def random_keys(rng, tokens, bits, levels=None):
    """Keys like those of softmaxed scores: few large ones, many small; or of a few levels."""
    if levels is not None:
        return rng.integers(0, levels, tokens)
    return np.floor(2.0 ** (bits * (1 - rng.random(tokens) ** 2)) - 1).astype(np.int64)
