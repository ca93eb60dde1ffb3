"""Pipelines in simulation against the numpy interpretation, for three clock targets.

Each runs all combinations of {no stalls, stalls} and {no backpressure, backpressure} in a row.
"""

import contextlib
import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from hls_attention import kernels
from hls_attention.expressions import absolute, add_or_subtract, concat, lookup, minimum, mux
from hls_attention.hls import Kernel, Pipeline, bits, kernel, signed
from hls_attention.operators import OPERATORS

KERNELS = [traced for traced in vars(kernels).values() if isinstance(traced, Kernel)]
SEED = 20240917
ITEMS = 24
PHASES = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.4)]
"""Probabilities of (a stall, backpressure) for each block of `ITEMS` items."""


def inputs_of(traced, rng, count):
    """Random inputs within the bounds of a kernel's docstring, small and large magnitudes alike."""

    def magnitude(width):
        return rng.getrandbits(rng.randint(0, width))

    def number(width):
        return rng.choice((-1, 1)) * magnitude(width)

    def one():
        bf16 = rng.getrandbits(1)
        x = rng.getrandbits(16) & ~(rng.choice((0, 255)) << 7)
        e = max(x >> 7 & 255 if bf16 else x >> 10 & 31, 1) - 1
        block_exp = min(e + rng.choice((0, 1, 2, 3, 5, 17, 90)), 254)
        if traced is kernels.quantise_query:
            return {"x": x, "q_exp": block_exp, "bf16": bf16}
        if traced is kernels.element:
            return {"x": x, "block_exp": block_exp, "bf16": bf16}
        if traced is kernels.product:
            qi, a = rng.choice([(number(22), 0), (0, magnitude(23))])
            coarse, drop = rng.randint(0, 15), rng.randint(0, 15)
            return {"qi": qi, "a": a, "sig": number(14), "coarse": coarse, "drop": drop}
        if traced is kernels.score:
            return {
                "acc": number(54),
                "scale_mant": rng.randint(1 << 25, (1 << 26) - 1),
                "scale_exp": rng.randint(-6, 6),
                "q_exp": 112 * bf16 + rng.randint(0, 30),
                "k_exp": rng.randint(0, 30),
                "q_bf16": bf16,
                "k_bf16": 0,
            }
        if traced is kernels.weight:
            m = number(15)
            return {"m": m, "s": max((m << 16) - magnitude(24), -(1 << 31))}
        if traced is kernels.align:
            return {"x": number(62), "places": magnitude(7)}
        assert traced is kernels.normalise
        v_exp = rng.choice((rng.randint(0, 29), rng.randint(-112, 141)))
        return {"o": number(62), "l": max(1, magnitude(62)), "v_exp": v_exp, "bf16": bf16}

    items = []
    while len(items) < count:
        item = one()
        with contextlib.suppress(OverflowError):  # beyond a bound that only the kernel knows
            traced.numpy(**item)
            items.append(item)
    return items


def simulate(traced, items, clock_hz):
    """Send items through a pipeline; returns (results, metas, latency of the first, Pipeline)."""
    dut = Pipeline(traced, clock_hz=clock_hz, meta=10)
    rng = random.Random(SEED)
    results, times = [], {}
    phase_of = [PHASES[min(index // ITEMS, len(PHASES) - 1)] for index in range(len(items) + 1)]
    clock = 0

    async def send(ctx):
        nonlocal clock
        for index, item in enumerate(items):
            while rng.random() < phase_of[index][0]:
                await ctx.tick()
            ctx.set(dut.i.payload, {**item, "meta": index})
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            times.setdefault("in", clock)
            ctx.set(dut.i.valid, 0)

    async def receive(ctx):
        held = None
        while len(results) < len(items):
            ready = rng.random() >= phase_of[len(results)][1]
            ctx.set(dut.o.ready, ready)
            _, _, valid, payload, busy = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.busy
            )
            if held is not None:
                assert valid and payload.as_bits() == held, "a result must wait unchanged"
            held = payload.as_bits() if valid and not ready else None
            if valid:
                assert busy
            if valid and ready:
                times.setdefault("out", clock)
                results.append({name: payload[name] for name in (*traced.outputs, "meta")})
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        assert not ctx.get(dut.busy)

    async def count(ctx):
        nonlocal clock
        async for _ in ctx.tick():
            clock += 1
            assert clock < 12 * len(items) + 200, "timeout"

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(count, background=True)
    simulator.add_testbench(send)
    simulator.add_testbench(receive)
    simulator.run()
    return results, times["out"] - times["in"], dut


@pytest.mark.parametrize("clock_hz", [150e6, 250e6, 350e6])
@pytest.mark.parametrize("traced", KERNELS, ids=lambda traced: traced.name)
def test_pipeline_equals_numpy(traced, clock_hz):
    items = inputs_of(traced, random.Random(SEED), ITEMS * len(PHASES))
    expected = traced.numpy(
        **{name: np.array([item[name] for item in items]) for name in traced.inputs}
    )
    results, latency, dut = simulate(traced, items, clock_hz)
    assert [result["meta"] for result in results] == list(range(len(items)))
    for name, values in expected.items():
        assert [result[name] for result in results] == values.tolist(), name
    assert latency == dut.latency == traced.schedule(clock_hz).latency


def test_every_operator():
    @kernel(
        inputs={"a": signed(9), "b": bits(5), "c": bits(3)},
        outputs={"y": signed(40), "z": bits(12)},
    )
    def everything(a, b, c):
        y = (absolute(a) + lookup(b, range(0, 320, 10))) * a - (b << c)
        y = add_or_subtract(a < b, y, c, -(1 << 20), 1 << 20)
        y = mux((a < b) & (b != 7) | (c == 3) ^ a[2], y >> c, minimum(y, 1000) >> 2)
        return {"y": y, "z": concat(~b, a[1:7]).known(0, 2047)}

    assert {node.op for node in everything.nodes} >= OPERATORS.keys()
    rng = random.Random(SEED)
    items = [
        {"a": rng.randint(-256, 255), "b": rng.randrange(32), "c": rng.randrange(8)}
        for _ in range(100)
    ]
    results, _, _ = simulate(everything, items, 250e6)
    for item, result in zip(items, results, strict=True):
        a, b, c = item["a"], item["b"], item["c"]
        y = (abs(a) + 10 * b) * a - (b << c) + (-c if a < b else c)
        y = y >> c if (a < b and b != 7) or ((c == 3) != bool(a >> 2 & 1)) else min(y, 1000) >> 2
        assert result["y"] == y
        assert result["z"] == (31 - b) + 32 * (a >> 1 & 63)


def test_no_meta():
    dut = Pipeline(kernels.weight, clock_hz=250e6)
    assert set(dut.i.payload.shape().members) == {"s", "m"}
    assert set(dut.o.payload.shape().members) == {"a", "drop", "term"}
