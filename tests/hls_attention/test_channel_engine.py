"""One channel on its own, and the merge's adders, against sums in Python integers."""

import random

import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from hls_attention import kernels
from hls_attention.adder_tree import AdderTree
from hls_attention.beats import Kind
from hls_attention.channel_engine import ChannelEngine
from hls_attention.config import EngineConfig
from hls_attention.twin import block_exponent, encode_scale
from tests.hls_attention.engine_bench import random_job

HEADS, HEAD_DIM, TOKENS = 2, 64, 3


def exact(job):
    """Ceilings of the largest scores, l and o of a job, from the kernels and Python integers."""
    bits = {name: getattr(job, name).view(np.uint16).astype(np.int64) for name in "qkv"}
    mant, exp = encode_scale(job.scale)
    k_exp, v_exp = block_exponent(job.k), block_exponent(job.v)
    q_exp = [block_exponent(q) for q in job.q]
    qi = [
        kernels.quantise_query.numpy(x=bits["q"][h], q_exp=q_exp[h], bf16=0)["qi"]
        for h in range(HEADS)
    ]

    def products(words, block_exp, **operand):
        elements = kernels.element.numpy(x=words, block_exp=block_exp, bf16=0)
        result = kernels.product.numpy(**operand, **elements)
        return [int(p) + int(half) for p, half in zip(result["p"], result["half"])]

    ceilings, items = [], [0]
    for head in range(HEADS):
        scores = []
        for token in job.order:
            acc = sum(products(bits["k"][token], k_exp, qi=qi[head], a=0, drop=0))
            result = kernels.score.numpy(
                acc=acc,
                scale_mant=mant,
                scale_exp=exp,
                q_exp=q_exp[head],
                k_exp=k_exp,
                q_bf16=0,
                k_bf16=0,
            )
            scores.append(int(result["s"]))
        m = -(-max(scores) // 65536)
        ceilings.append(m)
        total, sums = 0, [0] * HEAD_DIM
        for token, score in zip(job.order, scores):
            w = {name: int(x) for name, x in kernels.weight.numpy(s=score, m=m).items()}
            total += w["term"]
            p = products(bits["v"][token], v_exp, qi=0, a=w["a"], drop=w["drop"])
            sums = [a + b for a, b in zip(sums, p)]
        items += [total, *sums]
    return (
        qi,
        {"k_exp": k_exp, "v_exp": v_exp, "q_exp": q_exp, "scale_mant": mant, "scale_exp": exp},
        ceilings,
        items,
    )


def test_report_and_sums_of_one_channel():
    config = EngineConfig(channels=1, max_heads=HEADS, max_head_dim=HEAD_DIM, pass_tokens=8)
    job = random_job(
        np.random.default_rng(3), 0, tokens=TOKENS, heads=HEADS, head_dim=HEAD_DIM, channels=1
    )
    qi, fields, ceilings, items = exact(job)
    dut = ChannelEngine(config)
    got, reports = [], []

    async def control(ctx):
        for head in range(HEADS):
            for row in range(HEAD_DIM // 4):
                ctx.set(
                    dut.i_writes.payload,
                    {
                        "bank": 0,
                        "head": head,
                        "row": row,
                        "q": [int(x) for x in qi[head][4 * row : 4 * row + 4]],
                    },
                )
                ctx.set(dut.i_writes.valid, 1)
                await ctx.tick()
        ctx.set(dut.i_writes.valid, 0)
        ctx.set(
            dut.i_descriptor.payload,
            {"bank": 0, "tag": 0, "heads": HEADS, "beats": HEAD_DIM // 4, **fields},
        )
        ctx.set(dut.i_descriptor.valid, 1)
        await ctx.tick()
        ctx.set(dut.i_descriptor.valid, 0)
        ctx.set(dut.o_report.ready, 1)
        (report,) = await ctx.tick().sample(dut.o_report.payload).until(dut.o_report.valid)
        reports.append(report)
        await ctx.tick().repeat(30)
        assert ctx.get(dut.quiet), "waits for the reference only"
        ctx.set(dut.i_reference.payload, {"bank": 0, "m": ceilings})
        ctx.set(dut.i_reference.valid, 1)
        await ctx.tick()
        ctx.set(dut.i_reference.valid, 0)

    async def beats(ctx):
        for kind in (Kind.K, Kind.V):
            for beat in job.beats(0, kind):
                ctx.set(Value.cast(dut.i_beats.payload), beat)
                ctx.set(dut.i_beats.valid, 1)
                await ctx.tick().until(dut.i_beats.ready)
                ctx.set(dut.i_beats.valid, 0)

    async def sums(ctx):
        ctx.set(dut.o_sums.ready, 1)
        while len(got) < len(items):
            (item,) = await ctx.tick().sample(dut.o_sums.payload).until(dut.o_sums.valid)
            got.append(item)

    async def timeout(ctx):
        for _ in range(3000):
            await ctx.tick()
        raise TimeoutError(f"{len(got)} of {len(items)} sums after 3000 clocks")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for bench in (control, beats, sums):
        sim.add_testbench(bench)
    sim.add_testbench(timeout, background=True)
    sim.run()
    assert list(reports[0].m) == ceilings
    assert not (reports[0].empty or reports[0].poisoned or reports[0].saturated)
    assert got == items


@pytest.mark.parametrize("backpressure", [0, 0.6])
@pytest.mark.parametrize("stall", [0, 0.6])
@pytest.mark.parametrize("inputs", [1, 3, 8])
def test_adder_tree(inputs, stall, backpressure):
    dut = AdderTree(inputs)
    rng = random.Random(inputs)
    numbers = [[rng.randrange(-(2**59), 2**59) for _ in range(40)] for _ in range(inputs)]
    got = []

    def send(port, items, rng):
        async def bench(ctx):
            for item in items:
                while rng.random() < stall:
                    await ctx.tick()
                ctx.set(port.payload, item)
                ctx.set(port.valid, 1)
                await ctx.tick().until(port.ready)
                ctx.set(port.valid, 0)

        return bench

    async def receive(ctx):
        rng = random.Random(0)
        while len(got) < 40:
            ctx.set(dut.o.ready, rng.random() >= backpressure)
            _, _, valid, ready, payload = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload
            )
            if valid and ready:
                got.append(payload)

    async def timeout(ctx):
        for _ in range(2000):
            await ctx.tick()
        raise TimeoutError(f"{len(got)} of 40 sums after 2000 clocks")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for index in range(inputs):
        sim.add_testbench(send(dut.i[index], numbers[index], random.Random(index)))
    sim.add_testbench(receive)
    sim.add_testbench(timeout, background=True)
    sim.run()
    assert got == [sum(column) for column in zip(*numbers)]
