"""cocotb side of test_cocotb_engine.py: jobs through the engine, judged by twin and golden."""

import random

import cocotb
import numpy as np
import torch
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, with_timeout

from cosim.bfm import StreamSink, StreamSource, stalls, unpack
from cosim.golden import attend, attend_rounded, sdpa
from hls_attention.beats import job_layout
from hls_attention.messages import result_layout
from tests.cosim.engine_config import CONFIG
from tests.hls_attention.engine_bench import channel_beats, random_job, words

CASES = [
    # tokens, heads, head_dim, sharpness of scores, scale of V, factor of one q element
    (1, 1, 64, 1, 1, 1),
    (63, 3, 64, 1, 2.0**10, 1),
    (64, 4, 128, 6, 1, 1),
    (65, 3, 64, 0.1, 2.0**-12, 1),
    (150, 2, 128, 3, 1, 64),
]


def relative_error(got, exact):
    return ((got.double() - exact).norm() / exact.norm()).item()


def judge(dut, job, got):
    """Equal to the twin; as near to float64 as its own rounding to FP16 allows."""
    want, flags = job.expected()
    assert [word["data"] for word in got] == want, f"job {job.tag} differs from the twin"
    assert [word["last"] for word in got] == [0] * (len(got) - 1) + [1]
    assert got[-1]["job"] == job.tag % 16
    assert {name: bool(got[-1][name]) for name in flags} == flags
    out = torch.tensor(np.array(want, "<u8").view(np.float16).reshape(job.q.shape))
    k, v = job.k[:, None], job.v[:, None]
    exact, ideal, sdpa = (f(job.q, k, v, job.scale) for f in (attend, attend_rounded, sdpa))
    for head in range(len(job.q)):
        error, bar, torch_error = (relative_error(x[head], exact[head]) for x in (out, ideal, sdpa))
        dut._log.info(
            f"job {job.tag} head {head}: {error:.3e}, ideal {bar:.3e}, torch FP16 {torch_error:.3e}"
        )
        assert error <= 1.01 * bar or error == bar == 0
    return (out == ideal).double().mean().item()


@cocotb.test()
@cocotb.parametrize(stall=[0, 0.4], backpressure=[0, 0.5])
async def equals_twin_and_meets_golden(dut, stall, backpressure):
    seed = cocotb.RANDOM_SEED
    rng = np.random.default_rng(seed)
    jobs = []
    for tag, (tokens, heads, head_dim, sharp, v_scale, outlier) in enumerate(CASES):
        job = random_job(
            rng,
            tag,
            tokens=tokens,
            heads=heads,
            head_dim=head_dim,
            channels=CONFIG.channels,
            sharp=sharp,
            v_scale=v_scale,
        )
        job.q[0, 5] *= outlier
        jobs.append(job)
    layout = job_layout(CONFIG.max_heads)
    pause = random.Random(seed)
    inputs = {
        "i_jobs": [job.descriptor(layout) for job in jobs],
        "i_q": [word for job in jobs for word in words(job.q)],
    } | {f"i_beats__{n}": channel_beats(jobs, n) for n in range(CONFIG.channels)}
    sources = [StreamSource(dut, name, stalls(pause, stall)) for name in inputs]
    sink = StreamSink(dut, "o", stalls(pause, backpressure))

    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, 2, unit="ns").start())
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    for source, items in zip(sources, inputs.values(), strict=True):
        cocotb.start_soon(source.send(items))
    received = await with_timeout(sink.receive(sum(job.q.size // 4 for job in jobs)), 200, "us")
    received = [unpack(result_layout(), word) for word in received]
    right = []
    for job in jobs:
        count = job.q.size // 4
        right.append(judge(dut, job, received[:count]))
        del received[:count]
    assert np.mean(right) >= 0.95 and min(right) >= 0.85
    await ClockCycles(dut.clk, 20)
    assert dut.quiet.value and not dut.busy.value
