"""The append path against a model of tail, map, head and pass entries and programs."""

import dataclasses
import random
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from flash_model.profiles import profile
from hls_attention.bounds_code import encode
from rtl.append.path import AppendPath
from rtl.drive.units import connect_units
from rtl.memory import PortArbiter
from rtl.memory_port import MemoryPortSignature
from rtl.tables import (
    HEAD,
    MAP_ENTRY,
    PAGE_META,
    PASS,
    SEQUENCE,
    SLOT_HEADER,
    PageKind,
    column_channel,
    column_die,
    group_channel,
    program_slots,
    slot_bytes,
)
from tests.rtl.streams_bench import CROSS, Bench

HEADS, MAP, PASSES, TAIL, BUFFER = 0x1000, 0x2000, 0x3000, 0x8000, 0xC000
KV_HEADS, LAYERS, GROUPS = 3, 2, 8
PASS_TOKENS = 8
PASS_ENTRIES = 5
FIRST_CHANNEL, FIRST_DIE = 3, 1
STREAMS, STREAM = 8, 5


def geometry(channels=2):
    return dataclasses.replace(profile("tiny").geometry, channels=channels, page_bytes=128)


SEGMENT = 0xABCDE


def sequence(head_dim, page_bytes, format=0):
    group_tokens = page_bytes // (2 * head_dim)
    return dict(
        state=1,
        format=format,
        head_dim=head_dim,
        kv_heads=KV_HEADS,
        layers=LAYERS,
        max_tokens=GROUPS * group_tokens,
        groups=GROUPS,
        heads=HEADS,
        map=MAP,
        tail=TAIL,
        group_tokens=group_tokens,
        pass_groups=PASS_TOKENS // group_tokens,
        pass_rest=PASS_TOKENS % group_tokens,
        pass_entries=PASS_ENTRIES,
        passes=PASSES,
        first_channel=FIRST_CHANNEL,
        first_die=FIRST_DIE,
        stream=STREAM,
    )


FRACTION_BITS, TOP_FIELD = {0: 10, 1: 7}, {0: 31, 1: 255}


def values(rng, tokens, head_dim, format=0, bad=False):
    """Bit patterns of K or V of some tokens, over a random range of exponents."""
    fraction, most = FRACTION_BITS[format], TOP_FIELD[format]
    top = rng.integers(0, most)
    bits = (
        rng.integers(0, 2, (tokens, head_dim)) << 15
        | rng.integers(max(0, top - 6), top + 1, (tokens, head_dim)) << fraction
        | rng.integers(0, 1 << fraction, (tokens, head_dim))
    ).astype(np.uint16)
    if bad:
        special = rng.choice([0, 1 << 15, 1]) | most << fraction
        bits[rng.integers(tokens), rng.integers(head_dim)] = special
    return bits


def numbers(bits, format):
    """The values of bit patterns, as float64."""
    if format:
        return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return bits.view(np.float16).astype(np.float64)


def block_exponent(bits, format):
    """From the values themselves: floor(log2) of the largest finite one, as an exponent field."""
    x = np.abs(numbers(bits, format))
    largest = np.max(x[np.isfinite(x)], initial=0)
    bias = 127 if format else 15
    return max(int(np.floor(np.log2(largest))) + bias, 1) - 1 if largest else 0


class Model:
    """What device DRAM, allocator and flash must look like; one head at a time."""

    def __init__(self, seq, geo):
        self.seq, self.geo = seq, geo
        self.heads = {}  # index -> dict: tokens, flash_groups, kinds: uint16 [tokens][d] stored
        self.programs = []  # (channel, die, row, bytes)
        self.dealt = [0] * geo.channels
        self.map = {}

    def page(self, channel, index, kind, group):
        """Pages as this test's allocator deals them: on the die wanted.

        The passes of all layers in the order of reading begin a die apart, and another one after
        each round of the dies; the pages of a pass lie apart as their numbers' bits, reversed.
        """
        n = self.dealt[channel]
        self.dealt[channel] += 1
        layer, head = divmod(index, self.seq["kv_heads"])
        number = group // self.geo.channels
        last = self.seq["kv_heads"] - 1
        order = [(0, 0)] + [(h + 1 - k, k) for h in range(last) for k in (0, 1)] + [(last, 1)]
        before = len(order) * layer
        bits = (self.geo.dies - 1).bit_length()
        apart = int(f"{number % (1 << bits):0{bits}b}"[::-1], 2) if bits else 0
        die = before + before // (1 << bits) + order.index((head, kind)) + apart + FIRST_DIE
        return die % self.geo.dies, 1000 * (channel + 1) + n

    def head(self, index):
        empty = np.zeros((0, self.seq["head_dim"]), np.uint16)
        return self.heads.setdefault(index, {"groups": 0, "kv": [empty, empty]})

    def program(self, index, kind, group):
        tokens = self.seq["group_tokens"]
        channel = (group + 3 * index + FIRST_CHANNEL) % self.geo.channels
        die, row = self.page(channel, index, kind, group)
        page = self.head(index)["kv"][kind][group * tokens : (group + 1) * tokens]
        self.programs.append((channel, die, row, page.tobytes()))
        self.map[index, group, kind] = (row, die)

    def append(self, index, k, v, defer):
        head = self.head(index)
        size = self.seq["group_tokens"]
        start = head["groups"]
        head["kv"] = [np.concatenate([old, new]) for old, new in zip(head["kv"], (k, v))]
        total = len(head["kv"][0])
        groups = total // size
        due = bool(len(k) and defer and total % size == 0)  # the last group stays in the tail
        for kind in (0, 1):
            for group in range(start, groups - due):
                self.program(index, kind, group)
        head["groups"] = groups - due
        return due

    def flush(self, index):
        head = self.head(index)
        for kind in (0, 1):
            self.program(index, kind, head["groups"])
        head["groups"] += 1

    def entry(self, index):
        head = self.head(index)
        total = len(head["kv"][0])
        rest = total // PASS_TOKENS * PASS_TOKENS
        return dict(
            tokens=total,
            flash_groups=head["groups"],
            tail_tokens=total - head["groups"] * self.seq["group_tokens"],
            **self.facts(index, slice(rest, total)),
        )

    def facts(self, index, tokens):
        """Block exponents and marks of some tokens of a head."""
        facts = {}
        for name, x in zip("kv", self.head(index)["kv"]):
            facts[f"{name}_bad"] = not np.isfinite(numbers(x[tokens], self.seq["format"])).all()
            facts[f"{name}_exp"] = block_exponent(x[tokens], self.seq["format"])
        return facts

    def full_passes(self, index):
        """The pass entries of a head."""
        total = len(self.head(index)["kv"][0])
        return [
            self.facts(index, slice(at, at + PASS_TOKENS))
            for at in range(0, total // PASS_TOKENS * PASS_TOKENS, PASS_TOKENS)
        ]


def build(seq, geo, **changes):
    dut = AppendPath(geo, PASS_TOKENS, STREAMS)
    bench = Bench(dut, timeout=20000, **changes)
    read = bench.memory(dut.read, 1 << 16, latency=4)
    write = bench.memory(dut.write, 1 << 16, latency=4)
    read.bytes = write.bytes  # one DRAM
    return dut, bench, write


def allocator(bench, dut, geo, available=lambda: True):
    """Answers each wish with the channel's next row on the die wanted; slots come in turn."""
    bench.source(dut.slot, [n % program_slots(geo) for n in range(200)])
    dealt = [0] * geo.channels

    class Driver:
        signals = [dut.o_wish.valid, dut.o_wish.ready, dut.page.valid, dut.page.ready]
        wish = None

        def drive(self, ctx, frozen):
            if ctx.get(dut.o_wish.valid):
                wish = ctx.get(dut.o_wish.payload)
                assert wish.stream == STREAM
                self.offered = (wish.channel, wish.die)
            ctx.set(dut.o_wish.ready, self.wish is None)
            if self.wish:
                channel, die = self.wish
                row = 1000 * (channel + 1) + dealt[channel]
                ctx.set(dut.page.payload, {"die": die, "row": row})
            ctx.set(dut.page.valid, bool(self.wish) and available())

        def observe(self, clock, wish_valid, wish_ready, valid, ready):
            if wish_valid and wish_ready:
                self.wish = self.offered
            elif valid and ready:
                dealt[self.wish[0]] += 1
                self.wish = None
            return bool(wish_valid and wish_ready or valid and ready)

    bench.drivers.append(Driver())


def same(entry, wanted, index):
    got = {name: entry[name] for name in wanted}
    for kind in "kv":
        if wanted[f"{kind}_bad"]:  # the exponent means nothing then
            got[f"{kind}_exp"] = wanted[f"{kind}_exp"]
    assert got == {name: int(value) for name, value in wanted.items()}, f"head {index}"


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


class WithUnits(wiring.Component):
    """The append path, and what makes its units."""

    def __init__(self, config):
        self.config = config
        unit_tokens = config.codeword_bytes // 2
        self.path = AppendPath(
            config.flash.geometry, PASS_TOKENS, STREAMS, unit_tokens, config.bounds
        )
        ports = dict.fromkeys(("read", "write"), Out(MemoryPortSignature()))
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        m.submodules.path = path = self.path
        writes, _ = connect_units(m, self.config, path)
        connect(m, path.read, flipped(self.read))
        m.submodules.port = port = PortArbiter(readers=1, writers=1 + len(writes))
        for write, shared in zip((path.write, *writes), port.writers):
            for name in ("aw", "w", "b"):
                connect(m, getattr(write, name), getattr(shared, name))
        connect(m, port.port, flipped(self.write))
        return m


COLUMNS, UNIT, DIM = 0x4000, 8, 16
"""The table of K by channel; groups of a unit, of 4 tokens of 16 channels: 8 pages."""

UNIT_TOKENS = 4 * UNIT
"""Of bounds, too: 4 groups of 8 tokens, a block, half a page."""


class Units:
    """An append path for a sequence that has K by channel, or bounds, and what it writes."""

    def __init__(self, *, head, tokens=0, groups=19, bounds=False, stall=0.0, backpressure=0.0):
        """A head that holds ``tokens``, of which whole units were made."""
        page_bytes = 256 if bounds else 128
        self.geo = geo = dataclasses.replace(geometry(2), page_bytes=page_bytes)
        self.head, self.groups, self.index = head, groups, KV_HEADS + head
        self.bounds = bounds
        self.group = page_bytes // (2 * DIM)
        self.unit_groups = unit_groups = UNIT_TOKENS // self.group
        self.pages = 1 if bounds else unit_groups  # of a unit
        seq = sequence(DIM, geo.page_bytes) | {
            "groups": groups,
            "columns": COLUMNS,
            "unit_groups": unit_groups,
            "bounds": bounds,
            "segment": SEGMENT,
        }
        self.dut = WithUnits(
            SimpleNamespace(
                flash=SimpleNamespace(geometry=geo),
                codeword_bytes=8 * DIM if bounds else 2 * UNIT_TOKENS,
                max_head_dim=DIM,
                bounds=bounds,
            )
        )
        self.path = self.dut.path
        self.bench = bench = Bench(self.dut, timeout=30_000, stall=stall, backpressure=backpressure)
        self.dram = bench.memory(self.dut.write, 1 << 16, latency=4)
        bench.memory(self.dut.read, 1 << 16, latency=4).bytes = self.dram.bytes
        allocator(bench, self.path, geo)
        self.before = {
            "tokens": tokens,
            "flash_groups": tokens // self.group,
            "tail_tokens": tokens % self.group,
            "column_pages": tokens // UNIT_TOKENS * self.pages,
        }
        self.dram.put(HEADS + 16 * self.index, HEAD.pack(**self.before))
        self.dram.put(COLUMNS, b"\xee" * 4 * groups * KV_HEADS * LAYERS)

        def settings(ctx):
            ctx.set(self.path.sequence.as_value(), int.from_bytes(SEQUENCE.pack(**seq), "little"))
            ctx.set(self.path.layer, 1)
            ctx.set(self.path.buffer, BUFFER)
            yield

        bench.script(settings)
        self.found = []
        bench.sink(self.path.o_order, then=self._fetch)

    def _fetch(self, order):
        at = BUFFER + order["slot"] * slot_bytes(self.geo)
        place = SLOT_HEADER.unpack(self.dram.bytes[at : at + SLOT_HEADER.size])
        page = bytes(self.dram.bytes[at + SLOT_HEADER.size :][: 8 * place["words"]])
        meta = PAGE_META.unpack(place["meta"].to_bytes(8, "little"))
        assert (meta["index"], meta["segment"]) == (self.index, SEGMENT)
        self.found.append((meta["kind"], meta["group"], place, page))

    def run(self, requests, words):
        """Requests one after the other; the head's entry after each."""
        requests = [{"head": self.head, **request} for request in requests]
        source = self.bench.source(self.path.i)
        answers = self.bench.sink(
            self.path.o, then=lambda _: requests and source.items.append(requests.pop(0))
        )
        wanted = len(requests)
        source.items.append(requests.pop(0))
        self.bench.source(self.path.i_words, words.reshape(-1).view("<u8").tolist())
        self.bench.run(lambda: len(answers.items) == wanted, idle=30)
        stored = self.dram.bytes[HEADS + 16 * self.index :][:16]
        assert int(answers.items[-1]["head"]).to_bytes(16, "little") == stored
        return answers.items, HEAD.unpack(stored)

    def check_columns(self, k, first=0):
        """Pages of units from ``first`` on, against K from there on."""
        found = [page for page in self.found if page[0] == PageKind.COLUMNS]
        units = len(k) // UNIT_TOKENS
        numbers = range(first * self.pages, (first + units) * self.pages)
        assert [number for _, number, _, _ in found] == list(numbers)
        parts = [k[n * UNIT_TOKENS :][:UNIT_TOKENS] for n in range(units)]
        parts = [encode(x.view(np.float16)) if self.bounds else x.T for x in parts]
        assert b"".join(page for *_, page in found) == b"".join(x.tobytes() for x in parts)
        entries = dict.fromkeys(range(self.groups * KV_HEADS * LAYERS), b"\xee" * 4)
        for _, number, place, _ in found:
            channel = column_channel(number, self.pages, self.index, 2, FIRST_CHANNEL)
            die = column_die(
                number, self.pages, self.index, self.head, KV_HEADS, 2, self.geo.dies, FIRST_DIE
            )
            assert (place["channel"], place["die"]) == (channel, die)
            entry = (die << 24 | place["row"]).to_bytes(4, "little")
            entries[
                self.index * self.groups // (self.unit_groups if self.bounds else 1) + number
            ] = entry
        size = 4 * len(entries)
        assert self.dram.bytes[COLUMNS : COLUMNS + size] == b"".join(entries.values())


of_both = pytest.mark.parametrize(
    "stall, backpressure, bounds",
    [(*case, False) for case in CROSS] + [(*case, True) for case in (CROSS[0], CROSS[3])],
)


@of_both
@pytest.mark.parametrize("head, groups", [(0, 19), (2, 18)])
@pytest.mark.parametrize("spoiled", [False, True])
def test_a_unit_of_words_that_come_for_it(head, groups, spoiled, stall, backpressure, bounds):
    """Its pages' entries may begin with an odd one; nothing is written of words that are wrong."""
    units = Units(
        head=head,
        tokens=UNIT_TOKENS,
        groups=groups,
        bounds=bounds,
        stall=stall,
        backpressure=backpressure,
    )
    tokens = 2 * UNIT_TOKENS + 3
    behind = units.before | {
        "tokens": tokens,
        "flash_groups": tokens // units.group,
        "tail_tokens": 3,
    }
    units.dram.put(HEADS + 16 * units.index, HEAD.pack(**behind))
    k = values(np.random.default_rng(7), UNIT_TOKENS, DIM)

    def say(ctx):
        ctx.set(units.path.spoiled, spoiled)
        yield

    units.bench.script(say)
    answers, entry = units.run([{}, {"columns": 1}, {}], k)
    assert [answer["unit_due"] for answer in answers] == [1, int(spoiled), int(spoiled)]
    made = {"column_pages": units.pages if spoiled else 2 * units.pages}
    assert entry == HEAD.unpack(HEAD.pack(**behind | made))
    units.check_columns(k[:0] if spoiled else k, 1)


@of_both
@pytest.mark.parametrize(
    "before, tokens, made",
    [
        (0, UNIT_TOKENS, 1),
        (0, 2 * UNIT_TOKENS + 5, 2),
        (UNIT_TOKENS, UNIT_TOKENS + 1, 1),
        (0, UNIT_TOKENS - 1, 0),
        (8, UNIT_TOKENS + 8, 0),  # begins within a unit: it is left to be read back
        (2, UNIT_TOKENS, 0),
    ],
)
def test_units_that_an_append_brings(before, tokens, made, stall, backpressure, bounds):
    """K, V and passes are what they are without; the units go out as soon as they are whole."""
    units = Units(head=1, tokens=before, bounds=bounds, stall=stall, backpressure=backpressure)
    k, v = values(np.random.default_rng(tokens), 2 * tokens, DIM).reshape(2, tokens, DIM)
    answers, entry = units.run([{"tokens": tokens}], np.stack([k, v]))
    in_units = (before // UNIT_TOKENS + made + 1) * UNIT_TOKENS
    assert answers[0]["unit_due"] == (before + tokens >= in_units)
    assert entry["tokens"] == before + tokens
    assert entry["column_pages"] == units.before["column_pages"] + made * units.pages
    units.check_columns(k[: made * UNIT_TOKENS], before // UNIT_TOKENS)
    if before % units.group == 0:
        for kind, x in ((PageKind.K, k), (PageKind.V, v)):
            pages = [page for of, _, _, page in units.found if of == kind]
            assert b"".join(pages) == x[: tokens // units.group * units.group].tobytes()
        rest = (before + tokens) // PASS_TOKENS * PASS_TOKENS - before
        assert entry["k_exp"] == (block_exponent(k[rest:], 0) if rest < tokens else 0)
