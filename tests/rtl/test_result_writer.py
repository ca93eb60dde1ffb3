"""Results to their places in job order; flags gathered until cleared."""

import random

import pytest

from rtl.result_writer import ResultWriter
from tests.rtl.streams_bench import CROSS, Bench

SIZE = 1 << 14
FLAGS = ("saturated", "nonfinite", "poisoned")


@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_results_and_flags(stall, backpressure):
    rng = random.Random(1)
    dut = ResultWriter()
    bench = Bench(dut, quiet=True, stall=stall, backpressure=backpressure)
    memory = bench.memory(dut.write, SIZE, latency=5)
    requests, results, flags = [], [], dict.fromkeys(FLAGS, 0)
    for job in range(7):
        words = rng.randint(1, 70)
        requests.append({"address": 2048 * job + 8 * rng.randrange(180), "words": words})
        marks = {name: int(rng.random() < 0.2) for name in FLAGS}
        for name in FLAGS:
            flags[name] |= marks[name]
        for word in range(words):
            last = word == words - 1
            # flags count with the last word only
            noise = marks if last else dict.fromkeys(FLAGS, 1)
            results.append({"data": rng.getrandbits(64), "last": last, "job": job, **noise})
    bench.source(dut.i, requests)
    source = bench.source(dut.i_results, results)
    pulses = bench.watch(dut.job, dut.busy)

    def script(ctx):
        for _ in range(3):
            yield
        while ctx.get(dut.busy) or source.items:
            yield
        got = ctx.get(dut.flags)
        assert {name: got[name] for name in FLAGS} == flags and not got.error
        ctx.set(dut.clear, 1)
        yield
        ctx.set(dut.clear, 0)
        yield
        assert ctx.get(dut.flags.as_value()) == 0

    bench.script(script)
    bench.run(idle=30)
    assert sum(job for job, _ in pulses) == len(requests)
    place = 0
    for request in requests:
        words = [r["data"] for r in results[place : place + request["words"]]]
        assert memory.words(request["address"], request["words"]) == words
        place += request["words"]


def test_busy_from_the_request_to_the_last_response():
    dut = ResultWriter()
    bench = Bench(dut, quiet=True)
    memory = bench.memory(dut.write, SIZE, latency=40)
    bench.source(dut.i, [{"address": 0, "words": 4}])
    source = bench.source(dut.i_results)
    busy = bench.watch(dut.busy, dut.job)

    def script(ctx):
        for _ in range(200):
            yield
        assert ctx.get(dut.busy) and ctx.get(dut.quiet) and not memory.writes
        source.items += [{"data": n, "last": n == 3} for n in range(4)]
        while ctx.get(dut.busy):
            yield

    bench.script(script)
    bench.run()
    done = next(n for n, (_, job) in enumerate(busy) if job)
    assert all(flag for flag, _ in busy[2 : done + 1]) and not busy[-1][0]


def test_a_failed_write_is_flagged():
    dut = ResultWriter()
    bench = Bench(dut)
    bench.memory(dut.write, SIZE, bad={16})
    bench.source(dut.i, [{"address": 0, "words": 4}])
    bench.source(dut.i_results, [{"data": n, "last": n == 3} for n in range(4)])
    flags = bench.watch(dut.flags.as_value(), dut.busy)
    bench.run(lambda: len(flags) > 9 and not flags[-1][1])
    assert flags[-1][0] == 8
