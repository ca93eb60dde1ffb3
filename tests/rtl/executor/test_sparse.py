"""Sparse attends: selections and walks of each head, and what is refused of them."""

import pytest

from rtl.commands import (
    JOB,
    AttendMode,
    Opcode,
    Status,
)
from rtl.tables import (
    HEAD,
    PASS,
    bounds_groups,
)
from tests.rtl.executor.front import (
    BOUNDED,
    COLUMNS,
    DATA,
    GEOMETRY,
    GROUP,
    HEAD_DIM,
    HEADS,
    KV_HEADS,
    MAP,
    PAGE,
    PASSES,
    SCALE,
    SPARSE,
    TAIL,
    Harness,
    attend,
)

SPARF = {"mode": AttendMode.SPARF}
UNIT = SPARSE.unit_tokens
GROUPS = 3 * UNIT // GROUP
"""Room of a head that is attended sparsely."""


BOUNDS_UNIT = bounds_groups(HEAD_DIM, GEOMETRY.page_bytes, BOUNDED.codeword_bytes) * GROUP


def sparse(tokens, stall=0.0, config=SPARSE, bounds=0, **changes):
    """Two heads of so many tokens, with K by channel, or bounds, of all whole units; each head has
    facts of its own, a full pass its own too."""
    h = Harness(stall, config=config)
    h.bench.timeout = 60_000
    unit = BOUNDS_UNIT if bounds else UNIT
    columns = {"columns": COLUMNS, "unit_groups": unit // GROUP, "bounds": bounds}
    h.sequence(0, max_tokens=3 * UNIT, groups=GROUPS, **{**columns, **changes})
    groups, tail = divmod(tokens, GROUP)
    full, entries = tokens // UNIT, 4
    for head in range(KV_HEADS):
        for number in range(full):
            facts = {"k_exp": 10 * head + number, "v_exp": 9}
            h.dram.put(PASSES + 8 * (head * entries + number), PASS.pack(**facts))
        state = {"tokens": tokens, "flash_groups": groups, "tail_tokens": tail, "v_exp": 8}
        state |= {"k_exp": 10 * head + full}
        state["column_pages"] = tokens // unit if bounds else full * UNIT // GROUP
        h.dram.put(HEADS + HEAD.size * head, HEAD.pack(**state))
    return h


@pytest.mark.parametrize(
    ("opcode", "tokens", "passes", "stall"),
    [
        (Opcode.ATTEND, 300, [(0, 63, 4), (64, 74, 4)], 0.0),
        (Opcode.ATTEND, 302, [(0, 63, 4), (64, 75, 2)], 0.4),
        (Opcode.ATTEND, 512, [(0, 63, 4), (64, 127, 4)], 0.0),
        (Opcode.ATTEND, 30, [(0, 7, 2)], 0.0),
        (Opcode.STEP, 254, [(0, 63, 3)], 0.0),
        (Opcode.STEP, 256, [(0, 63, 4), (64, 64, 1)], 0.0),
        (Opcode.STEP, 509, [(0, 63, 4), (64, 127, 2)], 0.4),
    ],
)
def test_a_sparse_attend(opcode, tokens, passes, stall):
    """For each head its selection with its q, the walk over its columns, then its passes."""
    sparse_attend(sparse(tokens, stall), opcode, tokens, passes, UNIT, {}, **SPARF)


@pytest.mark.parametrize(
    ("opcode", "tokens", "passes", "stall"),
    [
        (Opcode.ATTEND, 302, [(0, 63, 4), (64, 75, 2)], 0.4),
        (Opcode.ATTEND, 512, [(0, 63, 4), (64, 127, 4)], 0.0),
        (Opcode.STEP, 30, [(0, 7, 3)], 0.0),
        (Opcode.STEP, 256, [(0, 63, 4), (64, 64, 1)], 0.0),
    ],
)
def test_an_attend_by_bounds(opcode, tokens, passes, stall):
    """All channels count, whatever the job says; exponents have room for bounds."""
    h = sparse(tokens, stall, BOUNDED, bounds=1)
    how = {"bounds": 1, "unit_tokens": BOUNDS_UNIT}
    sparse_attend(h, opcode, tokens, passes, BOUNDS_UNIT, how, mode=AttendMode.BOUNDS)


def test_a_drive_with_bounds_attends_by_channels():
    h = sparse(300, 0.0, BOUNDED)
    how = {"bounds": 0, "unit_tokens": UNIT}
    passes = [(0, 63, 4), (64, 74, 4)]
    sparse_attend(h, Opcode.ATTEND, 300, passes, UNIT, how, **SPARF)


def sparse_attend(h, opcode, tokens, passes, unit, of_bounds, **mode):
    """Runs one, and compares selections and walks; ``of_bounds``: what these say besides."""
    bounds = of_bounds.get("bounds", 0)
    channels = 0 if bounds else 5
    wanted = {"kept": 17, "channels": channels, "sinks": 3, "window": 999}
    command, raw = attend([{"queries": 3, "q_format": 1, **wanted}], opcode=opcode, **mode)
    h.host.put(DATA, raw)
    assert h.do(command, idle=400) == [(Status.SUCCESS, 0, 0)]
    step = opcode == Opcode.STEP
    groups, tail, units = tokens // GROUP, tokens % GROUP + step, tokens // unit
    q = h.host.words(DATA + JOB.size, 3 * KV_HEADS * HEAD_DIM // 4)
    assert h.selection_q.items == q
    assert len(h.selections.items) == len(h.columns.items) == KV_HEADS
    for head, (selection, walk) in enumerate(zip(h.selections.items, h.columns.items)):
        channel = 1 + 3 * head
        place = {
            "format": 0,
            "beats": HEAD_DIM // 4,
            "channel": channel,
            "map": MAP + 8 * GROUPS * head,
            "tail": TAIL + 2 * GEOMETRY.page_bytes * head,
            "flash_groups": groups,
            "group_tokens": GROUP,
            "units": units,
            "unit_groups": unit // GROUP,
        }
        of_columns = {"columns": COLUMNS + 4 * GROUPS * head, "tail_tokens": tail}
        assert walk == {**place, **of_columns, **({"bounds": bounds} if of_bounds else {})}
        exps = selection.pop("k_exp")
        for n in range(len(passes)):
            full = n < tokens // UNIT
            own = 10 * head + n if full else h.head(0, head)["k_exp"]  # that of a step's K too
            assert exps >> 8 * n & 0xFF == own + bounds
        assert selection == {
            "heads": 3,
            "beats": HEAD_DIM // 4,
            "format": 0,
            "q_format": 1,
            **{name: wanted[name] for name in ("kept", "sinks")},
            "channels": channels or HEAD_DIM,
            "window": min(999, tokens + step),
            "tokens": tokens + step,
            "group_tokens": GROUP,
            "first_channel": (channel + units * unit // GROUP) % 2,
            "in_units": units * unit,
            "unit_channel": channel % 2,
            **SCALE,
            **of_bounds,
        }
        walks = h.tokens.items[len(passes) * head : len(passes) * (head + 1)]
        for n, (walk, (first, last, end)) in enumerate(zip(walks, passes)):
            turn = {"first": first, "last": last, "end_tokens": end, "all": 0}
            turn |= {"tag": len(passes) * head + n, "ends": int(n == len(passes) - 1)}
            assert walk == place | turn
    jobs = h.jobs.items
    assert [job["tag"] for job in jobs] == list(range(len(passes) * KV_HEADS))
    assert all(job["together"] for job in jobs)
    assert [walk["end"] for walk in h.walks.items] == [1]
    assert len(h.q.items) == len(passes) * len(q)
    assert h.result(0, 1)[0]["status"] == Status.SUCCESS


@pytest.mark.parametrize("kept", [300, 1 << 31])
def test_a_sparse_attend_that_keeps_all(kept):
    h = sparse(300)
    command, raw = attend([{"kept": kept, "channels": 64}], **SPARF)
    h.host.put(DATA, raw)
    assert h.do(command) == [(Status.SUCCESS, 0, 0)]
    assert not h.selections.items and not h.selection_q.items and not h.columns.items
    walks = [(w["first"], w["last"], w["end_tokens"], w["all"], w["ends"]) for w in h.tokens.items]
    assert walks == [(0, 63, 4, 1, 0), (64, 74, 4, 1, 1)] * KV_HEADS
    assert all(job["together"] for job in h.jobs.items)
    assert [walk["end"] for walk in h.walks.items] == [1]


def test_a_dense_attend_of_a_drive_that_selects():
    h = sparse(300)
    command, raw = attend([{"kept": 17, "channels": 0}])
    h.host.put(DATA, raw)
    assert h.do(command) == [(Status.SUCCESS, 0, 0)]
    assert not h.selections.items and not h.tokens.items
    assert [walk["end"] for walk in h.walks.items] == [0] * 2 * KV_HEADS + [1]
    assert not any(job["together"] for job in h.jobs.items)


SELECTIONS_REFUSED = {
    "no channels": ({"channels": 0}, Status.INVALID_SELECTION),
    "channels": ({"channels": HEAD_DIM + 1}, Status.INVALID_SELECTION),
    "all channels there may be": ({"channels": 0xFFFF}, Status.INVALID_SELECTION),
    "none kept": ({"kept": 0}, Status.INVALID_SELECTION),
    "no index": ({"sequence": 3}, Status.NO_INDEX),
    "none kept, no index": ({"sequence": 3, "kept": 0}, Status.INVALID_SELECTION),
    "tokens": ({"sequence": 1, "layer": 1}, Status.SELECTION_EXCEEDED),
    "tokens, all kept": ({"sequence": 1, "layer": 1, "kept": 9999}, Status.SELECTION_EXCEEDED),
    "layer": ({"layer": 9, "channels": 0}, Status.LAYER_OUT_OF_RANGE),
    "sequence": ({"sequence": 2}, Status.UNKNOWN_SEQUENCE),
}


@pytest.mark.parametrize("opcode", [Opcode.ATTEND, Opcode.STEP])
def test_a_selection_refused_leaves_the_others_alone(opcode):
    h = sparse(300)
    step = opcode == Opcode.STEP
    h.sequence(3, max_tokens=3 * UNIT, groups=GROUPS)
    long = {"max_tokens": 3 * UNIT, "groups": GROUPS, "columns": COLUMNS}
    h.sequence(1, **long, unit_groups=UNIT // GROUP)
    held = SPARSE.sparse_tokens + 1 - step  # and one more than that comes with a step
    state = {"tokens": held, "flash_groups": held // GROUP, "tail_tokens": held % GROUP}
    state["column_pages"] = held // UNIT * UNIT // GROUP
    h.dram.put(HEADS + HEAD.size * KV_HEADS, HEAD.pack(**state) * KV_HEADS)
    good = {"kept": 17, "channels": 5}
    commands = []
    for n, (job, _) in enumerate(SELECTIONS_REFUSED.values()):
        command, raw = attend(
            [good | job, {**good, "queries": 1}], prp1=DATA + PAGE * n, opcode=opcode, **SPARF
        )
        h.host.put(DATA + PAGE * n, raw)
        commands.append(command)
    before = h.dram.bytes[HEADS + HEAD.size * KV_HEADS : HEADS + 2 * HEAD.size * KV_HEADS]
    got = h.do(*commands, idle=60)
    statuses = [status for _, status in SELECTIONS_REFUSED.values()]
    assert got == [(status, 1 << 16, 0) for status in statuses]
    assert len(h.selections.items) == len(h.columns.items) == KV_HEADS * len(commands)
    assert len(h.jobs.items) == len(h.tokens.items) == 2 * KV_HEADS * len(commands)
    assert h.head(0, 0)["tokens"] == 300 + step * len(commands)
    after = h.dram.bytes[HEADS + HEAD.size * KV_HEADS : HEADS + 2 * HEAD.size * KV_HEADS]
    assert after == before


BOUNDS_REFUSED = {
    "none kept": ({"kept": 0}, Status.INVALID_SELECTION),
    "no index": ({"sequence": 3}, Status.NO_INDEX),
    "no index, no channels": ({"sequence": 3, "channels": 0}, Status.NO_INDEX),
    "K by channel": ({"sequence": 1}, Status.NO_INDEX),
    "tokens": ({"layer": 1}, Status.SELECTION_EXCEEDED),
}


def test_a_selection_by_bounds_refused():
    h = sparse(300, 0.0, BOUNDED, bounds=1)
    h.sequence(3, max_tokens=3 * UNIT, groups=GROUPS)
    h.sequence(1, max_tokens=3 * UNIT, groups=GROUPS, columns=COLUMNS, unit_groups=UNIT // GROUP)
    held = BOUNDED.sparse_tokens + 1
    state = {"tokens": held, "flash_groups": held // GROUP, "tail_tokens": held % GROUP}
    h.dram.put(HEADS + HEAD.size * KV_HEADS, HEAD.pack(**state) * KV_HEADS)
    commands = []
    for n, (job, _) in enumerate(BOUNDS_REFUSED.values()):
        at = DATA + PAGE * n
        command, raw = attend([{"kept": 17} | job], prp1=at, mode=AttendMode.BOUNDS)
        h.host.put(at, raw)
        commands.append(command)
    by_channels, raw = attend([{"kept": 17, "channels": 5}], prp1=DATA + PAGE * 9, **SPARF)
    h.host.put(DATA + PAGE * 9, raw)
    got = h.do(*commands, by_channels, idle=60)
    statuses = [status for _, status in BOUNDS_REFUSED.values()]
    assert got == [(status, 1 << 16, 0) for status in [*statuses, Status.NO_INDEX]]
    assert not h.selections.items and not h.jobs.items


@pytest.mark.parametrize(
    ("mode", "partials", "config"),
    [(1, 1, SPARSE), (2, 0, SPARSE), (15, 0, SPARSE), (2, 1, BOUNDED), (3, 0, BOUNDED)],
)
def test_modes_refused(mode, partials, config):
    h = sparse(300, config=config)
    good, how = [{"kept": 17, "channels": 5}], {"mode": mode, "partials": partials}
    commands = [attend(good, opcode=x, **how)[0] for x in (Opcode.ATTEND, Opcode.STEP)]
    assert h.do(*commands) == [(Status.UNSUPPORTED_MODE, 0, 0)] * 2
    assert not h.selections.items and not h.jobs.items and h.head(0, 0)["tokens"] == 300
