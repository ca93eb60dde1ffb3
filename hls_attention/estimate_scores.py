"""Estimated scores: sums of columns and of tokens to scores, and the largest one per head.

::

    products --> column sums (units of K by channel) --+--> score kernel --> o_score
             '-> unit sums (tokens beyond them) -------'          '--> largest per head --> o_report

Scores leave in the order of the channel's tokens (`hls_attention.token_order`), heads within
tokens; those of a unit of bounds once for each of its tokens. As in `hls_attention.score_path` the
end follows the last score as a marker.
"""

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import kernels
from .beats import JOB_BITS, LANES_FP16
from .column_sums import ColumnSums
from .hls import Pipeline
from .messages import (
    REFERENCE_BITS,
    SCORE_BITS,
    beat_meta_layout,
    estimate_layout,
    product_layout,
    report_layout,
)
from .score_path import ceiling
from .unit_sums import TOTAL_BITS, UnitSums

__all__ = ["EstimateScores"]


class EstimateScores(wiring.Component):
    """Makes estimated scores of products.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    estimate : In(estimate_layout)
    i_valid, i_meta, i_products, i_early, i_early_meta : In
        From the beat front; beats of the passes are ignored.
    o_valid, o_score : Out
        A score, for this clock only.
    o_report : Out(stream(report_layout))
        At the end of an estimate.
    drained : Out(1)
        Pulse, see `ColumnSums`.
    busy : Out(1)
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "estimate": In(estimate_layout(config)),
                "i_valid": In(1),
                "i_meta": In(beat_meta_layout(config)),
                "i_products": In(product_layout()).array(config.max_heads, LANES_FP16),
                "i_early": In(1),
                "i_early_meta": In(beat_meta_layout(config)),
                "o_valid": Out(1),
                "o_score": Out(signed(SCORE_BITS)),
                "o_report": Out(stream.Signature(report_layout(config))),
                "drained": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, meta, estimate = self._config, self.i_meta, self.estimate
        heads = config.max_heads
        m.submodules.columns = columns = ColumnSums(config)
        m.submodules.tokens = tokens = UnitSums(config)
        of_tokens = self.i_valid & meta.estimate & (~meta.column | meta.null)
        m.d.comb += [
            columns.heads.eq(estimate.heads),
            columns.i_valid.eq(self.i_valid),
            columns.i_early.eq(self.i_early),
            columns.i_meta.eq(meta),
            columns.i_early_meta.eq(self.i_early_meta),
            tokens.i_valid.eq(of_tokens),
            tokens.i_meta.eq(meta),
            self.drained.eq(columns.drained),
        ]
        for sink in (columns, tokens):
            m.d.comb += [
                sink.i_products[head][lane].eq(self.i_products[head][lane])
                for head in range(heads)
                for lane in range(LANES_FP16)
            ]

        # A token waits here while its heads enter; it has more beats than there are heads, and of a
        # unit of bounds the gate lets the next one come no earlier.
        held = [Signal(signed(TOTAL_BITS), name=f"held_{head}") for head in range(heads)]
        head = Signal(range(heads))
        place, held_place = Signal(JOB_BITS), Signal(JOB_BITS)
        running, ending, marker = Signal(), Signal(), Signal()
        poisoned = Signal()
        more, again = Signal(2), Signal(2)  # tokens beyond this one that get the same scores
        with m.If(of_tokens & meta.last_of_unit):
            m.d.sync += place.eq(meta.place)
            if config.bounds:
                m.d.sync += more.eq(meta.more)
        with m.If(running):
            m.d.sync += head.eq(head + 1)
            with m.If(head == estimate.heads - 1):
                m.d.sync += [head.eq(0), again.eq(again - 1), running.eq(again != 0)]
        with m.If(tokens.o_whole):
            m.d.sync += [held[n].eq(tokens.o_totals[n]) for n in range(heads)]
            m.d.sync += [running.eq(1), head.eq(0), held_place.eq(place), again.eq(more)]
        m.d.comb += marker.eq(ending & ~running & ~tokens.o_whole)
        m.d.sync += ending.eq((ending & ~marker) | tokens.o_end)
        with m.If(tokens.o_end):
            m.d.sync += poisoned.eq(tokens.o_poisoned)

        tags = data.StructLayout({"head": head.shape(), "end": 1})
        m.submodules.score = score = Pipeline(kernels.score, clock_hz=config.clock_hz, meta=tags)
        sums, port = columns.o.payload, score.i.payload
        number, of = Signal.like(head), Signal(JOB_BITS)
        m.d.comb += [
            columns.o.ready.eq(~running & ~marker),
            number.eq(Mux(running, head, sums.head)),
            of.eq(Mux(running, held_place, sums.place)),
            score.i.valid.eq(running | marker | columns.o.valid),
            port.acc.eq(Mux(running, Array(held)[head], sums.acc)),
            port.q_bf16.eq(estimate.q_bf16),
            port.k_bf16.eq(estimate.k_bf16),
            port.q_exp.eq(estimate.q_exp[number]),
            port.scale_mant.eq(estimate.scale_mant[number]),
            port.scale_exp.eq(estimate.scale_exp[number]),
            port.k_exp.eq(estimate.k_exp[of]),
            port.meta.head.eq(number),
            port.meta.end.eq(marker),
            score.o.ready.eq(1),
        ]
        self._report(m, score.o, poisoned)
        m.d.comb += self.busy.eq(
            columns.busy | tokens.busy | of_tokens | running | ending | score.busy
        )
        return m

    def _report(self, m, scores, poisoned):
        """Keep the largest score of each head, report at the marker."""
        heads, report = self._config.max_heads, self.o_report
        fresh = Signal(heads, init=-1)
        result, tags = scores.payload, scores.payload.meta
        m.d.comb += [self.o_valid.eq(scores.valid & ~tags.end), self.o_score.eq(result.s)]
        largest = [Signal(signed(SCORE_BITS), name=f"largest_{head}") for head in range(heads)]
        with m.If(report.ready):
            m.d.sync += report.valid.eq(0)
        with m.If(scores.valid & tags.end):
            m.d.sync += [
                report.valid.eq(1),
                report.payload.empty.eq(fresh[0]),
                report.payload.poisoned.eq(poisoned),
                *[
                    report.payload.m[head].eq(ceiling(largest[head])[:REFERENCE_BITS])
                    for head in range(heads)
                ],
                fresh.eq(-1),
            ]
        with m.Elif(scores.valid):
            m.d.sync += fresh.bit_select(tags.head, 1).eq(0)
            for head in range(heads):
                replaces = fresh[head] | (result.s > largest[head])
                with m.If((tags.head == head) & replaces):
                    m.d.sync += largest[head].eq(result.s)
