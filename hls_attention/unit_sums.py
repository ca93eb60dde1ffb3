"""Unit sums: the products of a K unit, added exactly over lanes and beats. Latency 3."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .beat_front import PRODUCT_BITS
from .beats import LANES_FP16
from .messages import SUM_BITS, beat_meta_layout

__all__ = ["UnitSums"]


class UnitSums(wiring.Component):
    """Adds up the products of each unit of the K pass; one beat a clock, never stalls.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    i_valid, i_meta, i_products : In
        From the beat front; beats of the V pass are ignored.
    o_whole : Out(1)
        ``o_totals`` (one per head) is the sum over a whole unit, for this clock only.
    o_end : Out(1)
        A pass ended, with this clock's unit if there is one.
    o_bank, o_poisoned : Out(1)
        Bank of the unit, and whether the pass that ended is poisoned.
    busy : Out(1)
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i_valid": In(1),
                "i_meta": In(beat_meta_layout(config)),
                "i_products": In(signed(PRODUCT_BITS)).array(config.max_heads, LANES_FP16),
                "o_whole": Out(1),
                "o_end": Out(1),
                "o_bank": Out(1),
                "o_poisoned": Out(1),
                "o_totals": Out(signed(SUM_BITS)).array(config.max_heads),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        heads = range(self._config.max_heads)
        tags = data.StructLayout({"first": 1, "last": 1, "end": 1, "bank": 1, "poisoned": 1})
        meta = self.i_meta

        pair_valid, pair_tags = Signal(), Signal(tags)
        pairs = [
            [Signal(signed(PRODUCT_BITS + 1), name=f"pair_{head}_{n}") for n in range(2)]
            for head in heads
        ]
        enter = Signal()
        m.d.comb += enter.eq(self.i_valid & ~meta.pass_v)
        m.d.sync += pair_valid.eq(enter)
        with m.If(enter):
            m.d.sync += [
                pair_tags.first.eq(meta.first_of_unit),
                pair_tags.last.eq(meta.last_of_unit),
                pair_tags.end.eq(meta.last_of_pass),
                pair_tags.bank.eq(meta.bank),
                pair_tags.poisoned.eq(meta.poisoned),
            ]
            for head in heads:
                with m.If(meta.heads[head]):
                    p = self.i_products[head]
                    m.d.sync += [pairs[head][n].eq(p[2 * n] + p[2 * n + 1]) for n in range(2)]

        beat_valid, beat_tags = Signal(), Signal(tags)
        beats = [Signal(signed(PRODUCT_BITS + 2), name=f"beat_{head}") for head in heads]
        m.d.sync += beat_valid.eq(pair_valid)
        with m.If(pair_valid):
            m.d.sync += beat_tags.eq(pair_tags)
            m.d.sync += [beats[head].eq(pairs[head][0] + pairs[head][1]) for head in heads]

        m.d.sync += [
            self.o_whole.eq(beat_valid & beat_tags.last),
            self.o_end.eq(beat_valid & beat_tags.end),
        ]
        with m.If(beat_valid):
            m.d.sync += [self.o_bank.eq(beat_tags.bank), self.o_poisoned.eq(beat_tags.poisoned)]
            for total, beat in zip(self.o_totals, beats):
                m.d.sync += total.eq(Mux(beat_tags.first, 0, total) + beat)
        m.d.comb += self.busy.eq(pair_valid | beat_valid | self.o_whole | self.o_end)
        return m
