"""cocotb side of test_cocotb_engine.py: jobs through the engine, judged by twin and golden.

The tests run in order: four times {stalls} x {backpressure}, then the coverage of all of them, then
resets in mid-operation.
"""

import random

import cocotb
import ml_dtypes
import numpy as np
import torch
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout

from cosim.bfm import StreamSink, StreamSource, stalls, unpack
from cosim.golden import attend, attend_rounded, sdpa
from hls_attention.beats import job_layout
from hls_attention.formats import format_of
from hls_attention.messages import result_layout
from rtl.config import HEAD_DIMS
from tests.cosim.engine_config import CONFIG
from tests.cosim.engine_coverage import CORNERS, Point, missing, sample, table
from tests.hls_attention.engine_bench import channel_beats, expected, random_chain, words

FORMATS = (np.float16, ml_dtypes.bfloat16)
BATCH = 8
"""Chains in one go: what happened on the ports is told apart by these."""


def distort(rng, chain, corner):
    """Puts a corner case into a chain's values."""
    dim = chain[0].q.shape[1]
    for job in chain:
        match corner:
            case "largest V":
                job.v[:] = np.finfo(np.float16).max
            case "smallest V":
                job.v[:] = 2.0**-24
            case "equal scores":
                job.k[:] = job.k[0]
            case "one token dominates":  # all others weigh 2**-60 of it
                job.q[:], job.k[:], job.scale = 1, 0, 60 / dim * np.log(2)
                job.k[0] = 1
            case "one K channel 2^12":
                job.k[:, rng.integers(dim)] *= 2.0**12
            case "all zero":
                job.q[:], job.k[:], job.v[:] = 0, 0, 0
            case "not finite":
                victim = (job.q, job.k, job.v)[rng.integers(3)]
                victim[rng.integers(len(victim)), rng.integers(dim)] = rng.choice([np.inf, np.nan])


def plan(rng, run):
    """Chains for one run: every head_dim with every corner; queries shift from run to run."""
    chains, tag = [], 0
    for n, head_dim in enumerate(HEAD_DIMS):
        for m, corner in enumerate(CORNERS):
            number = n * len(CORNERS) + m
            passes = [int(rng.integers(1, 4)) for _ in range((1, 1, 2, 3)[(number + run) % 4])]
            chain = random_chain(
                rng,
                tag,
                passes=passes,
                partial=(number + run) % 5 == 0,
                heads=1 + (m + n + 3 * run) % 8,
                head_dim=head_dim,
                channels=CONFIG.channels,
                sharp=(0.1, 1, 6)[number % 3],
                dtype=FORMATS[(m // 2 + n + run) % 2],
                q_dtype=FORMATS[(m + n + run // 2) % 2],
            )
            distort(rng, chain, corner)
            chains.append((corner, chain))
            tag += len(passes)
    return chains


def tensor(array):
    words = torch.from_numpy(np.ascontiguousarray(array).view(np.uint16))
    return words.view(torch.float16 if array.dtype == np.float16 else torch.bfloat16)


def relative_error(got, exact):
    return ((got.double() - exact).norm(dim=1) / exact.norm(dim=1).clamp(min=1e-300)).max().item()


def judge(dut, corner, chain, got):
    """Equal to the twin; as near to float64 as its own rounding to 16 bits allows."""
    first = chain[0]
    want, flags = expected(chain)
    data = [word["data"] for word in got]
    if first.partial and corner == "not finite":  # the numbers of such heads mean nothing
        row = first.q.shape[1] + 2
        good = [not (header >> 48 & 1) for header in want[::row] for _ in range(row)]
        data, want = ([x for x, keep in zip(part, good) if keep] for part in (data, want))
    assert data == want, f"chain of job {first.tag} ({corner}) differs from the twin"
    assert [word["last"] for word in got] == [0] * (len(got) - 1) + [1]
    assert got[-1]["job"] == chain[-1].tag % 16
    assert {name: bool(got[-1][name]) for name in flags} == flags
    if first.partial or corner == "not finite":
        return
    out = tensor(np.array(want, "<u8").view(first.q.dtype).reshape(first.q.shape))
    k, v = (tensor(np.concatenate([getattr(job, name) for job in chain]))[:, None] for name in "kv")
    exact, ideal = (f(tensor(first.q), k, v, first.scale) for f in (attend, attend_rounded))
    error, bar = (relative_error(x, exact) for x in (out, ideal))
    note = ""
    if first.q.dtype == first.k.dtype == np.float16:
        torch16 = relative_error(sdpa(tensor(first.q), k, v, first.scale), exact)
        note = f", torch FP16 {torch16:.2e}"
    dut._log.info(f"job {first.tag}, {corner}: error {error:.2e}, ideal {bar:.2e}{note}")
    assert error <= 1.01 * bar or error == bar == 0


class Watch:
    """Counts what happens on the beat ports and at the result while it runs."""

    def __init__(self, dut):
        self.beats = [
            (getattr(dut, f"i_beats__{n}__valid"), getattr(dut, f"i_beats__{n}__ready"))
            for n in range(CONFIG.channels)
        ]
        self.result = dut.o__valid, dut.o__ready
        self.edge = RisingEdge(dut.clk)
        self.begun = self.stalls = self.refusals = 0

    async def run(self, sources):
        """``sources`` hold a beat back only by a pause of their own."""
        while True:
            await self.edge
            for source, (valid, ready) in zip(sources, self.beats, strict=True):
                self.stalls += bool(source.left and ready.value and not valid.value)
            self.refusals += bool(self.result[0].value and not self.result[1].value)


class Source(StreamSource):
    """Knows whether something is left to send."""

    left = 0

    async def send(self, items):
        self.left = 1
        await super().send(items)
        self.left = 0


async def start(dut):
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, 2, unit="ns").start())
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0


def inputs_of(chains):
    """Words of every input stream."""
    jobs = [job for _, chain in chains for job in chain]
    layout = job_layout(CONFIG.max_heads)
    return {
        "i_jobs": [job.descriptor(layout) for job in jobs],
        "i_q": [word for job in jobs for word in words(job.q)],
    } | {f"i_beats__{n}": channel_beats(jobs, n) for n in range(CONFIG.channels)}


async def attend_all(dut, sources, sink, chains):
    """Sends chains, receives their results, judges them."""
    inputs = inputs_of(chains)
    tasks = [
        cocotb.start_soon(source.send(items))
        for source, items in zip(sources, inputs.values(), strict=True)
    ]
    counts = [len(expected(chain)[0]) for _, chain in chains]
    received = await with_timeout(sink.receive(sum(counts)), 2, "ms")
    for task in tasks:
        await task
    received = [unpack(result_layout(), word) for word in received]
    for (corner, chain), count in zip(chains, counts, strict=True):
        judge(dut, corner, chain, received[:count])
        del received[:count]


@cocotb.test()
@cocotb.parametrize(stall=[0, 0.4], backpressure=[0, 0.5])
async def equals_twin_and_meets_golden(dut, stall, backpressure):
    seed = cocotb.RANDOM_SEED
    run = 2 * (stall > 0) + (backpressure > 0)
    chains = plan(np.random.default_rng([seed, run]), run)
    pause = random.Random(seed)
    sources = [Source(dut, name, stalls(pause, stall)) for name in inputs_of(chains[:1])]
    sink = StreamSink(dut, "o", stalls(pause, backpressure))
    watch = Watch(dut)
    await start(dut)
    cocotb.start_soon(watch.run(sources[2:]))
    # Tags go on from batch to batch: the engine counts jobs from reset.
    for at in range(0, len(chains), BATCH):
        watch.stalls = watch.refusals = 0
        batch = chains[at : at + BATCH]
        await attend_all(dut, sources, sink, batch)
        for corner, chain in batch:
            job = chain[0]
            sample(
                Point(
                    head_dim=job.q.shape[1],
                    queries=len(job.q),
                    passes=len(chain),
                    kv=format_of(job.k).name,
                    q=format_of(job.q).name,
                    partial=job.partial,
                    corner=corner,
                    empty=any(len(set(job.owners)) < CONFIG.channels for job in chain),
                    stalled=watch.stalls > 0,
                    refused=watch.refusals > 0,
                )
            )
    await ClockCycles(dut.clk, 20)
    assert dut.quiet.value and not dut.busy.value


@cocotb.test()
async def coverage_is_full(dut):
    for line in table():
        dut._log.info(line)
    assert not missing(), "\n".join(["never seen:", *missing()])


@cocotb.test()
async def works_after_a_reset_in_mid_operation(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    await start(dut)
    for _ in range(6):
        chains = plan(rng, int(rng.integers(4)))
        first, second = (
            [chains[n] for n in rng.choice(len(chains), 3, replace=False)] for _ in range(2)
        )
        for batch in (first, second):
            tag = 0
            for _, chain in batch:
                for job in chain:
                    job.tag = job.beat_tag = tag
                    tag += 1
        sources = [Source(dut, name) for name in inputs_of(first)]
        tasks = [
            cocotb.start_soon(source.send(items))
            for source, items in zip(sources, inputs_of(first).values(), strict=True)
        ]
        tasks.append(cocotb.start_soon(StreamSink(dut, "o").receive(1 << 20)))
        await ClockCycles(dut.clk, int(rng.integers(20, 3000)))
        for task in tasks:
            task.cancel()
        for source in sources:
            source.valid.value = 0
        dut.o__ready.value = 0
        dut.rst.value = 1
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        sources = [Source(dut, name) for name in inputs_of(second)]
        await attend_all(dut, sources, StreamSink(dut, "o"), second)
