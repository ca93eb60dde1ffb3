"""The append path against a model of tail, map, head and pass entries and programs."""

import random

import numpy as np
import pytest

from rtl.tables import (
    HEAD,
    MAP_ENTRY,
    PAGE_META,
    PASS,
    SEQUENCE,
    SLOT_HEADER,
    group_channel,
    slot_bytes,
)
from tests.rtl.append.bench import (
    BUFFER,
    FIRST_CHANNEL,
    GROUPS,
    HEADS,
    KV_HEADS,
    MAP,
    PASS_ENTRIES,
    PASSES,
    SEGMENT,
    TAIL,
    Model,
    allocator,
    build,
    geometry,
    same,
    sequence,
    values,
)
from tests.rtl.streams_bench import CROSS


@pytest.mark.parametrize(
    "head_dim, channels, format", [(16, 2, 0), (32, 4, 1), (12, 1, 0), (12, 2, 1), (64, 2, 0)]
)
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_appends_of_any_length(head_dim, channels, format, stall, backpressure):
    """Groups of 4, 2, 5 and 1 tokens, passes of 8, in both formats."""
    rng = np.random.default_rng([head_dim, channels, int(10 * stall), int(10 * backpressure)])
    geo = geometry(channels)
    seq = sequence(head_dim, geo.page_bytes, format) | {"segment": SEGMENT}
    size = seq["group_tokens"]
    model = Model(seq, geo)
    dut, bench, dram = build(seq, geo, quiet=True, stall=stall, backpressure=backpressure)
    allocator(bench, dut, geo)
    layer = 1
    requests, words, wanted = [], [], []
    for number, (head, tokens) in enumerate(
        [
            (0, 1),
            (1, size),
            (0, size),
            (2, 2 * size + 1),
            (1, 0),
            (0, size - 1),
            (2, int(rng.integers(1, size + 2))),
            (1, min(9, seq["max_tokens"] - size)),
        ]
    ):
        index = layer * KV_HEADS + head
        defer = int(rng.integers(2))
        k = v = model.head(index)["kv"][0][:0]
        if tokens:
            k = values(rng, tokens, head_dim, format, bad=number == 3)
            v = values(rng, tokens, head_dim, format, bad=number == 5)
        due = model.append(index, k, v, defer)
        requests.append({"head": head, "tokens": tokens, "defer": defer})
        words += np.concatenate([k, v]).reshape(-1).view("<u8").tolist() if tokens else []
        wanted.append((index, model.entry(index), due))
        if due:
            model.flush(index)
            requests.append({"head": head, "flush": 1})
            wanted.append((index, model.entry(index), False))

    def settings(ctx):
        ctx.set(dut.sequence.as_value(), int.from_bytes(SEQUENCE.pack(**seq), "little"))
        ctx.set(dut.layer, layer)
        ctx.set(dut.buffer, BUFFER)
        yield

    bench.script(settings)
    source = bench.source(dut.i)
    bench.source(dut.i_words, words)
    answers = bench.sink(dut.o, then=lambda _: requests and source.items.append(requests.pop(0)))
    source.items.append(requests.pop(0))
    page_words = size * head_dim // 4
    pages = []

    def fetch(order):
        """As the channel does, which may be at once."""
        at = BUFFER + order["slot"] * slot_bytes(geo)
        place = SLOT_HEADER.unpack(dram.bytes[at : at + SLOT_HEADER.size])
        assert all(place[name] == order[name] for name in ("channel", "die", "row"))
        assert place["words"] == page_words
        pages.append((place, bytes(dram.bytes[at + SLOT_HEADER.size :][: 8 * page_words])))

    bench.sink(dut.o_order, then=fetch)
    bench.run(lambda: len(answers.items) == len(wanted), idle=30)

    for answer, (index, entry, due) in zip(answers.items, wanted):
        raw = int(answer["head"]).to_bytes(16, "little")
        same(HEAD.unpack(raw), entry, index)
        assert answer["channel"] == 3 * index + FIRST_CHANNEL
        assert answer["flush_due"] == due
        assert answer["map"] == MAP + index * GROUPS * 8
        assert answer["tail"] == TAIL + index * 2 * geo.page_bytes
        assert answer["passes"] == PASSES + index * PASS_ENTRIES * 8
    assert [
        (place["channel"], place["die"], place["row"], page) for place, page in pages
    ] == model.programs
    for place, _ in pages:
        meta = PAGE_META.unpack(place["meta"].to_bytes(8, "little"))
        at = meta["index"], meta["group"], meta["kind"]
        assert model.map[at] == (place["row"], place["die"])
        assert meta["segment"] == SEGMENT
    for index, head in model.heads.items():
        same(
            HEAD.unpack(dram.bytes[HEADS + 16 * index : HEADS + 16 * index + 16]),
            model.entry(index),
            index,
        )
        for number, facts in enumerate(model.full_passes(index)):
            at = PASSES + 8 * (index * PASS_ENTRIES + number)
            same(PASS.unpack(dram.bytes[at : at + 8]), facts, (index, number))
        for kind in (0, 1):
            in_tail = head["kv"][kind][head["groups"] * size :].tobytes()
            at = TAIL + (2 * index + kind) * geo.page_bytes
            assert dram.bytes[at : at + len(in_tail)] == in_tail
    for (index, group, kind), (row, die) in model.map.items():
        at = MAP + 8 * (index * GROUPS + group)
        entry = MAP_ENTRY.unpack(dram.bytes[at : at + 8])
        assert (entry["kv"[kind] + "_row"], entry["kv"[kind] + "_die"]) == (row, die)


@pytest.mark.parametrize("head", range(KV_HEADS))
def test_groups_go_to_the_channel_the_map_says(head):
    geo = geometry(2)
    seq = sequence(16, geo.page_bytes)
    dut, bench, _ = build(seq, geo)
    allocator(bench, dut, geo)

    def settings(ctx):
        ctx.set(dut.sequence.as_value(), int.from_bytes(SEQUENCE.pack(**seq), "little"))
        ctx.set(dut.layer, 1)
        yield

    bench.script(settings)
    tokens = 3 * seq["group_tokens"]
    bench.source(dut.i, [{"head": head, "tokens": tokens}])
    bench.source(dut.i_words, range(2 * tokens * 4))
    answers = bench.sink(dut.o)
    orders = bench.sink(dut.o_order)
    bench.run(lambda: answers.items)
    assert [order["channel"] for order in orders.items] == [
        group_channel(group, 1, KV_HEADS, head, 2, FIRST_CHANNEL)
        for _ in "KV"
        for group in range(3)
    ]


def test_waits_for_a_stripe_quietly():
    geo = geometry(2)
    seq = sequence(16, geo.page_bytes)
    dut, bench, dram = build(seq, geo, quiet=True)
    given = []
    allocator(bench, dut, geo, lambda: bool(given))
    rng = random.Random(1)
    page = [rng.getrandbits(64) for _ in range(geo.page_bytes // 4)]

    def script(ctx):
        ctx.set(dut.sequence.as_value(), int.from_bytes(SEQUENCE.pack(**seq), "little"))
        ctx.set(dut.buffer, BUFFER)
        for _ in range(200):
            yield
        assert ctx.get(dut.page.ready) and ctx.get(dut.quiet) and not dram.writes
        given.append(1)
        yield

    bench.script(script)
    bench.source(dut.i, [{"head": 0, "tokens": seq["group_tokens"]}])
    bench.source(dut.i_words, page)
    answers = bench.sink(dut.o)
    orders = bench.sink(dut.o_order)
    bench.run(lambda: answers.items)
    slots = [BUFFER + order["slot"] * slot_bytes(geo) + SLOT_HEADER.size for order in orders.items]
    in_slots = [dram.bytes[at : at + geo.page_bytes] for at in slots]
    assert np.frombuffer(b"".join(in_slots), "<u8").tolist() == page and bench.still > 50
