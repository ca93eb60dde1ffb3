"""The engine against the twin, bit for bit, and against float64."""

import random

import ml_dtypes
import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from hls_attention.beats import Kind, job_layout
from hls_attention.config import EngineConfig
from hls_attention.engine import Engine
from hls_attention.verilog import port_names, to_verilog
from tests.hls_attention.engine_bench import (
    channel_beats,
    expected,
    random_chain,
    random_job,
    words,
)

TIMEOUT = 12000
BF16 = ml_dtypes.bfloat16


def simulate(config, jobs, *, stall=0.0, backpressure=0.0, order=None, seed=1):
    """Run jobs; return (words, flags) per job, and counts of clocks.

    Counts: ``stalled`` clocks in which a beat waited, per channel; ``moved`` clocks in which the
    engine called itself quiet although a transfer took place; ``clocks``.
    """
    dut = Engine(config)
    results, counts = [], {"stalled": [0] * config.channels, "moved": 0, "clocks": 0}
    ports = [*dut.i_beats, dut.i_jobs, dut.i_q]
    sources = [
        *(channel_beats(jobs, channel, order) for channel in range(config.channels)),
        [job.descriptor(job_layout(config.max_heads)) for job in jobs],
        [word for job in jobs for word in words(job.q)],
    ]

    def send(port, items, rng):
        async def bench(ctx):
            for item in items:
                while rng.random() < stall:
                    await ctx.tick()
                ctx.set(Value.cast(port.payload), item)
                ctx.set(port.valid, 1)
                await ctx.tick().until(port.ready)
                ctx.set(port.valid, 0)

        return bench

    async def receive(ctx):
        rng = random.Random(seed)
        for tag in (job.tag for job in jobs if job.last):
            got = []
            while not got or not got[-1].last:
                ctx.set(dut.o.ready, rng.random() >= backpressure)
                _, _, valid, ready, payload = await ctx.tick().sample(
                    dut.o.valid, dut.o.ready, dut.o.payload
                )
                if valid and ready:
                    got.append(payload)
            flags = {
                name: bool(getattr(got[-1], name))
                for name in ("saturated", "nonfinite", "poisoned")
            }
            assert got[-1].job == tag % 16
            results.append(([word.data for word in got], flags))
        ctx.set(dut.o.ready, 0)
        await ctx.tick().repeat(20)
        assert ctx.get(dut.quiet) and not ctx.get(dut.busy)

    async def watch(ctx):
        streams = [*ports, dut.o]
        for _ in range(TIMEOUT):
            _, _, quiet, *flags = await ctx.tick().sample(
                dut.quiet, *(port.valid for port in streams), *(port.ready for port in streams)
            )
            valid, ready = flags[: len(streams)], flags[len(streams) :]
            moving = any(a and b for a, b in zip(valid, ready))
            counts["moved"] += bool(quiet and moving)
            counts["clocks"] += 1
            for channel in range(config.channels):
                counts["stalled"][channel] += valid[channel] and not ready[channel]
        raise TimeoutError(f"{len(results)} of {len(jobs)} jobs after {TIMEOUT} clocks")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for index, (port, items) in enumerate(zip(ports, sources)):
        sim.add_testbench(send(port, items, random.Random(seed + index)))
    sim.add_testbench(receive)
    sim.add_testbench(watch, background=True)
    sim.run()
    return results, counts


def small(channels, heads, head_dim=64, **changes):
    """A configuration that pysim gets through."""
    return EngineConfig(
        channels=channels,
        max_heads=heads,
        max_head_dim=head_dim,
        pass_tokens=64,
        group_tokens=16,
        **changes,
    )


@pytest.mark.parametrize(
    "channels, heads, head_dim, stall, backpressure",
    [(1, 1, 64, 0, 0), (2, 3, 64, 0, 0.6), (2, 2, 64, 0.5, 0), (1, 2, 128, 0.3, 0.6)],
)
def test_equals_twin(channels, heads, head_dim, stall, backpressure):
    rng = np.random.default_rng(channels * 100 + heads)
    jobs = [
        random_job(
            rng,
            tag,
            tokens=int(tokens),
            heads=int(rng.integers(1, heads + 1)),
            head_dim=head_dim,
            channels=channels,
            sharp=sharp,
            v_scale=v_scale,
        )
        for tag, (tokens, sharp, v_scale) in enumerate([(5, 1, 1), (1, 6, 2**-12), (3, 0.1, 2**10)])
    ]
    results, counts = simulate(
        small(channels, heads, head_dim), jobs, stall=stall, backpressure=backpressure
    )
    assert results == [expected([job]) for job in jobs]
    assert counts["moved"] == 0, "a transfer in a quiet clock"


@pytest.mark.parametrize("stall, backpressure", [(0, 0), (0.3, 0.6)])
def test_chains_partials_and_formats(stall, backpressure):
    rng = np.random.default_rng(11)
    figures = dict(heads=2, head_dim=64, channels=2)
    chains = [
        random_chain(rng, 0, passes=[3, 2, 4], sharp=4, **figures),
        random_chain(rng, 3, passes=[2], dtype=BF16, **figures),
        random_chain(rng, 4, passes=[1, 3], partial=True, **figures),
        random_chain(rng, 6, passes=[2, 2], dtype=BF16, q_dtype=np.float16, **figures),
        random_chain(rng, 8, passes=[1], q_dtype=BF16, v_scale=2.0**-20, **figures),
        random_chain(rng, 9, passes=[2], partial=True, dtype=BF16, **figures),
    ]
    chains[0][1].v[:] *= 64  # block exponents of passes differ
    jobs = [job for chain in chains for job in chain]
    results, counts = simulate(small(2, 2), jobs, stall=stall, backpressure=backpressure)
    assert results == [expected(chain) for chain in chains]
    assert counts["moved"] == 0, "a transfer in a quiet clock"


def test_close_to_float64_and_one_token_is_exact():
    rng = np.random.default_rng(5)
    jobs = [
        random_job(rng, tag, tokens=tokens, heads=1, head_dim=64, channels=1)
        for tag, tokens in enumerate((9, 1))
    ]
    results, _ = simulate(small(1, 1), jobs)
    for job, (out, _) in zip(jobs, results):
        q, k, v = (x.astype(np.float64) for x in (job.q, job.k, job.v))
        s = q @ k.T * job.scale
        p = np.exp(s - s.max(axis=1, keepdims=True))
        ideal = p @ v / p.sum(axis=1, keepdims=True)
        got = np.array(out, dtype="<u8").view(np.float16).astype(np.float64).reshape(ideal.shape)
        rounding = np.linalg.norm(ideal.astype(np.float16) - ideal)
        assert np.linalg.norm(got - ideal) <= 1.01 * rounding + 1e-12
    assert results[1][0] == words(jobs[1].v[0])


def test_flags_and_nan_heads():
    rng = np.random.default_rng(6)
    jobs = [random_job(rng, tag, tokens=2, heads=2, head_dim=64, channels=2) for tag in range(6)]
    jobs[0].q[1, 7] = np.inf
    jobs[1].k[1, 63] = np.nan
    jobs[2].v[0, 0] = -np.inf
    jobs[3].bad_beats.add((int(jobs[3].owners[1]), Kind.K, 1))
    jobs[4].bad_beats.add((int(jobs[4].owners[0]), Kind.V, 0))
    jobs[5].q[:], jobs[5].k[:], jobs[5].scale = 60000, 60000, 1000.0
    order = [(kind, tag) for tag in range(6) for kind in (Kind.K, Kind.V)]
    results, _ = simulate(small(2, 2), jobs, order=order)
    assert results == [expected([job]) for job in jobs]
    nan = words(np.full(64, np.nan, np.float16))
    assert results[0][0][16:] == nan and results[0][0][:16] != nan and results[0][1]["nonfinite"]
    assert [flags["poisoned"] for _, flags in results] == [0, 0, 0, 1, 1, 0]
    assert [flags["saturated"] for _, flags in results] == [0, 0, 0, 0, 0, 1]


def test_channels_without_tokens():
    """They have reported the next job's K pass before the others have ended this one's."""
    rng = np.random.default_rng(12)
    jobs = [random_job(rng, tag, tokens=3, heads=1, head_dim=64, channels=3) for tag in range(5)]
    for job, owner in zip(jobs, (1, 1, 0, 2, 2)):
        job.owners[:] = owner
    results, _ = simulate(small(3, 1), jobs)
    assert results == [expected([job]) for job in jobs]


def test_beats_wait_only_for_queries_and_for_the_reference():
    """Once a pass runs, a beat is taken every clock."""
    rng = np.random.default_rng(8)
    job = random_job(rng, 0, tokens=12, heads=1, head_dim=64, channels=1)
    results, counts = simulate(small(1, 1), [job])
    assert results == [expected([job])]
    queries = 2 * 16 + 20  # load and replay of the head
    reference = 60  # last score, report, reference, first weight
    assert counts["stalled"][0] < queries + reference


def test_tokens_beyond_the_score_memory_poison_the_job():
    rng = np.random.default_rng(9)
    config = EngineConfig(channels=2, max_heads=1, max_head_dim=64, pass_tokens=8, group_tokens=1)
    assert config.channel_tokens == 4
    jobs = [random_job(rng, tag, tokens=6, heads=1, head_dim=64, channels=2) for tag in range(2)]
    jobs[0].owners[:] = 1
    jobs[1].owners[:] = [0, 1, 1, 1, 1, 0]
    (_, flags), second = simulate(config, jobs)[0]
    assert flags["poisoned"]
    assert second == expected([jobs[1]])


def test_beats_of_another_job_poison():
    rng = np.random.default_rng(10)
    jobs = [random_job(rng, tag, tokens=2, heads=1, head_dim=64, channels=1) for tag in range(2)]
    jobs[1].beat_tag = 3
    results, _ = simulate(small(1, 1), jobs)
    assert [flags["poisoned"] for _, flags in results] == [False, True]


def test_verilog_has_the_ports_and_one_channel_module():
    engine = Engine(small(2, 1))
    text = to_verilog(engine, "engine")
    assert text.count("module channel_engine(") == 1 and "  channel_engine channel_1 (" in text
    names = {name for name, _, _ in port_names(engine)}
    assert {"i_jobs__valid", "i_q__payload", "i_beats__1__ready", "o__payload", "quiet"} <= names


@pytest.mark.parametrize(
    "field, value",
    [
        ("channels", 0),
        ("max_heads", 9),
        ("max_head_dim", 66),
        ("pass_tokens", 1),
        ("bounds", True),
    ],
)
def test_bad_configuration_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} = {value} is not possible"):
        EngineConfig(**{field: value})
