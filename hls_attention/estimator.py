"""Estimator: of one channel, the estimated scores of a head, their sums of weights, their keys.

::

    products --> scores --> memory --+--> weights, added up per head --> o_sums     (1)
                    '--> o_report    '--> selection keys --> o_keys                 (2)

The scores are read once for the sums, when the references of all channels are known, and once for
the keys, when the sums are. With one query head there is nothing to divide by, and no sums are
made. The next estimate may begin when the last score has been read for its key (``free``).
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import kernels
from .beats import LANES_FP16
from .estimate_scores import EstimateScores
from .hls import Pipeline
from .messages import (
    SCORE_BITS,
    WEIGHT_SUM_BITS,
    beat_meta_layout,
    estimate_layout,
    product_layout,
    report_layout,
)
from .selection_kernels import KEY_BITS
from .selection_keys import SelectionKeys, inverse_layout
from .streams import moves
from .verilog import Ram

__all__ = ["Estimator", "sums_layout"]


def sums_layout(config):
    """Sum of the weights of each head, LSB 2**-46."""
    return data.ArrayLayout(WEIGHT_SUM_BITS, config.max_heads)


class Estimator(wiring.Component):
    """Estimates of one channel.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    estimate : In(estimate_layout)
        Steady from before the first beat until ``free``.
    inverses : In(inverse_layout)
        References, steady from ``sum`` on, and 1 / Z, from ``select`` on.
    i_valid, i_meta, i_products, i_early, i_early_meta : In
        From the beat front.
    sum, select : In(1)
        Pulses: make sums; make keys.
    o_report : Out(stream(report_layout))
    o_sums : Out(stream(sums_layout))
    o_keys : Out(stream(23))
        A key a token, in token order.
    drained : Out(1)
        Pulse, see `ColumnSums`.
    free : Out(1)
    busy : Out(1)
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "estimate": In(estimate_layout(config)),
                "inverses": In(inverse_layout(config)),
                "i_valid": In(1),
                "i_meta": In(beat_meta_layout(config)),
                "i_products": In(product_layout()).array(config.max_heads, LANES_FP16),
                "i_early": In(1),
                "i_early_meta": In(beat_meta_layout(config)),
                "sum": In(1),
                "select": In(1),
                "o_report": Out(stream.Signature(report_layout(config))),
                "o_sums": Out(stream.Signature(sums_layout(config))),
                "o_keys": Out(stream.Signature(KEY_BITS)),
                "drained": Out(1),
                "free": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, estimate = self._config, self.estimate
        connect, flipped = wiring.connect, wiring.flipped
        m.submodules.scores = scores = EstimateScores(config)
        m.submodules.memory = memory = Ram(width=SCORE_BITS, depth=config.estimate_rows)
        m.submodules.keys = keys = SelectionKeys(config)
        tags = data.StructLayout({"head": range(config.max_heads)})
        m.submodules.weight = weight = Pipeline(kernels.weight, clock_hz=config.clock_hz, meta=tags)
        connect(m, scores.o_report, flipped(self.o_report))
        connect(m, keys.o, flipped(self.o_keys))

        count = Signal(range(config.estimate_rows + 1))
        m.d.comb += [
            scores.estimate.eq(estimate),
            scores.i_valid.eq(self.i_valid),
            scores.i_meta.eq(self.i_meta),
            scores.i_early.eq(self.i_early),
            scores.i_early_meta.eq(self.i_early_meta),
            *[
                scores.i_products[head][lane].eq(self.i_products[head][lane])
                for head in range(config.max_heads)
                for lane in range(LANES_FP16)
            ],
            self.drained.eq(scores.drained),
            memory.w_en.eq(scores.o_valid),
            memory.w_addr.eq(count),
            memory.w_data.eq(scores.o_score),
            keys.heads.eq(estimate.heads),
            keys.inverses.eq(self.inverses),
        ]
        with m.If(scores.o_valid):
            m.d.sync += count.eq(count + 1)

        # Read all scores in order; one that has been read waits until it is taken.
        row = Signal.like(count)
        head = Signal(range(config.max_heads))
        have, read_head = Signal(), Signal.like(head)
        summing, takes, over = Signal(), Signal(), Signal()
        m.d.comb += [
            takes.eq(~have | summing | keys.i.ready),
            over.eq(row == count),
            memory.r_addr.eq(row),
            weight.i.valid.eq(have & summing),
            weight.i.payload.s.eq(memory.r_data.as_signed()),
            weight.i.payload.meta.head.eq(read_head),
            weight.o.ready.eq(1),
            keys.i.valid.eq(have & ~summing),
            keys.i.payload[0].eq(memory.r_data.as_signed()),
        ]
        with m.Switch(read_head):
            for n in range(config.max_heads):
                with m.Case(n):
                    m.d.comb += weight.i.payload.m.eq(self.inverses[n].m)
        with m.If(takes):
            m.d.sync += have.eq(memory.r_en)
        with m.If(memory.r_en):
            m.d.sync += [
                row.eq(row + 1),
                read_head.eq(head),
                head.eq(Mux(head == estimate.heads - 1, 0, head + 1)),
            ]
        with m.FSM() as state:
            with m.State("IDLE"):
                m.d.sync += [row.eq(0), head.eq(0)]
                with m.If(self.sum):
                    m.d.sync += [summing.eq(1), self.o_sums.payload.eq(0)]
                    m.next = "READ"
                with m.If(self.select):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += memory.r_en.eq(takes & ~over)
                with m.If(over & ~have & ~weight.busy):
                    m.next = "SUMS"
                    with m.If(~summing):
                        m.d.sync += count.eq(0)
                        m.next = "IDLE"
            with m.State("SUMS"):
                m.d.comb += self.o_sums.valid.eq(1)
                with m.If(self.o_sums.ready):
                    m.d.sync += summing.eq(0)
                    m.next = "IDLE"
        result = weight.o.payload
        with m.If(weight.o.valid):
            for n in range(config.max_heads):
                with m.If(result.meta.head == n):
                    m.d.sync += self.o_sums.payload[n].eq(self.o_sums.payload[n] + result.term)
        m.d.comb += [
            self.free.eq(state.ongoing("IDLE") & (count == 0)),
            self.busy.eq(
                scores.busy
                | keys.busy
                | state.ongoing("READ")
                | moves(self.o_sums)
                | self.sum
                | self.select
            ),
        ]
        return m
