"""What the executor makes of memories that answer with an error, and what is left afterwards."""

import pytest

from rtl.commands import Opcode, Status
from rtl.tables import HEAD, PAGE_META, PASS, SLOT_HEADER, slot_bytes
from tests.rtl.executor.front import (
    BUFFER,
    DATA,
    GEOMETRY,
    GROUP,
    HEAD_DIM,
    HEADS,
    KV_HEADS,
    PAGE,
    PASSES,
    RESULT,
    TABLE,
    TAIL,
    Harness,
    append,
    attend,
    sqe,
)

FULL = 10 * PAGE
"""Where data of appends lie, apart from those of attends."""
SEGMENT = 5
GOOD = (Status.SUCCESS, 0, 0)


def tail(head, kind=0, token=0):
    """Address of a token in a tail."""
    return TAIL + GEOMETRY.page_bytes * (2 * head + kind) + 2 * HEAD_DIM * token


def run(*steps, idle=60, **changes):
    """Commands, each with the words of device DRAM and of host memory that are bad meanwhile.

    Returns the harness, completions, and the tokens of both heads after each command. ``segments``
    of the harness are those of the pages ordered.
    """
    h = Harness(**changes)
    h.bench.timeout = 12_000
    h.sequence(0, segment=SEGMENT)
    h.segments, fetch = [], h.orders.then

    def ordered(order):
        at = BUFFER + order["slot"] * slot_bytes(GEOMETRY)
        header = SLOT_HEADER.unpack(h.dram.bytes[at : at + SLOT_HEADER.size])
        meta = header["meta"].to_bytes(PAGE_META.size, "little")
        h.segments.append(PAGE_META.unpack(meta)["segment"])
        fetch(order)

    h.orders.then = ordered
    bad, held, then = [step[1:] for step in steps], [], h.done.then

    def set_bad():
        dram, host = (*bad.pop(0), (), ())[:2] if bad else ((), ())
        h.dram.bad, h.host.bad = set(dram), set(host)

    def done(item):
        held.append([h.head(0, head)["tokens"] for head in range(KV_HEADS)])
        set_bad()
        then(item)

    h.done.then = done
    _, raw = attend([{}], opcode=Opcode.STEP)
    h.host.put(DATA, raw)
    set_bad()
    return h, h.do(*[step[0] for step in steps], idle=idle), held


ATTEND, STEP = (attend([{}], opcode=opcode)[0] for opcode in (Opcode.ATTEND, Opcode.STEP))
APPEND = append(5, prp1=FULL)
READ = sqe(Opcode.READ_KV, {"head": 1}, sequence=0, layer=0, group=1, prp1=RESULT)
LOST = (Status.INTERNAL_ERROR, 0, 0)
JOB_LOST = (Status.INTERNAL_ERROR, 1 << 16, 0)


@pytest.mark.parametrize("bad, stall", [(TABLE + 56, 0.0), (HEADS, 0.4)])
def test_tables_that_cannot_be_read(bad, stall):
    """Nothing is done, and all of it can be done afterwards."""
    commands = APPEND, ATTEND, STEP
    h, got, held = run(
        (APPEND,), *[(command, [bad]) for command in commands], *zip(commands), stall=stall
    )
    assert got == [GOOD, LOST, JOB_LOST, JOB_LOST, GOOD, GOOD, GOOD]
    assert held == [[n] * KV_HEADS for n in (5, 5, 5, 5, 10, 10, 11)]
    assert len(h.jobs.items) == 2 * KV_HEADS and not h.head(0, 0)["spoiled"]


def test_the_entry_of_a_second_head():
    """It is skipped; the layer is refused until the firmware has cut it."""
    bad = [HEADS + HEAD.size]
    spoiled = Status.SPOILED_APPEND, 1 << 16, 0
    _, got, held = run(
        (APPEND,), (ATTEND, bad), (READ, bad), (ATTEND,), (APPEND, bad), (ATTEND,), (STEP,)
    )
    assert got == [GOOD, JOB_LOST, LOST, GOOD, LOST, spoiled, spoiled]
    assert held[4:] == [[10, 5]] * 3


@pytest.mark.parametrize("kind", [0, 1])
def test_a_tail_that_cannot_be_read_for_the_host(kind):
    command = sqe(Opcode.READ_KV, {"head": 1, "kind": kind}, sequence=0, group=1, prp1=RESULT)
    bad = [tail(1, kind) + 8]
    _, got, _ = run((APPEND,), (command, bad), (command,))
    assert [status for status, _, _ in got] == [0, Status.UNRECOVERED_READ, 0]


def test_facts_of_a_pass_that_cannot_be_read():
    h = Harness()
    state = {"tokens": 70, "flash_groups": 70 // GROUP, "tail_tokens": 70 % GROUP}
    h.dram.put(HEADS, HEAD.pack(**state) * KV_HEADS)
    h.dram.put(PASSES, PASS.pack(k_exp=9, v_exp=8) * 8)
    h.dram.bad = {PASSES + 32}  # of the second head
    command, raw = attend([{}, {}])
    h.host.put(DATA, raw)
    h.sequence(0, max_tokens=100, groups=100 // GROUP)
    assert h.do(command) == [(Status.INTERNAL_ERROR, 2 << 16, 0)]
    assert [job["k_exp"] for job in h.jobs.items] == [9, 0, 0, 0] * 2
    assert h.result(0, 0)[0]["status"] == Status.INTERNAL_ERROR


@pytest.mark.parametrize("word", [0, 2 * 16 * 5 + 30])
def test_data_of_an_append_that_cannot_be_read(word):
    """All heads hold the tokens, those from the error on marked; the layer is refused."""
    h, got, held = run((APPEND,), (APPEND, [], [FULL + 8 * word]), (ATTEND,), (STEP,), (APPEND,))
    assert [status for status, _, _ in got[:2]] == [0, Status.TRANSFER_ERROR]
    assert [status for status, _, _ in got[2:]] == [Status.SPOILED_APPEND] * 3
    head = word // (2 * 16 * 5)
    assert [h.head(0, n)["spoiled"] for n in range(KV_HEADS)] == [int(n >= head) for n in (0, 1)]
    assert [h.head(0, n)["torn"] for n in range(KV_HEADS)] == [1, 0]
    assert held[1:] == [[10, 10]] * 4


@pytest.mark.parametrize("word, right", [(0, 0), (2 * 16 * GROUP + 3, 2), (4 * 16 * GROUP - 1, 3)])
def test_pages_behind_data_that_cannot_be_read(word, right):
    """They are as they came, but bear segment 0."""
    command = append(GROUP, prp1=FULL)
    h, _, _ = run((command, [], [FULL + 8 * word]))
    assert h.segments == [SEGMENT] * right + [0] * (4 - right)


@pytest.mark.parametrize("kind", [0, 1])
def test_pages_behind_a_tail_that_cannot_be_written(kind):
    """What the tail gives for its page is not what came. Once there are pages that would be found,
    no others are appended in their place."""
    fills = append(2 * GROUP - 1, prp1=FULL)  # the tail, and another group
    h, got, held = run((APPEND,), (fills, [tail(0, kind, 2)]), (APPEND,))
    assert got == [GOOD, LOST, (Status.SPOILED_APPEND, 0, 0) if kind else GOOD]
    assert held[1] == [5, 5]
    assert h.segments[4:8] == [SEGMENT] * (2 * kind) + [0] * (4 - 2 * kind)


def test_an_append_into_a_tail_that_cannot_be_written():
    """Nothing has happened, and it can be given again."""
    few = append(1, prp1=FULL)
    _, got, held = run((APPEND,), (few, [tail(0, 1, 1)]), (ATTEND,), (few,), (STEP,), (READ,))
    assert got == [GOOD, LOST, GOOD, GOOD, GOOD, GOOD]
    assert held[1:] == [[5, 5], [5, 5], [6, 6], [7, 7], [7, 7]]


@pytest.mark.parametrize("kind, held, spoiled", [(0, 5, 0), (1, 10, 1)])
def test_a_page_of_the_tail_that_cannot_be_written(kind, held, spoiled):
    """Tokens behind the group would take the place of its first ones in the tail."""
    bad = [BUFFER + (4 + kind) * slot_bytes(GEOMETRY) + 40]
    h, got, _ = run((APPEND,), (APPEND, bad), (ATTEND,))
    assert got == [GOOD, LOST, (Status.SPOILED_APPEND, 1 << 16, 0) if spoiled else GOOD]
    assert (h.head(0, 0)["tokens"], h.head(0, 0)["spoiled"]) == (held, spoiled)
    tails = [h.dram.bytes[tail(0, n) : tail(0, n, 1)] for n in (0, 1)]
    data = h.host.bytes[FULL : FULL + 4 * 5 * HEAD_DIM]
    row = 2 * HEAD_DIM
    first = [data[row * 4 : row * 5], data[row * 9 : row * 10]]  # K and V of token 4
    assert [a == b for a, b in zip(tails, first)] == ([True, True] if not spoiled else [False] * 2)


def test_a_step_whose_token_cannot_be_written():
    h, got, held = run((APPEND,), (STEP, [tail(1, 0, 1)]), (ATTEND,))
    assert got == [GOOD, JOB_LOST, (Status.SPOILED_APPEND, 1 << 16, 0)]
    assert held[1:] == [[6, 5]] * 2 and not h.head(0, 1)["spoiled"]


@pytest.mark.parametrize("word", [1, 40])
def test_a_slot_that_cannot_be_written(word):
    """Its page is ordered as spoiled, the others are not."""
    bad = [BUFFER + 2 * slot_bytes(GEOMETRY) + 8 * word]  # K of head 1
    h, got, _ = run((append(GROUP, prp1=FULL), bad))
    assert got == [LOST]
    assert [order["spoiled"] for order in h.orders.items] == [0, 0, 1, 0]
    assert [h.head(0, n)["tokens"] for n in range(KV_HEADS)] == [GROUP, 0]


@pytest.mark.parametrize("word", ["tail", "slot"])
def test_a_full_tail_that_is_not_flushed(word):
    """The step is answered; what it left stays in the tail, which takes no more tokens."""
    bad = [tail(0, 1, 3) if word == "tail" else BUFFER + 8]
    full = append(GROUP - 1, prp1=FULL)
    h, got, held = run((full,), (STEP,), (ATTEND, bad), (STEP,), (APPEND,), (ATTEND,), idle=1500)
    # the flush of the step begins once its completion is taken, and so is given the next one's bad
    assert got == [GOOD, GOOD, GOOD, (Status.INVALID_JOB, 1 << 16, 0), LOST, GOOD]
    assert held[1:] == [[GROUP, GROUP]] * 5
    assert [order["spoiled"] for order in h.orders.items].count(1) == 1
    entries = [h.head(0, n) for n in range(KV_HEADS)]
    assert [entry["tail_tokens"] for entry in entries] == [GROUP, 0]
    assert [entry["flash_groups"] for entry in entries] == [0, 1]
    assert not any(entry["spoiled"] for entry in entries)
