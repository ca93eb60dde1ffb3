"""Results and statuses to their places in job order; the outcome gathered until cleared."""

import random

import pytest

from rtl.commands import JOB_STATUS, Status
from rtl.result_writer import ResultWriter
from tests.rtl.streams_bench import CROSS, Bench

SIZE = 1 << 16
FLAGS = ("saturated", "nonfinite", "poisoned")


def result_words(rng, words, job, marks):
    """Words of the engine; flags count with the last one only."""
    return [
        {
            "data": rng.getrandbits(64),
            "last": n == words - 1,
            "job": job % 16,
            **(marks if n == words - 1 else dict.fromkeys(FLAGS, 1)),
        }
        for n in range(words)
    ]


@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_jobs_of_heads_and_refusals(stall, backpressure):
    rng = random.Random(1)
    dut = ResultWriter()
    bench = Bench(dut, timeout=9000, quiet=True, stall=stall, backpressure=backpressure)
    memory = bench.memory(dut.write, SIZE, latency=5)
    requests, results, places, statuses = [], [], [], []
    for job in range(12):
        at = 4096 * job + 8 * rng.randrange(100)
        passes = rng.randint(1, 16)
        place = {"job": job, "passes": passes, "status_address": at}
        if job in (2, 7, 8):
            lost = job == 8
            requests.append(
                {**place, "ends": 1, "status": Status.UNKNOWN_SEQUENCE.value, "lost": lost}
            )
            statuses.append((at, None if lost else Status.UNKNOWN_SEQUENCE, 0, passes))
            continue
        total, heads = dict.fromkeys(FLAGS, 0), rng.randint(1, 3)
        for head in range(heads):
            marks = {name: int(rng.random() < 0.15) for name in FLAGS}
            total = {name: total[name] | marks[name] for name in FLAGS}
            words = result_words(rng, rng.randint(1, 70), job, marks)
            address = at + 8 + 1024 * head
            requests.append(
                {**place, "address": address, "words": len(words), "ends": head == heads - 1}
            )
            results += words
            places.append((address, [word["data"] for word in words]))
        status = Status.UNRECOVERED_READ if total["poisoned"] else Status.SUCCESS
        statuses.append((at, status, total["saturated"] | total["nonfinite"] << 1, passes))
    bench.source(dut.i, requests)
    source = bench.source(dut.i_results, results)
    pulses = bench.watch(dut.head, dut.busy)
    failed = [n for n, (_, status, _, _) in enumerate(statuses) if status != Status.SUCCESS]
    flags = 0
    for _, _, mine, _ in statuses:
        flags |= mine

    def script(ctx):
        for _ in range(3):
            yield
        while ctx.get(dut.busy) or source.items:
            yield
        got = ctx.get(dut.outcome)
        assert (got.saturated, got.nonfinite, got.error) == (flags & 1, flags >> 1, 0)
        first = statuses[failed[0]][1] or Status.UNKNOWN_SEQUENCE
        assert (got.failed, got.job, got.status) == (len(failed), failed[0], first)
        ctx.set(dut.clear, 1)
        yield
        ctx.set(dut.clear, 0)
        yield
        assert ctx.get(dut.outcome.as_value()) == 0

    bench.script(script)
    bench.run(idle=30)
    assert sum(head for head, _ in pulses) == len(places)
    for address, words in places:
        assert memory.words(address, len(words)) == words
    for at, status, flags, passes in statuses:
        found = JOB_STATUS.unpack(memory.bytes[at : at + 8])
        if status is None:
            assert not any(found.values()), "its place is not to be written"
        else:
            assert (found["status"], found["written"]) == (status, 1)
            assert (found["flags"], found["passes"]) == (flags, passes)


def test_busy_from_the_request_to_the_last_response():
    dut = ResultWriter()
    bench = Bench(dut, quiet=True)
    memory = bench.memory(dut.write, SIZE, latency=40)
    bench.source(dut.i, [{"address": 8, "words": 4, "ends": 1}])
    source = bench.source(dut.i_results)
    busy = bench.watch(dut.busy, dut.head)

    def script(ctx):
        for _ in range(200):
            yield
        assert ctx.get(dut.busy) and ctx.get(dut.quiet) and not memory.writes
        source.items += [{"data": n, "last": n == 3} for n in range(4)]
        while ctx.get(dut.busy):
            yield

    bench.script(script)
    bench.run()
    sent = next(n for n, (_, head) in enumerate(busy) if head)
    assert all(flag for flag, _ in busy[2 : sent + 40]) and not busy[-1][0]


def test_a_failed_write_is_an_error():
    dut = ResultWriter()
    bench = Bench(dut)
    bench.memory(dut.write, SIZE, bad={16})
    bench.source(dut.i, [{"address": 8, "words": 4, "ends": 1}])
    bench.source(dut.i_results, [{"data": n, "last": n == 3} for n in range(4)])
    states = bench.watch(dut.outcome.error, dut.busy)
    bench.run(lambda: len(states) > 9 and not states[-1][1])
    assert states[-1][0] == 1
