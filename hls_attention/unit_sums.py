"""Unit sums: the products of a K unit, added exactly over lanes and beats. Latency 3.

The rounding bits of the four products are the carries of the four adders.
"""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import kernels
from .accumulators import add_rounded
from .beats import LANES_FP16
from .messages import PRODUCT_BITS, beat_meta_layout, product_layout

__all__ = ["TOTAL_BITS", "UnitSums"]

TOTAL_BITS = kernels.score.inputs["acc"].width
"""A sum over a whole unit."""


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
                "i_products": In(product_layout()).array(config.max_heads, LANES_FP16),
                "o_whole": Out(1),
                "o_end": Out(1),
                "o_bank": Out(1),
                "o_poisoned": Out(1),
                "o_totals": Out(signed(TOTAL_BITS)).array(config.max_heads),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        heads = range(self._config.max_heads)
        tags = data.StructLayout({"first": 1, "last": 1, "end": 1, "bank": 1, "poisoned": 1})
        meta = self.i_meta
        sum_layout = data.StructLayout({"p": signed(PRODUCT_BITS + 2), "half": 1})

        pair_valid, pair_tags = Signal(), Signal(tags)
        pairs = [[Signal(sum_layout, name=f"pair_{head}_{n}") for n in range(2)] for head in heads]
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
                    for n, pair in enumerate(pairs[head]):
                        one, other = self.i_products[head][2 * n], self.i_products[head][2 * n + 1]
                        m.d.sync += [
                            pair.p.eq(add_rounded(other, one.p)),
                            pair.half.eq(one.half),
                        ]

        beat_valid, beat_tags = Signal(), Signal(tags)
        beats = [Signal(sum_layout, name=f"beat_{head}") for head in heads]
        m.d.sync += beat_valid.eq(pair_valid)
        with m.If(pair_valid):
            m.d.sync += beat_tags.eq(pair_tags)
            for beat, (one, other) in zip(beats, pairs):
                m.d.sync += [beat.p.eq(add_rounded(other, one.p)), beat.half.eq(one.half)]

        m.d.sync += [
            self.o_whole.eq(beat_valid & beat_tags.last),
            self.o_end.eq(beat_valid & beat_tags.end),
        ]
        with m.If(beat_valid):
            m.d.sync += [self.o_bank.eq(beat_tags.bank), self.o_poisoned.eq(beat_tags.poisoned)]
            for total, beat in zip(self.o_totals, beats):
                m.d.sync += total.eq(add_rounded(beat, Mux(beat_tags.first, 0, total)))
        m.d.comb += self.busy.eq(pair_valid | beat_valid | self.o_whole | self.o_end)
        return m
