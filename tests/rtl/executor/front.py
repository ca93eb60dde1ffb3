"""The executor between host memory and device DRAM, and commands for it.

Sequence reader, append path, transposer and result writer are the real ones; drivers stand for
engine, walker and flash::

    SQE --> Executor --> completion      host memory <-> Executor, page list, ResultWriter
               |  \\--> jobs, q, walks (collected; the engine's results are numbered words)
               '--> SequenceReader, AppendPath <-> device DRAM
"""

import dataclasses
import random
import struct

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from flash_model.profiles import profile
from rtl.append.path import AppendPath
from rtl.commands import (
    JOB,
    JOB_STATUS,
    SQE,
    SQE_VIEWS,
    Opcode,
    Status,
)
from rtl.config import DriveConfig
from rtl.executor.executor import Executor
from rtl.memory import PortArbiter
from rtl.memory_port import MemoryPortSignature
from rtl.result_writer import ResultWriter
from rtl.sequence_reader import SequenceReader
from rtl.sparse.transposer import Transposer, pages_together
from rtl.tables import (
    HEAD,
    SEQUENCE,
    SLOT_HEADER,
    SequenceState,
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
