"""The Verilated engine against the twin, bit for bit, over very many random token rows; its rate.

Every shape, both formats, chains, partials, extreme values; tokens dealt to channels and ordered at
random; with stalls and backpressure. `make soak` attends over 10**6 rows on 1 to 16 channels.
Run with ``-s`` for the figures.
"""

import ml_dtypes
import numpy as np
import pytest

from cosim.stream_lane import StreamLane
from hls_attention.config import EngineConfig
from hls_attention.engine import Engine
from hls_attention.messages import result_layout
from rtl.config import HEAD_DIMS
from tests.hls_attention.engine_bench import expected, random_chain
from tests.hls_attention.engine_words import beat_words, job_words, query_words, result_fields

SEED = 20261124
FORMATS = (np.float16, ml_dtypes.bfloat16)
ROWS_A_RUN = 8000


def config(channels, **changes):
    return EngineConfig(
        **{
            "channels": channels,
            "max_heads": 8,
            "max_head_dim": 256,
            "pass_tokens": 1024,
            "group_tokens": 32,
            **changes,
        }
    )


def lane(config):
    return StreamLane(Engine(config), "engine")


def stress(rng, jobs):
    """Puts one of the corner cases of the numerics into the jobs of a chain."""
    q, dim = jobs[0].q, jobs[0].q.shape[1]
    case = rng.integers(10)
    if case == 0:
        q[:, rng.integers(dim)] *= 64
    for job in jobs:
        match case:
            case 1:
                job.v[:] = np.finfo(np.float16).max
            case 2:
                job.v[:] = 2.0**-24
            case 3:
                job.k[:] = job.k[0]
            case 4:
                job.k[:, rng.integers(dim)] *= 2.0**12
            case 5:
                job.v[rng.integers(len(job.v)), rng.integers(dim)] = rng.choice([np.inf, np.nan])
            case 6:
                job.k[:] = 0
            case 7:
                job.scale = 100.0  # one token dominates


def random_jobs(rng, channels, limit, rows):
    """Chains of jobs until they have so many rows of K and V."""
    chains, tag = [], 0
    while sum(len(job.k) for chain in chains for job in chain) < rows:
        kv, q = (FORMATS[n] for n in rng.integers(0, 2, 2))
        longest = rng.choice([3, 40, 400, 1024])
        count = rng.choice([1, 1, 1, 2, 5])
        chain = random_chain(
            rng,
            tag,
            passes=[int(n) for n in rng.integers(1, longest + 1, count)],
            partial=bool(rng.random() < 0.2),
            heads=int(rng.integers(1, 9)),
            head_dim=int(rng.choice(HEAD_DIMS)),
            channels=channels,
            sharp=rng.choice([0.05, 1, 6]),
            v_scale=rng.choice([2.0**-12, 1, 2.0**10]),
            dtype=kv,
            q_dtype=q,
        )
        for job in chain:
            while np.bincount(job.owners, minlength=channels).max() > limit:
                job.owners = rng.permutation(np.arange(len(job.k)) % channels)
        stress(rng, chain)
        chains.append(chain)
        tag += count
    return chains


def attend(lane, channels, chains, max_heads=8, **pauses):
    """Runs chains of jobs; returns the result words, the results as wanted, and the traffic."""
    jobs = [job for chain in chains for job in chain]
    inputs = {
        "i_jobs": job_words(jobs, max_heads, lane.words("i_jobs")),
        "i_q": query_words(jobs),
        **{f"i_beats__{n}": beat_words(jobs, n) for n in range(channels)},
    }
    wanted = [expected(chain) for chain in chains]
    traffic, clocks = lane.run(inputs, {"o": sum(len(words) for words, _ in wanted)}, **pauses)
    return result_fields(traffic["o"].payloads, result_layout()), wanted, (traffic, clocks)


def check_rows(channels, rows, seed):
    """Attends over so many random rows and compares; returns how many there were."""
    rng = np.random.default_rng(seed)
    built = config(channels)
    engine, seen = lane(built), 0
    saturated = np.uint64(1 << 49)  # of a partial's header; the twin does not tell heads apart
    while seen < rows:
        chains = random_jobs(rng, channels, built.channel_tokens, ROWS_A_RUN)
        got, wanted, _ = attend(
            engine,
            channels,
            chains,
            stall=rng.choice([0, 0.3]),
            backpressure=rng.choice([0, 0.5]),
            seed=int(rng.integers(1 << 30)),
        )
        at = 0
        for chain, (words, flags) in zip(chains, wanted):
            end = at + len(words)
            data = got["data"][at:end].copy()
            if chain[0].partial:
                data = data.reshape(-1, chain[0].q.shape[1] + 2)  # a row for each head
                want = np.array(words, np.uint64).reshape(data.shape)
                data[:, 0] &= ~saturated
                good = data[:, 0] >> np.uint64(48) & np.uint64(1) == 0
                assert np.array_equal(data[good], want[good]), describe(chain)
            else:
                assert np.array_equal(data, np.array(words, np.uint64)), describe(chain)
            assert {name: bool(got[name][end - 1]) for name in flags} == flags, describe(chain)
            assert got["last"][at:end].sum() == 1 and got["last"][end - 1]
            at = end
        seen += sum(len(job.k) for chain in chains for job in chain)
    return seen


def describe(chain):
    job = chain[0]
    return (
        f"{len(job.q)} heads of {job.q.shape[1]}, {job.k.dtype}, passes of "
        f"{[len(job.k) for job in chain]} tokens, partial {job.partial}"
    )


def test_rows():
    assert check_rows(4, 40_000, SEED) >= 40_000


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_million_rows():
    total = 0
    for channels in (1, 2, 4, 8, 16):
        total += check_rows(channels, 205_000, SEED + channels)
        print(f"{total} rows, {channels} channels: equal to the twin")
    assert total >= 10**6


@pytest.mark.parametrize(
    "channels, heads, head_dim", [(16, 8, 256), (16, 4, 64), (4, 8, 64), (16, 8, 80)]
)
def test_line_rate(channels, heads, head_dim):
    """At 1024 tokens nothing but the beats takes time: not query load, turns, drain or division."""
    rng = np.random.default_rng(SEED)
    chains = [
        random_chain(rng, tag, passes=[1024], heads=heads, head_dim=head_dim, channels=channels)
        for tag in range(8)
    ]
    for chain in chains:
        chain[0].owners = np.arange(1024) % channels
    engine = lane(config(channels))
    got, wanted, (traffic, clocks) = attend(engine, channels, chains)
    assert np.array_equal(got["data"], np.array(sum((w for w, _ in wanted), []), np.uint64))
    beats = traffic["i_beats__0"].moved
    assert beats == 2 * 8 * 1024 // channels * head_dim // 4
    refused = max(traffic[f"i_beats__{n}"].refused for n in range(channels))
    print(
        f"{beats} beats a channel, {refused} clocks not taken, {clocks} clocks; "
        f"{traffic['o'].moved * 4 / clocks:.3f} outputs a clock"
    )
    first_queries = 2 * heads * head_dim // 4 + 40
    assert refused <= first_queries + 100, "the first queries, and the last reference"
    # The sums of the last two jobs are read out when no V beat comes any more.
    outputs = heads * (head_dim + 1)
    assert clocks <= beats + refused + 2 * outputs + 100


def test_outputs_are_normalised_one_a_clock():
    """Jobs of one token keep the division busy: four outputs leave every four clocks."""
    rng = np.random.default_rng(SEED)
    count, heads, head_dim = 40, 8, 256
    chains = [
        random_chain(rng, tag, passes=[1], heads=heads, head_dim=head_dim, channels=4)
        for tag in range(count)
    ]
    engine = lane(config(4))
    got, wanted, (traffic, clocks) = attend(engine, 4, chains)
    assert np.array_equal(got["data"], np.array(sum((w for w, _ in wanted), []), np.uint64))
    out = traffic["o"]
    per_job = (out.last - out.first) / (count - 1)
    outputs = heads * head_dim
    print(f"{outputs} outputs in {per_job:.0f} clocks: {outputs / per_job:.3f} a clock")
    # A pass of V, here a single token, goes before the reading of sums.
    assert per_job <= 1 + heads * (head_dim + 1) + head_dim // 4 + 60
