"""Codeword runs: neighbours of which some tokens are kept, as one read."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hls_attention.streams import moves

from ..config import MASK_TOKENS
from .codeword_masks import codeword_mask_layout

__all__ = ["CodewordRuns", "codeword_run_layout"]


def codeword_run_layout():
    """Codewords in a row, each with a token kept, and which tokens these are."""
    return data.StructLayout(
        {
            "skip": 12,  # tokens of the group before them
            "tokens": range(MASK_TOKENS + 1),
            "mask": MASK_TOKENS,  # 0 only with ``last``: the group ends without another one
            "last": 1,  # of the group
        }
    )


class CodewordRuns(wiring.Component):
    """Joins codewords that lie side by side, up to what a request's mask holds.

    A codeword a clock, another clock for one that ends its group and does not join the run before.
    A run waits here until it is known where it ends.

    Members
    -------
    tokens : In(4)
        Tokens of a codeword: 1, 2, 4 or 8. Steady while there are codewords.
    i : In(stream), ``codeword_mask_layout()``
    o : Out(stream), ``codeword_run_layout()``
    """

    tokens: In(4)
    i: In(stream.Signature(codeword_mask_layout()))
    o: Out(stream.Signature(codeword_run_layout()))

    def elaborate(self, platform):
        m = Module()
        codeword, run = self.i.payload, self.o.payload
        held = Signal(codeword_run_layout())
        holds, empty, joins = Signal(), Signal(), Signal()
        alone, joined = Signal.like(held), Signal.like(held)
        m.d.comb += [
            empty.eq(codeword.mask == 0),
            joins.eq(
                holds
                & ~empty
                & (codeword.skip == held.skip + held.tokens)
                & (held.tokens + self.tokens <= MASK_TOKENS)
            ),
            alone.skip.eq(codeword.skip),
            alone.tokens.eq(self.tokens),
            alone.mask.eq(codeword.mask),
            alone.last.eq(codeword.last),
            joined.skip.eq(held.skip),
            joined.tokens.eq(held.tokens + self.tokens),
            joined.mask.eq(held.mask | codeword.mask << held.tokens),
            joined.last.eq(codeword.last),
            run.eq(Mux(joins, joined, Mux(holds, held, alone))),
            # A run that this codeword ends; or this codeword, which ends its group.
            self.o.valid.eq(self.i.valid & Mux(holds & ~joins, 1, codeword.last)),
            self.i.ready.eq(~self.o.valid | self.o.ready),
        ]
        with m.If(holds & ~joins):
            m.d.comb += run.last.eq(empty)
            with m.If(~empty & codeword.last):
                m.d.comb += self.i.ready.eq(0)  # it comes next, on its own
        with m.If(moves(self.i)):
            m.d.sync += [
                holds.eq(~codeword.last),
                held.eq(Mux(joins, joined, alone)),
            ]
        with m.Elif(moves(self.o)):
            m.d.sync += holds.eq(0)
        return m
