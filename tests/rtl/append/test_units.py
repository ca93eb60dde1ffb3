"""Units of K by channel, and of bounds: of K words that come for them, or of those of an append."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from hls_attention.bounds_code import encode
from rtl.append.path import AppendPath
from rtl.drive.units import connect_units
from rtl.memory import PortArbiter
from rtl.memory_port import MemoryPortSignature
from rtl.tables import (
    HEAD,
    PAGE_META,
    SEQUENCE,
    SLOT_HEADER,
    PageKind,
    column_channel,
    column_die,
    slot_bytes,
)
from tests.rtl.append.bench import (
    BUFFER,
    FIRST_CHANNEL,
    FIRST_DIE,
    HEADS,
    KV_HEADS,
    LAYERS,
    PASS_TOKENS,
    SEGMENT,
    STREAMS,
    allocator,
    block_exponent,
    geometry,
    sequence,
    values,
)
from tests.rtl.streams_bench import CROSS, Bench


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
