"""What each command does: appends, attends and steps, reading back, what goes to the firmware."""

import random

import numpy as np
import pytest

from rtl.commands import (
    CAPABILITY,
    CAPABILITY_MAGIC,
    FIRMWARE,
    JOB,
    Opcode,
    Status,
)
from rtl.executor.read import capability_page
from rtl.tables import (
    HEAD,
    MAP_ENTRY,
    PASS,
)
from tests.rtl.executor.front import (
    BOUNDED,
    COLUMNS,
    CONFIG,
    DATA,
    GEOMETRY,
    GROUP,
    HEAD_DIM,
    HEADS,
    KV_HEADS,
    MAP,
    PAGE,
    PASSES,
    RESULT,
    SCALE,
    SPARSE,
    TAIL,
    UNIT_GROUPS,
    Harness,
    append,
    attend,
    sqe,
    words,
)


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_append_fills_tail_and_pages(stall):
    h = Harness(stall)
    tokens = GROUP + 1
    assert h.do(append(tokens)) == [(Status.SUCCESS, 0, 0)]
    size = 2 * HEAD_DIM * tokens
    page = GEOMETRY.page_bytes
    data = h.host.bytes[DATA:]
    for head in range(KV_HEADS):
        assert (h.head(0, head)["tokens"], h.head(0, head)["flash_groups"]) == (tokens, 1)
        for kind in range(2):
            at = size * (2 * head + kind)
            tail = TAIL + page * (2 * head + kind)
            assert h.dram.bytes[tail : tail + size - page] == data[at + page : at + size]
    wanted = b"".join(data[size * n : size * n + page] for n in range(2 * KV_HEADS))
    assert h.pages == words(wanted)
    assert [p["channel"] for p in h.orders.items] == [1, 1, 0, 0]


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("opcode", [Opcode.ATTEND, Opcode.STEP])
def test_attend_and_step(opcode, stall):
    h = Harness(stall)
    command, raw = attend([{"queries": 2}, {"queries": 1, "layer": 1}], opcode=opcode)
    step = opcode == Opcode.STEP
    first = [append(GROUP + 1), append(1, layer=1)]
    h.host.put(DATA, raw)
    data = bytes(h.host.bytes[DATA : DATA + PAGE])
    assert h.do(*first, command) == [(Status.SUCCESS, 0, 0)] * 3
    queries, q, at = [], [], 2 * JOB.size
    for count in (2, 1):
        size = count * KV_HEADS * HEAD_DIM * 2
        q += words(data[at : at + size])
        queries += [count] * KV_HEADS
        at += size + step * 4 * KV_HEADS * HEAD_DIM
    assert h.q.items == q
    assert [j["heads"] for j in h.jobs.items] == queries
    assert [j["tag"] for j in h.jobs.items] == [0, 1, 2, 3]
    for n, job in enumerate(h.jobs.items):
        head = h.head(n // 2, n % 2)
        assert (job["beats"], job["scale_mant"], job["scale_exp"]) == (16, 1 << 25, 0x3D)
        assert all(job[name] == head[name] for name in ("k_exp", "v_exp", "k_bad", "v_bad"))
    walks = h.walks.items
    assert [w["end"] for w in walks] == [0, 0, 0, 0, 1]
    assert [(w["channel"], w["flash_groups"], w["last"], w["end_tokens"]) for w in walks[:4]] == [
        (1, 1, 1, 1 + step),
        (4, 1, 1, 1 + step),
        (7, 0, 0, 1 + step),
        (10, 0, 0, 1 + step),
    ]
    for index, walk in enumerate(walks[:4]):
        assert (walk["first"], walk["skip"]) == (0, 0)
        assert (walk["map"], walk["tail"]) == (
            MAP + 32 * index,
            TAIL + 2 * GEOMETRY.page_bytes * index,
        )
        assert (walk["group_tokens"], walk["beats"]) == (GROUP, 16)
    good = {"status": Status.SUCCESS, "flags": 0, "passes": 1, "written": 1}
    assert h.result(0, 64) == (good, list(range(0x1000, 0x1040)))
    assert h.result(8 + 512, 32) == (good, list(range(0x1040, 0x1060)))


@pytest.mark.parametrize("partials", [0, 1])
@pytest.mark.parametrize("head_dim, tokens", [(64, 150), (80, 130), (64, 128)])
def test_a_long_sequence_goes_in_passes(head_dim, tokens, partials):
    """Passes of 64 tokens; with head_dim 80, groups of 3, they begin inside a group."""
    group = GEOMETRY.page_bytes // (2 * head_dim)
    h = Harness()
    h.bench.timeout = 60000
    h.sequence(
        0,
        head_dim=head_dim,
        max_tokens=200,
        groups=200,
        kv_heads=1,
        layers=1,
        group_tokens=group,
        pass_groups=64 // group,
        pass_rest=64 % group,
    )
    exponents = [random.Random(n).randrange(30) for n in range(4)]
    for number in range(tokens // 64):
        facts = {"k_exp": exponents[number], "v_exp": exponents[-1 - number]}
        h.dram.put(PASSES + 8 * number, PASS.pack(**facts))
    state = {"tokens": tokens, "flash_groups": tokens // group, "tail_tokens": tokens % group}
    h.dram.put(HEADS, HEAD.pack(**state, k_exp=7, v_exp=9, k_bad=1))
    q = 2 * 2 * head_dim
    raw = JOB.pack(queries=2, q_format=1, q_offset=JOB.size) + bytes(n % 251 for n in range(q))
    h.host.put(DATA, raw)
    view = {"jobs": 1, "bytes": JOB.size + q, "partials": partials}
    assert h.do(sqe(Opcode.ATTEND, view, result=RESULT, **SCALE)) == [(Status.SUCCESS, 0, 0)]
    passes = -(-tokens // 64)
    jobs, walks = h.jobs.items, h.walks.items[:-1]
    assert len(jobs) == len(walks) == passes
    assert h.q.items == words(raw[JOB.size : JOB.size + q]) * passes
    for n, (job, walk) in enumerate(zip(jobs, walks)):
        assert (job["first"], job["last"], job["partial"]) == (n == 0, n == passes - 1, partials)
        assert (job["q_format"], job["format"]) == (1, 0)
        full = n < tokens // 64
        assert job["k_exp"] == (exponents[n] if full else 7)
        assert job["v_exp"] == (exponents[-1 - n] if full else 9)
        assert (job["k_bad"], job["v_bad"]) == (0 if full else 1, 0)
        begin, end = 64 * n, min(64 * n + 64, tokens) - 1
        assert (walk["first"], walk["skip"]) == divmod(begin, group)
        assert (walk["last"], walk["end_tokens"] - 1) == divmod(end, group)
        assert walk["flash_groups"] == tokens // group
    count = passes * 2 * (head_dim + 2) if partials else q // 8
    status, got = h.result(0, count)
    assert (status["status"], status["passes"]) == (Status.SUCCESS, passes)
    assert got == list(range(0x1000, 0x1000 + count))


def test_a_step_that_fills_a_group_attends_its_tail_then_flushes_it():
    h = Harness()
    command, raw = attend([{}], opcode=Opcode.STEP)
    h.host.put(DATA, raw)
    h.bench.timeout = 30000
    assert h.do(append(GROUP - 1), command, idle=1500)[1] == (Status.SUCCESS, 0, 0)
    assert [(w["last"], w["end_tokens"]) for w in h.walks.items[:2]] == [(0, GROUP)] * 2
    assert len(h.orders.items) == 2 * KV_HEADS
    tails = h.dram.bytes[TAIL : TAIL + 2 * KV_HEADS * GEOMETRY.page_bytes]
    assert h.pages == words(tails)
    for head in range(KV_HEADS):
        assert h.head(0, head)["flash_groups"] == 1
        at = MAP + 32 * head
        entry = MAP_ENTRY.unpack(h.dram.bytes[at : at + 8])
        assert entry["k_row"] == 100 + 2 * head and entry["v_row"] == 101 + 2 * head


@pytest.mark.parametrize("unreadable", [None, 0])
def test_an_append_leaves_units_of_k_by_channel(unreadable):
    """Those of heads whose K pages can be read; four groups are two units."""
    h = Harness()
    h.bench.timeout = 60_000
    h.sequence(0, max_tokens=6 * GROUP, groups=6, columns=COLUMNS, unit_groups=UNIT_GROUPS)
    tokens, unit, page = 4 * GROUP, UNIT_GROUPS * GROUP, GEOMETRY.page_bytes
    k = [
        np.frombuffer(h.host.bytes, np.uint16, tokens * HEAD_DIM, DATA + at).reshape(tokens, -1)
        for at in range(0, 4 * KV_HEADS * HEAD_DIM * tokens, 4 * HEAD_DIM * tokens)
    ]
    units = [(head, at) for head in range(KV_HEADS) if head != unreadable for at in (0, unit)]
    for head in range(KV_HEADS):
        for at in (0, unit)[: 1 if head == unreadable else 2]:
            h.readback.items += k[head][at : at + unit].reshape(-1).view(np.uint64).tolist()
        if head == unreadable:
            h.readback.items[-1] |= 1 << 64
    h.do(append(tokens), idle=9000)
    assert [(w["readback"], w["kind"], w["first"], w["last"]) for w in h.walks.items] == [
        (1, 0, first, first + UNIT_GROUPS - 1)
        for head in range(KV_HEADS)
        for first in ((0,) if head == unreadable else (0, UNIT_GROUPS))
    ]
    of_k_and_v = 2 * KV_HEADS * 4
    pages = np.array(h.pages[of_k_and_v * page // 8 :], np.uint64).view(np.uint16)
    pages = pages.reshape(len(units), UNIT_GROUPS, -1)
    for (head, at), (first, second) in zip(units, pages):
        for channel, column in enumerate((first, second)):
            assert (column[:unit] == k[head][at : at + unit, channel]).all()
    channels = [order["channel"] for order in h.orders.items[of_k_and_v:]]
    assert channels == [(3 * head + 1 + at // unit) % 2 for head, at in units for _ in (0, 1)]
    for head in range(KV_HEADS):
        assert h.head(0, head)["column_pages"] == 2 * UNIT_GROUPS * (head != unreadable)


def test_no_unit_is_read_while_the_firmware_holds_commands_back():
    h = Harness()
    h.bench.timeout = 60_000
    h.sequence(0, columns=COLUMNS, unit_groups=UNIT_GROUPS)

    def hold(ctx):
        while not ctx.get(h.dut.executor.executing):
            yield
        ctx.set(h.dut.executor.hold, 1)
        for _ in range(1500):
            yield
        assert h.done.items and not h.walks.items
        ctx.set(h.dut.executor.hold, 0)

    h.do(append(UNIT_GROUPS * GROUP), script=hold, idle=100)
    assert h.walks.items


def test_a_step_that_fills_the_last_group_of_a_unit():
    h = Harness()
    h.sequence(0, columns=COLUMNS, unit_groups=UNIT_GROUPS)
    command, raw = attend([{}], opcode=Opcode.STEP)
    h.host.put(DATA, raw)
    h.bench.timeout = 60_000
    rng = random.Random(5)
    unit_words, page_words = UNIT_GROUPS * GEOMETRY.page_bytes // 8, GEOMETRY.page_bytes // 8
    k = [[rng.getrandbits(64) for _ in range(unit_words)] for _ in range(KV_HEADS)]
    for of_head in k:
        h.readback.items += of_head
    assert h.do(append(2 * GROUP - 1), command, idle=6000)[1] == (Status.SUCCESS, 0, 0)
    first = 2 * KV_HEADS * page_words  # after the group that the append filled
    for head in range(KV_HEADS):
        entry = h.head(0, head)
        assert (entry["flash_groups"], entry["column_pages"]) == (UNIT_GROUPS, UNIT_GROUPS)
        first += 2 * page_words  # after the group that the step filled
        column = np.array(h.pages[first : first + page_words], np.uint64).view(np.uint16)
        of_head = np.array(k[head], np.uint64).view(np.uint16).reshape(-1, HEAD_DIM)
        assert (column[: len(of_head)] == of_head[:, 0]).all()
        first += unit_words


def test_a_job_behind_one_that_filled_the_same_tail_is_refused():
    h = Harness()
    command, raw = attend([{}, {}], opcode=Opcode.STEP)
    h.host.put(DATA, raw)
    status = h.do(append(GROUP - 1), command, idle=1500)[1]
    assert status == (Status.INVALID_JOB, 1 << 16, 1)
    assert h.head(0, 0)["tokens"] == GROUP and h.head(0, 0)["flash_groups"] == 1


@pytest.mark.parametrize("group, kind", [(0, 0), (1, 1)])
def test_read_kv(group, kind):
    h = Harness()
    command = sqe(
        Opcode.READ_KV, {"head": 1, "kind": kind}, sequence=0, layer=0, group=group, prp1=RESULT
    )
    page = [random.Random(3).getrandbits(64) for _ in range(GEOMETRY.page_bytes // 8)]
    if group == 0:
        h.readback.items += page
    assert h.do(append(GROUP + 1), command)[1] == (Status.SUCCESS, 0, 0)
    if group == 0:
        assert h.host.words(RESULT, len(page)) == page
        (walk,) = h.walks.items
        assert (walk["readback"], walk["kind"], walk["first"], walk["channel"]) == (1, kind, 0, 4)
    else:
        tail = TAIL + GEOMETRY.page_bytes * (2 + kind)
        assert h.host.bytes[RESULT : RESULT + 128] == h.dram.bytes[tail : tail + 128]


@pytest.mark.parametrize("config, modes", [(CONFIG, 0b1), (SPARSE, 0b11), (BOUNDED, 0b111)])
def test_capabilities_name_the_modes(config, modes):
    assert CAPABILITY.unpack(capability_page(config)[:64])["modes"] == modes


def test_capabilities():
    h = Harness()
    assert h.do(sqe(Opcode.CAPABILITIES, prp1=RESULT)) == [(Status.SUCCESS, 0, 0)]
    page = CAPABILITY.unpack(h.host.bytes[RESULT : RESULT + 64])
    assert page["magic"] == CAPABILITY_MAGIC
    assert (page["channels"], page["dies"]) == (CONFIG.channels, CONFIG.dies)
    assert (page["max_tokens"], page["page_bytes"]) == (CONFIG.max_tokens, GEOMETRY.page_bytes)
    assert page["head_dims"] == 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8
    assert (page["formats"], page["pass_tokens"]) == (0b11, 64)
    assert not any(h.host.bytes[RESULT + 64 : RESULT + PAGE])


@pytest.mark.parametrize("opcode", FIRMWARE)
def test_policy_goes_to_the_mailbox(opcode):
    h = Harness()
    x = h.dut.executor
    command = sqe(opcode, sequence=3)

    def firmware(ctx):
        while not ctx.get(x.mailbox):
            yield
        for _ in range(30):
            yield
        assert ctx.get(x.quiet) and ctx.get(x.mailbox_sqe) == int.from_bytes(command, "little")
        ctx.set(x.mailbox_status, Status.NO_SPACE)
        ctx.set(x.mailbox_result, 0x1234)
        ctx.set(x.mailbox_done, 1)
        yield
        ctx.set(x.mailbox_done, 0)

    assert h.do(command, script=firmware) == [(Status.NO_SPACE, 0x1234, 0)]


def test_a_read_only_drive_takes_no_tokens():
    """Refused whole, before anything is written; what brings none is answered as ever."""
    h = Harness()
    step, raw = attend([{}, {}], opcode=Opcode.STEP, prp1=DATA + PAGE)
    h.host.put(DATA + PAGE, raw)
    read = attend([{}], prp1=DATA + 2 * PAGE, opcode=Opcode.ATTEND)
    h.host.put(DATA + 2 * PAGE, read[1])
    then, seen = h.done.then, []
    h.done.then = lambda item: (seen.append((bytes(h.dram.bytes), bytes(h.host.bytes))), then(item))

    def firmware(ctx):
        while not h.done.items:
            yield
        ctx.set(h.dut.executor.read_only, 1)

    got = h.do(append(1), append(1), step, read[0], script=firmware)
    assert [status for status, _, _ in got] == [
        Status.SUCCESS,
        Status.READ_ONLY,
        Status.READ_ONLY,
        Status.SUCCESS,
    ]
    assert seen[0] == seen[1] == seen[2] and len(h.jobs.items) == KV_HEADS
    assert h.head(0, 0)["tokens"] == 1


def test_no_command_begins_while_it_is_held():
    """The one under way ends; the next one waits, quietly, until it may begin."""
    h = Harness()
    x, idle = h.dut.executor, []

    def firmware(ctx):
        while not ctx.get(x.executing):
            yield
        ctx.set(x.hold, 1)
        while not h.done.items:
            yield
        for _ in range(500):
            yield
            idle.append(ctx.get(x.quiet) & ~ctx.get(x.executing) & 1)
        assert len(h.done.items) == 1
        ctx.set(x.hold, 0)

    assert [status for status, _, _ in h.do(append(1), append(1), script=firmware)] == [0, 0]
    assert all(idle[50:]) and h.head(0, 0)["tokens"] == 2
