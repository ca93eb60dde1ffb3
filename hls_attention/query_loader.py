"""Query loader: a job's query heads, quantised to one exponent per head, to all channels.

::

    i_jobs --> latch --.
    i_q --> head buffer (largest exponent) --> quantise x 4 --> o_writes (broadcast)
                                                             '-> o_descriptor after the last write

The queries of job ``n + 1`` are loaded while job ``n`` runs; those of ``n + 2`` wait until the K
pass of ``n`` is complete on every channel (``i_done``). A head takes two clocks per word.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from . import kernels
from .beats import EXPONENT_BITS, LANES_FP16, Format, job_layout
from .formats import BF16, FP16
from .hls import Pipeline
from .messages import descriptor_layout, merge_job_layout, query_write_layout
from .verilog import Shared
from .words import exponent_field

__all__ = ["QueryLoader"]

JOBS_AHEAD = 2
"""Query banks."""


class QueryLoader(wiring.Component):
    """Loads and quantises queries.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_jobs : In(stream(job_layout))
    i_q : In(stream(64))
        For each job ``heads * beats`` words of FP16, head after head.
    i_done : In(1)
        A K pass is complete on all channels: its query bank is free.
    o_writes, o_descriptor : Out(stream, always ready)
        To all channels; the descriptor comes after the last write.
    o_merge : Out(stream(merge_job_layout))
    busy : Out(1)
        A job is being loaded.
    active : Out(1)
        Something changes in this clock.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i_jobs": In(stream.Signature(job_layout(config.max_heads))),
                "i_q": In(stream.Signature(64)),
                "i_done": In(1),
                "o_writes": Out(stream.Signature(query_write_layout(config), always_ready=True)),
                "o_descriptor": Out(stream.Signature(descriptor_layout(config), always_ready=True)),
                "o_merge": Out(stream.Signature(merge_job_layout(config))),
                "busy": Out(1),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        job = Signal(job_layout(config.max_heads))
        bank = Signal()
        ahead = Signal(range(JOBS_AHEAD + 1))
        head = Signal(range(config.max_heads))
        row = Signal(range(config.max_beats))
        largest = Signal(EXPONENT_BITS)
        q_exp = Signal(data.ArrayLayout(EXPONENT_BITS, config.max_heads))
        bad = Signal(config.max_heads)
        last_row = row == job.beats - 1
        last_head = head == job.heads - 1

        q_bf16 = job.q_format == Format.BF16
        fields = [
            exponent_field(word, q_bf16)
            for word in (self.i_q.payload.word_select(lane, 16) for lane in range(LANES_FP16))
        ]
        word_exp = Signal(EXPONENT_BITS)
        pairs = [Mux(a > b, a, b) for a, b in (fields[:2], fields[2:])]
        word_field = Mux(pairs[0] > pairs[1], *pairs)
        m.d.comb += word_exp.eq(Mux(word_field == 0, 0, word_field - 1))
        word_bad = word_field == Mux(q_bf16, BF16.top_field, FP16.top_field)

        m.submodules.buffer = buffer = memory.Memory(shape=64, depth=config.max_beats, init=[])
        write = buffer.write_port()
        read = buffer.read_port()
        replay = Signal()
        m.d.comb += [
            write.addr.eq(row),
            write.data.eq(self.i_q.payload),
            read.addr.eq(row),
            read.en.eq(replay),
        ]

        replayed = Signal()
        replayed_row = Signal.like(row)
        m.d.sync += replayed.eq(replay)
        with m.If(replay):
            m.d.sync += replayed_row.eq(row)
        quantised = self.o_writes

        with m.FSM(name="state") as state:
            with m.State("IDLE"):
                m.d.comb += self.i_jobs.ready.eq(ahead != JOBS_AHEAD)
                with m.If(self.i_jobs.valid & self.i_jobs.ready):
                    m.d.sync += [job.eq(self.i_jobs.payload), bad.eq(0), head.eq(0), row.eq(0)]
                    m.d.sync += largest.eq(0)
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += self.i_q.ready.eq(1)
                with m.If(self.i_q.valid):
                    m.d.comb += write.en.eq(1)
                    m.d.sync += row.eq(row + 1)
                    with m.If(word_field > largest + 1):  # word_exp > largest
                        m.d.sync += largest.eq(word_exp)
                    with m.If(word_bad):
                        m.d.sync += bad.bit_select(head, 1).eq(1)
                    with m.If(last_row):
                        m.d.sync += row.eq(0)
                        m.next = "REPLAY"
            with m.State("REPLAY"):
                m.d.comb += replay.eq(1)
                m.d.sync += [row.eq(row + 1), q_exp[head].eq(largest)]
                with m.If(last_row):
                    m.next = "FLUSH"
            with m.State("FLUSH"):
                # The exponent may change once the head's last row has left the quantisers.
                with m.If(quantised.valid & (quantised.payload.row == job.beats - 1)):
                    m.d.sync += [largest.eq(0), row.eq(0), head.eq(head + 1)]
                    m.next = "LOAD"
                    with m.If(last_head):
                        m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o_merge.valid.eq(1)
                m.d.comb += self.o_descriptor.valid.eq(self.o_merge.ready)
                with m.If(self.o_merge.ready):
                    m.d.sync += bank.eq(~bank)
                    m.next = "IDLE"
        m.d.sync += ahead.eq(ahead + self.o_descriptor.valid - self.i_done)
        m.d.comb += [
            self.busy.eq(~state.ongoing("IDLE")),
            self.active.eq(
                (self.i_jobs.valid & self.i_jobs.ready)
                | (self.i_q.valid & self.i_q.ready)
                | state.ongoing("REPLAY")
                | state.ongoing("FLUSH")
                | self.o_descriptor.valid
                | self.i_done
            ),
        ]

        position = data.StructLayout({"row": row.shape()})
        for lane in range(LANES_FP16):
            quantise = Shared(
                "quantise_query",
                lambda: Pipeline(kernels.quantise_query, clock_hz=config.clock_hz, meta=position),
            )
            m.submodules[f"quantise_{lane}"] = quantise
            m.d.comb += [
                quantise.i.valid.eq(replayed),
                quantise.i.payload.x.eq(read.data.word_select(lane, 16)),
                quantise.i.payload.q_exp.eq(largest),
                quantise.i.payload.bf16.eq(q_bf16),
                quantise.i.payload.meta.row.eq(replayed_row),
                quantise.o.ready.eq(1),
                quantised.payload.q[lane].eq(quantise.o.payload.qi),
            ]
            if lane == 0:
                m.d.comb += [
                    quantised.valid.eq(quantise.o.valid),
                    quantised.payload.row.eq(quantise.o.payload.meta.row),
                ]
        m.d.comb += [quantised.payload.bank.eq(bank), quantised.payload.head.eq(head)]

        descriptor = self.o_descriptor.payload
        m.d.comb += [
            descriptor[name].eq(job[name])
            for name in (
                "tag",
                "heads",
                "beats",
                "format",
                "k_exp",
                "v_exp",
                "scale_mant",
                "scale_exp",
            )
        ]
        m.d.comb += [
            descriptor.bank.eq(bank),
            descriptor.q_exp.eq(q_exp),
            descriptor.q_bf16.eq(q_bf16),
        ]

        merge = self.o_merge.payload
        offset = FP16.aligned_unit - BF16.aligned_unit
        every_head = (job.k_bad | job.v_bad).replicate(config.max_heads)
        m.d.comb += [
            merge[name].eq(job[name])
            for name in ("tag", "first", "last", "partial", "heads", "beats")
        ]
        m.d.comb += [
            merge.v_exp.eq(job.v_exp - Mux(job.format == Format.BF16, offset, 0)),
            merge.bf16.eq(q_bf16),
            merge.nan.eq(bad | every_head | (job.together & bad.any()).replicate(len(bad))),
        ]
        return m
