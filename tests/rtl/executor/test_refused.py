"""Commands and jobs that are refused: by which status, and that nothing else has changed."""

import pytest

from rtl.commands import (
    JOB_STATUS,
    Opcode,
    Status,
)
from tests.rtl.executor.front import (
    CONFIG,
    DATA,
    GROUP,
    HEAD_DIM,
    KV_HEADS,
    LAYERS,
    PAGE,
    RESULT,
    WINDOW,
    Harness,
    append,
    attend,
    sqe,
)

REFUSED = {
    "opcode": (sqe(0x7F), Status.INVALID_OPCODE),
    "vendor opcode": (sqe(0xFD), Status.INVALID_OPCODE),
    "fused": (append(1, fuse=1), Status.INVALID_FIELD),
    "sgl": (append(1, psdt=1), Status.INVALID_FIELD),
    "namespace": (append(1, nsid=2), Status.INVALID_NAMESPACE),
    "no tokens": (append(0), Status.ZERO_LENGTH),
    "too many tokens": (append(4 * GROUP), Status.CONTEXT_EXCEEDED),
    "absurd tokens": (append(0xFFFFFFFF), Status.CONTEXT_EXCEEDED),
    "unknown sequence": (append(1, sequence=2), Status.UNKNOWN_SEQUENCE),
    "sequence beyond the table": (append(1, sequence=999), Status.UNKNOWN_SEQUENCE),
    "closed sequence": (append(1, sequence=1), Status.CLOSED_SEQUENCE),
    "layer": (append(1, layer=LAYERS), Status.LAYER_OUT_OF_RANGE),
    "unaligned": (append(1, prp1=DATA + 8), Status.INVALID_PRP_OFFSET),
    "outside": (append(1, prp1=0), Status.OUT_OF_WINDOW),
    "read: head": (sqe(Opcode.READ_KV, {"head": KV_HEADS}), Status.HEAD_OUT_OF_RANGE),
    "read: group": (sqe(Opcode.READ_KV, {"head": 0}, group=1), Status.GROUP_OUT_OF_RANGE),
    "attend: no jobs": (attend([{}], count=0)[0], Status.ZERO_LENGTH),
    "attend: mode": (attend([{}], mode=1)[0], Status.UNSUPPORTED_MODE),
    "attend: scale": (attend([{}], scale_mant=5)[0], Status.INVALID_FIELD),
    "attend: too long": (attend([{}], size=CONFIG.max_attend + 8)[0], Status.INVALID_FIELD),
    "attend: odd length": (attend([{}], size=1004)[0], Status.INVALID_FIELD),
    "attend: list longer than the data": (attend([{}], count=9, size=64)[0], Status.INVALID_FIELD),
    "attend: result unaligned": (attend([{}], result=RESULT + 4)[0], Status.INVALID_FIELD),
    "attend: result below": (attend([{}], result=0)[0], Status.OUT_OF_WINDOW),
}


def test_refused_and_nothing_changed():
    h = Harness()
    seen = []
    then = h.done.then
    h.done.then = lambda item: (seen.append(bytes(h.dram.bytes)), then(item))
    got = h.do(append(1), *[command for command, _ in REFUSED.values()], idle=60)
    assert got.pop(0) == (Status.SUCCESS, 0, 0)
    assert dict(zip(REFUSED, got)) == {
        name: (status, 0, 0) for name, (_, status) in REFUSED.items()
    }
    assert set(seen) == {bytes(h.dram.bytes)}
    assert not h.jobs.items and not h.orders.items


JOBS_REFUSED = {
    "no queries": ({"queries": 0, "q_offset": 64}, Status.ZERO_LENGTH),
    "queries": ({"queries": CONFIG.max_queries_per_kv + 1}, Status.TOO_MANY_QUERY_HEADS),
    "sequence": ({"sequence": 2}, Status.UNKNOWN_SEQUENCE),
    "closed": ({"sequence": 1}, Status.CLOSED_SEQUENCE),
    "layer": ({"layer": 9}, Status.LAYER_OUT_OF_RANGE),
    "empty": ({"layer": 1}, Status.EMPTY_CONTEXT),
    "q format": ({"q_format": 2}, Status.UNSUPPORTED_FORMAT),
    "q offset unaligned": ({"q_offset": 68}, Status.INVALID_JOB),
    "q beyond the data": ({"q_offset": 1 << 31}, Status.INVALID_JOB),
    "result unaligned": ({"result_offset": 4}, Status.INVALID_JOB),
    "result beyond the window": ({"result_offset": WINDOW[1] - RESULT - 8}, Status.OUT_OF_WINDOW),
    "status beyond the window": ({"result_offset": WINDOW[1] - RESULT}, Status.OUT_OF_WINDOW),
    "result far beyond": ({"result_offset": 0xFFFFFFF8}, Status.OUT_OF_WINDOW),
}


@pytest.mark.parametrize("opcode", [Opcode.ATTEND, Opcode.STEP])
def test_a_bad_job_leaves_the_others_alone(opcode):
    h = Harness()
    h.bench.timeout = 60000
    h.sequence(0, max_tokens=100)
    commands = []
    step = opcode == Opcode.STEP
    refused = {name: item for name, item in JOBS_REFUSED.items() if not (step and name == "empty")}
    for n, (job, _) in enumerate(refused.values()):
        jobs = [{}, job, {"layer": int(step)}]
        command, raw = attend(jobs, prp1=DATA + PAGE * n, opcode=opcode)
        h.host.put(DATA + PAGE * n, raw)
        commands.append(command)
    before = bytes(h.host.bytes)
    got = h.do(append(1), *commands, idle=60)[1:]
    assert dict(zip(refused, got)) == {
        name: (status, 1 << 16, 1) for name, (_, status) in refused.items()
    }
    assert len(h.jobs.items) == 2 * KV_HEADS * len(commands), "the jobs around it run"
    assert [w["end"] for w in h.walks.items] == ([0] * 2 * KV_HEADS + [1]) * len(commands)
    assert h.head(0, 0)["tokens"] == 1 + step * len(commands)
    third = 2 * (JOB_STATUS.size + 2 * KV_HEADS * HEAD_DIM * 2)
    assert h.result(third, 1)[0]["status"] == Status.SUCCESS
    assert h.host.bytes[WINDOW[1] :] == before[WINDOW[1] :], "nothing is written beyond the window"


def test_a_bad_job_is_reported_in_its_place():
    h = Harness()
    command, raw = attend([{"layer": 9}, {}, {"queries": 9}])
    h.host.put(DATA, raw)
    got = h.do(append(1), command)[1]
    assert got == (Status.LAYER_OUT_OF_RANGE, 2 << 16, 0)
    size = JOB_STATUS.size + 2 * KV_HEADS * HEAD_DIM * 2
    statuses = [h.result(n * size, 0)[0]["status"] for n in range(3)]
    assert statuses == [
        Status.LAYER_OUT_OF_RANGE,
        Status.SUCCESS,
        Status.TOO_MANY_QUERY_HEADS,
    ]


@pytest.mark.parametrize("opcode", [Opcode.ATTEND, Opcode.STEP])
def test_a_job_list_that_cannot_be_read_is_not_executed(opcode):
    h = Harness(bad={DATA + 8})
    command, raw = attend([{}], opcode=opcode)
    h.host.put(DATA, raw)
    got = h.do(append(1, prp1=DATA + 2 * PAGE), command, append(1, prp1=DATA + 2 * PAGE), idle=60)
    assert [status for status, _, _ in got] == [
        Status.SUCCESS,
        Status.TRANSFER_ERROR,
        Status.SUCCESS,
    ]
    assert not h.jobs.items and not h.walks.items and h.head(0, 0)["tokens"] == 2
