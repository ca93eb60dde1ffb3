"""Selection filter against a list comprehension, and the beats of its rules."""

import numpy as np
import pytest

from hls_attention.beats import Kind
from hls_attention.select_config import SelectConfig
from hls_attention.selection_filter import SelectionFilter
from tests.hls_attention.selection_bench import drain, feed, simulate

SEED = 17
FIELDS = (
    "data", "lanes", "job", "token", "first_of_unit", "last_of_unit", "last_of_page",
    "last_of_pass", "error",
)  # fmt: skip


def a_pass(rng, tokens, beats, kind, job):
    """Beats of a pass as dicts; a null beat if it has no token."""
    if not tokens:
        return [{"lanes": 0, "kind": kind, "job": job, "last_of_pass": 1}]
    return [
        {
            "data": int(rng.integers(1, 1 << 62)),
            "lanes": 15,
            "kind": kind,
            "job": job,
            "token": token,
            "first_of_unit": beat == 0,
            "last_of_unit": beat == beats - 1,
            "last_of_page": beat == beats - 1 and token % 4 == 3,
            "last_of_pass": beat == beats - 1 and token == tokens - 1,
            "error": int(rng.random() < 0.1),
        }
        for token in range(tokens)
        for beat in range(beats)
    ]


def run(passes, keeps, *, stall=0.0, backpressure=0.0):
    """Filter passes; returns what comes out and the clocks it took."""
    dut = SelectionFilter(SelectConfig(max_tokens=64))
    beats = [beat for one in passes for beat in one]
    verdicts = [
        {"token": token, "keep": int(bit), "last": token == len(keep) - 1}
        for keep in keeps
        for token, bit in enumerate(keep)
    ]
    expected = []
    for one, keep in zip(passes, keeps):
        for beat in one:
            if beat["lanes"] == 0 or keep[beat["token"]]:
                expected.append(beat)
            elif beat["last_of_pass"]:
                tags = {name: beat[name] for name in ("kind", "job", "token", "last_of_page")}
                expected.append({**tags, "lanes": 0, "last_of_pass": 1})
    got, ended = [], []

    def benches(clock):
        async def send(ctx):
            await feed(ctx, dut.i, beats, seed=1, stall=stall)
            ended.append(clock[0])

        async def judge(ctx):
            await feed(ctx, dut.i_keep, verdicts, seed=2, stall=stall)

        async def take(ctx):
            await drain(ctx, dut.o, len(expected), got.append, seed=3, stall=backpressure)

        return [send, judge, take]

    simulate(dut, benches, timeout=(len(beats) + 20) * (1 if stall + backpressure == 0 else 6))
    assert [beat.kind for beat in got] == [beat["kind"] for beat in expected]
    for name in FIELDS:
        assert [beat[name] for beat in got] == [int(beat.get(name, 0)) for beat in expected], name
    return len(beats), ended[0]


def stimuli():
    rng = np.random.default_rng(SEED)
    passes, keeps = [], []
    for job, tokens in enumerate((20, 0, 1, 13, 16)):
        keep = rng.random(tokens) < 0.4
        for kind in (Kind.K, Kind.V):
            passes.append(a_pass(rng, tokens, 4, kind, job))
            keeps.append(keep)
    keeps[0][-1] = keeps[1][-1] = keeps[4][0] = keeps[5][0] = False  # a dropped unit at the end
    keeps[6][-1] = keeps[7][-1] = True
    return passes, keeps


@pytest.mark.parametrize("stall, backpressure", [(0.5, 0), (0, 0.5), (0.4, 0.4)])
def test_stalls_and_backpressure(stall, backpressure):
    run(*stimuli(), stall=stall, backpressure=backpressure)


def test_a_beat_a_clock():
    beats, clocks = run(*stimuli())
    assert clocks == beats
