"""The executor between host memory and device DRAM: what each command does, what is refused.

Sequence reader, append path, transposer and result writer are the real ones; drivers stand for
engine, walker and flash::

    SQE --> Executor --> completion      host memory <-> Executor, page list, ResultWriter
               |  \\--> jobs, q, walks (collected; the engine's results are numbered words)
               '--> SequenceReader, AppendPath <-> device DRAM
"""

import dataclasses
import random
import struct

import numpy as np
import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from flash_model.profiles import profile
from rtl.append.path import AppendPath
from rtl.commands import (
    CAPABILITY,
    CAPABILITY_MAGIC,
    FIRMWARE,
    JOB,
    JOB_STATUS,
    SQE,
    SQE_VIEWS,
    AttendMode,
    Opcode,
    Status,
)
from rtl.config import DriveConfig
from rtl.executor.executor import Executor
from rtl.executor.read import capability_page
from rtl.memory import PortArbiter
from rtl.memory_port import MemoryPortSignature
from rtl.result_writer import ResultWriter
from rtl.sequence_reader import SequenceReader
from rtl.sparse.transposer import Transposer, pages_together
from rtl.tables import (
    HEAD,
    MAP_ENTRY,
    PASS,
    SEQUENCE,
    SLOT_HEADER,
    SequenceState,
    bounds_groups,
    program_slots,
    slot_bytes,
)
from tests.rtl.streams_bench import Bench

CONFIG = DriveConfig.preset("tiny", max_attend=4096, channels=2, pass_tokens=64)
SPARSE = dataclasses.replace(CONFIG, pass_tokens=256, sparse_tokens=512)
"""The same with sparse attention, and passes of a unit of K by channel."""
BOUNDED = dataclasses.replace(SPARSE, bounds=True)
GEOMETRY = dataclasses.replace(profile("tiny").geometry)
PAGE, HEAD_DIM, KV_HEADS, LAYERS = 4096, 64, 2, 2
GROUP = GEOMETRY.page_bytes // (2 * HEAD_DIM)
HOST, DRAM = 32 * PAGE, 1 << 17
WINDOW = (PAGE, 31 * PAGE)
DATA, RESULT = 4 * PAGE, 24 * PAGE
TABLE, HEADS, MAP, PASSES, BUFFER, TAIL = 0x0, 0x1000, 0x2000, 0x4000, 0x8000, 0x14000
COLUMNS, UNIT_GROUPS = 0x3000, 2
SCALE = {"scale_mant": 1 << 25, "scale_exp": 0x3D}


class Front(wiring.Component):
    """Executor, what it relies on, and the memories, shared as in the drive."""

    def __init__(self, config):
        self.executor = Executor(config)
        self.append = AppendPath(GEOMETRY, config.pass_tokens)
        self.sequences = SequenceReader(config.max_sequences)
        self.results = ResultWriter()
        self.transposer = Transposer(
            pages_together(GEOMETRY.page_bytes) * GEOMETRY.page_bytes // 8, config.codeword_bytes
        )
        super().__init__(
            {
                "host": Out(MemoryPortSignature()),
                "dram": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.executor = executor = self.executor
        m.submodules.append = append = self.append
        m.submodules.sequences = sequences = self.sequences
        m.submodules.results = results = self.results
        m.submodules.transposer = transposer = self.transposer
        m.submodules.host_ports = host = PortArbiter(readers=2, writers=2)
        m.submodules.dram_ports = dram = PortArbiter(readers=3, writers=2)
        connect(m, executor.o_sequence, sequences.i)
        connect(m, sequences.o, executor.i_sequence)
        connect(m, executor.o_append, append.i)
        connect(m, executor.o_words, append.i_words)
        connect(m, append.o, executor.i_append)
        connect(m, executor.o_results, results.i)
        connect(m, append.o_transpose, transposer.i)
        connect(m, append.o_transpose_words, transposer.i_words)
        m.d.comb += [
            executor.outcome.eq(results.outcome),
            executor.results_busy.eq(results.busy),
            results.clear.eq(executor.clear_outcome),
            sequences.table.eq(TABLE),
            executor.sequence.eq(sequences.sequence),
            append.sequence.eq(sequences.sequence),
            append.layer.eq(sequences.layer),
        ]
        read, write = ("ar", "r"), ("aw", "w", "b")
        for port, shared, names in (
            (executor.host_list, host.readers[0], read),
            (executor.host_data, host.readers[1], read),
            (executor.host_data, host.writers[0], write),
            (results.write, host.writers[1], write),
            (sequences.read, dram.readers[0], read),
            (append.read, dram.readers[1], read),
            (executor.dram, dram.readers[2], read),
            (append.write, dram.writers[0], write),
            (transposer.write, dram.writers[1], write),
        ):
            for name in names:
                connect(m, getattr(port, name), getattr(shared, name))
        connect(m, host.port, flipped(self.host))
        connect(m, dram.port, flipped(self.dram))
        m.d.comb += [
            append.buffer.eq(BUFFER),
            append.spoiled.eq(executor.spoiled),
            append.room.eq(transposer.room),
            append.transposed.eq(transposer.settled),
            append.unit_failed.eq(transposer.failed),
        ]
        blocks = executor, append, sequences, results, transposer
        m.d.comb += self.quiet.eq(Cat(block.quiet for block in blocks).all())
        return m


class Harness:
    """One `Front` and its surroundings; `do` runs commands one after the other."""

    def __init__(self, stall=0.0, bad=(), config=CONFIG):
        self.config = config
        self.dut = dut = Front(config)
        self.bench = bench = Bench(dut, timeout=20000, stall=stall, backpressure=stall)
        x = dut.executor
        self.host = bench.memory(dut.host, HOST, latency=6, bad=bad)
        self.dram = bench.memory(dut.dram, DRAM, latency=3)
        self.jobs = bench.sink(x.o_jobs, then=self._engine)
        self.q, self.walks = (bench.sink(port) for port in (x.o_q, x.o_walk))
        if config.sparse_tokens:
            ports = x.o_selections, x.o_selection_q, x.o_columns, x.o_tokens
            self.selections, self.selection_q, self.columns, self.tokens = map(bench.sink, ports)
        self.engine = bench.source(dut.results.i_results)
        self.orders = bench.sink(dut.append.o_order, then=self._fetch)
        self.pages = []  # words of pages to be programmed
        bench.source(dut.append.slot, [n % program_slots(GEOMETRY) for n in range(200)])
        bench.sink(dut.append.o_wish)
        bench.source(dut.append.page, [{"die": n % 2, "row": 100 + n} for n in range(200)])
        self.readback = bench.source(x.i_readback)
        self.commands = bench.source(x.i)
        self.waiting = []
        self.words = 0x1000
        self.done = bench.sink(x.o, then=self._next)
        rng = random.Random(8)
        self.host.put(0, rng.randbytes(HOST))
        self.sequence(0)
        self.sequence(1, state=SequenceState.CLOSED)
        self.sequence(2, state=SequenceState.FREE)

    def sequence(self, number, **changes):
        self.dram.put(
            TABLE + 64 * number,
            SEQUENCE.pack(
                **{
                    "state": SequenceState.OPEN,
                    "head_dim": HEAD_DIM,
                    "kv_heads": KV_HEADS,
                    "layers": LAYERS,
                    "max_tokens": 4 * GROUP,
                    "groups": 4,
                    "heads": HEADS,
                    "map": MAP,
                    "tail": TAIL,
                    "group_tokens": GROUP,
                    "pass_groups": self.config.pass_tokens // GROUP,
                    "pass_rest": self.config.pass_tokens % GROUP,
                    "pass_entries": 4,
                    "passes": PASSES,
                    "first_channel": 1,
                    **changes,
                }
            ),
        )

    def head(self, layer, head):
        at = HEADS + 16 * (layer * KV_HEADS + head)
        return HEAD.unpack(self.dram.bytes[at : at + 16])

    def _engine(self, job):
        """Result words of a job: counted up, so that one tells them apart."""
        count = job["heads"] * (4 * job["beats"] + 2 if job["partial"] else job["beats"])
        count *= job["partial"] or job["last"]
        words = [{"data": self.words + n} for n in range(count)]
        self.words += count
        if job["last"]:
            words[-1]["last"] = 1
        self.engine.items += words

    def result(self, at, count):
        """Status and words of a job whose result lies at an offset."""
        status = JOB_STATUS.unpack(self.host.bytes[RESULT + at : RESULT + at + 8])
        return status, self.host.words(RESULT + at + 8, count)

    def _fetch(self, order):
        at = BUFFER + order["slot"] * slot_bytes(GEOMETRY) + SLOT_HEADER.size
        self.pages += self.dram.words(at, GEOMETRY.page_bytes // 8)

    def _next(self, _):
        if self.waiting:
            self.commands.items.append(self.waiting.pop(0))

    def do(self, *sqes, script=None, idle=250):
        """Completions as (status, result, index)."""
        self.waiting = [int.from_bytes(sqe, "little") for sqe in sqes]
        self._next(None)
        x = self.dut.executor

        def settings(ctx):
            ctx.set(x.window_base, WINDOW[0])
            ctx.set(x.window_end, WINDOW[1])
            if script:
                yield from script(ctx)
            yield

        self.bench.script(settings)
        self.bench.run(lambda: len(self.done.items) == len(sqes), idle=idle)
        return [(Status(c["status"]), c["result"], c["index"]) for c in self.done.items]


def sqe(opcode, view=None, **fields):
    """A command with nsid 1, data at DATA; ``view`` holds fields of the opcode's own view."""
    name = {
        Opcode.ATTEND: "attend",
        Opcode.STEP: "attend",
        Opcode.READ_KV: "read_kv",
        Opcode.OPEN: "open",
    }.get(opcode)
    raw = SQE.pack(
        **{"opcode": opcode, "nsid": 1, "cid": 7, "prp1": DATA, "prp2": DATA + PAGE, **fields}
    )
    over = SQE_VIEWS[name].pack(**view) if view else bytes(64)
    return bytes(a | b for a, b in zip(raw, over))


def append(tokens, layer=0, sequence=0, **fields):
    return sqe(Opcode.APPEND, sequence=sequence, layer=layer, tokens=tokens, **fields)


def attend(jobs, size=None, opcode=Opcode.ATTEND, count=None, mode=0, partials=0, **fields):
    """SQE and job list of an ATTEND or STEP; q after the list, then k and v, per job."""
    raw, at, result = b"", len(jobs) * JOB.size, 0
    for job in jobs:
        job = {"sequence": 0, "layer": 0, "queries": 2, **job}
        q = job["queries"] * KV_HEADS * HEAD_DIM * 2
        raw += JOB.pack(**{"q_offset": at, "kv_offset": at + q, "result_offset": result, **job})
        at += q + 4 * KV_HEADS * HEAD_DIM * (opcode == Opcode.STEP)
        result += JOB_STATUS.size + q
    view = {"jobs": len(jobs) if count is None else count, "bytes": size or at}
    view |= {"mode": mode, "partials": partials}
    return sqe(opcode, view, **{"result": RESULT, **SCALE, **fields}), raw


def words(raw):
    return list(struct.unpack(f"<{len(raw) // 8}Q", raw))


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
