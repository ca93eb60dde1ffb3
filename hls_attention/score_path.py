"""Score path: sums of the K pass to scores, and the largest one per head.

::

    products --> unit sums --> hold --> score kernel, one head after the other --> score memory
                                                                  '--> largest per head --> o_report

Scores are stored one after the other, heads within tokens, so that the weights read them back in
sequence. The end of a pass follows its last score through the same pipeline, as a marker.
"""

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import kernels
from .beats import LANES_FP16, Format
from .hls import Pipeline
from .messages import (
    COUNT_BITS,
    REFERENCE_BITS,
    SCORE_BITS,
    beat_meta_layout,
    descriptor_layout,
    of_bank,
    product_layout,
    report_layout,
)
from .unit_sums import TOTAL_BITS, UnitSums

__all__ = ["ScorePath", "ceiling", "next_score_row"]


def ceiling(score):
    """The smallest integer not below a score in signed 16.16."""
    return (score + 0xFFFF) >> 16


def next_score_row(config, bank, row):
    """Row of the next score. Beyond its capacity a bank keeps its last row; the job is poisoned."""
    last = Mux(bank, 2 * config.score_rows - 1, config.score_rows - 1)
    return row + (row != last)


class ScorePath(wiring.Component):
    """Makes scores of products.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_valid, i_meta, i_products : In
        From the beat front; beats of the V pass and of estimates are ignored.
    i_k : In(descriptor_layout) array
        Descriptor of each bank.
    w_en, w_addr, w_data : Out
        To the score memory: two banks of ``config.score_rows``.
    o_count : Out array
        For each bank, the scores of its last complete pass.
    o_report : Out(stream(report_layout))
        At most two passes may wait to be reported.
    busy : Out(1)
    """

    def __init__(self, config):
        self._config = config
        rows = 2 * config.score_rows
        super().__init__(
            {
                "i_valid": In(1),
                "i_meta": In(beat_meta_layout(config)),
                "i_products": In(product_layout()).array(config.max_heads, LANES_FP16),
                "i_k": In(descriptor_layout(config)).array(2),
                "w_en": Out(1),
                "w_addr": Out(range(rows)),
                "w_data": Out(SCORE_BITS),
                "o_count": Out(COUNT_BITS).array(2),
                "o_report": Out(stream.Signature(report_layout(config))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        heads = self._config.max_heads
        m.submodules.sums = sums = UnitSums(self._config)
        of_estimate = self.i_meta.estimate if self._config.sparse_tokens else 0
        m.d.comb += [
            sums.i_valid.eq(self.i_valid & ~of_estimate),
            sums.i_meta.eq(self.i_meta),
            *[
                sums.i_products[head][lane].eq(self.i_products[head][lane])
                for head in range(heads)
                for lane in range(LANES_FP16)
            ],
        ]

        # One unit waits here while the score pipeline takes its heads. A unit has more beats than
        # there are heads, so it is gone before the next one comes, and a marker finds a gap.
        held = [Signal(signed(TOTAL_BITS), name=f"held_{head}") for head in range(heads)]
        head = Signal(range(heads))
        running, bank = Signal(), Signal()
        pending, marker = Signal(range(3)), Signal()
        with m.If(running):
            m.d.sync += head.eq(head + 1)
            with m.If(head == of_bank(bank, self.i_k, "heads") - 1):
                m.d.sync += running.eq(0)
        with m.If(sums.o_whole):
            m.d.sync += [held[n].eq(sums.o_totals[n]) for n in range(heads)]
            m.d.sync += [running.eq(1), head.eq(0), bank.eq(sums.o_bank)]
        # A marker goes once the report before it is taken: a channel without tokens reports two
        # passes before the others have reported one.
        reporting = Signal()
        m.d.comb += marker.eq(~running & ~sums.o_whole & (pending != 0) & ~reporting)
        m.d.sync += pending.eq(pending + sums.o_end - marker)
        with m.If(marker):
            m.d.sync += reporting.eq(1)
        with m.Elif(self.o_report.valid & self.o_report.ready):
            m.d.sync += reporting.eq(0)
        poisoned = Signal(2)
        with m.If(sums.o_end):
            m.d.sync += poisoned.bit_select(sums.o_bank, 1).eq(sums.o_poisoned)

        tags = data.StructLayout({"head": head.shape(), "end": 1})
        m.submodules.score = score = Pipeline(
            kernels.score, clock_hz=self._config.clock_hz, meta=tags
        )
        q_exp = data.View(self.i_k[0].q_exp.shape(), of_bank(bank, self.i_k, "q_exp"))
        m.d.comb += [
            score.i.valid.eq(running | marker),
            score.i.payload.acc.eq(Array(held)[head]),
            score.i.payload.q_exp.eq(q_exp[head]),
            score.i.payload.q_bf16.eq(of_bank(bank, self.i_k, "q_bf16")),
            score.i.payload.k_bf16.eq(of_bank(bank, self.i_k, "format") == Format.BF16.value),
            *[
                score.i.payload[field].eq(of_bank(bank, self.i_k, field))
                for field in ("scale_mant", "scale_exp", "k_exp")
            ],
            score.i.payload.meta.head.eq(head),
            score.i.payload.meta.end.eq(marker),
            score.o.ready.eq(1),
        ]
        self._store(m, score.o, poisoned)
        m.d.comb += self.busy.eq(sums.busy | running | (pending != 0) | score.busy)
        return m

    def _store(self, m, scores, poisoned):
        """Store what the score pipeline gives, keep the largest, report at the marker."""
        config = self._config
        rows = config.score_rows
        bank = Signal()
        row = Signal(range(2 * rows))
        count = Signal(COUNT_BITS)
        overflow = Signal()
        saturated = Signal(config.max_heads)
        fresh = Signal(config.max_heads, init=-1)
        largest = [
            Signal(signed(SCORE_BITS), name=f"largest_{head}") for head in range(config.max_heads)
        ]
        result, tags = scores.payload, scores.payload.meta
        m.d.comb += [
            self.w_en.eq(scores.valid & ~tags.end),
            self.w_addr.eq(row),
            self.w_data.eq(result.s),
        ]
        report = self.o_report
        with m.If(report.ready):
            m.d.sync += report.valid.eq(0)
        with m.If(scores.valid & tags.end):
            m.d.sync += [
                report.valid.eq(1),
                report.payload.empty.eq(fresh[0]),
                report.payload.saturated.eq(saturated),
                report.payload.poisoned.eq(poisoned.bit_select(bank, 1) | overflow),
                *[
                    report.payload.m[head].eq(ceiling(largest[head])[:REFERENCE_BITS])
                    for head in range(config.max_heads)
                ],
                fresh.eq(-1),
                saturated.eq(0),
                overflow.eq(0),
                bank.eq(~bank),
                row.eq(Mux(bank, 0, rows)),
                count.eq(0),
            ]
            for index, total in enumerate(self.o_count):
                with m.If(bank == index):
                    m.d.sync += total.eq(count)
        with m.Elif(scores.valid):
            m.d.sync += [
                row.eq(next_score_row(config, bank, row)),
                count.eq(count + 1),
                overflow.eq(overflow | (count == rows)),
                saturated.eq(saturated | (result.saturated << tags.head)),
                fresh.bit_select(tags.head, 1).eq(0),
            ]
            for head in range(config.max_heads):
                replaces = fresh[head] | (result.s > largest[head])
                with m.If((tags.head == head) & replaces):
                    m.d.sync += largest[head].eq(result.s)
