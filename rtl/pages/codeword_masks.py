"""Codeword masks: verdicts on tokens, four at a time, as codewords of which some are kept."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hls_attention.streams import moves

__all__ = ["CodewordMasks", "codeword_mask_layout", "quad_layout"]


def quad_layout():
    """Verdicts on four tokens of a group, the first in the low bit; ``last``: its last ones."""
    return data.StructLayout({"keep": 4, "last": 1})


def codeword_mask_layout():
    """Which tokens of a codeword are kept."""
    return data.StructLayout(
        {
            "skip": 12,  # tokens of the group before it
            "mask": 8,  # 0 only with ``last``: the group ends without a codeword that is wanted
            "last": 1,  # of the group
        }
    )


class CodewordMasks(wiring.Component):
    """Finds the codewords with a token kept. Latency 0.

    A clock for each codeword found and for each quad without one; with codewords of eight tokens, a
    clock for each quad.

    Members
    -------
    tokens : In(4)
        Tokens of a codeword: 1, 2, 4 or 8. Steady while there are quads.
    i : In(stream), ``quad_layout()``
    o : Out(stream), ``codeword_mask_layout()``
    """

    tokens: In(4)
    i: In(stream.Signature(quad_layout()))
    o: Out(stream.Signature(codeword_mask_layout()))

    def elaborate(self, platform):
        m = Module()
        keep, last = self.i.payload.keep, self.i.payload.last
        found = self.o.payload
        quad = Signal(10)  # of the group
        done = Signal(4)  # tokens of the quad that were given
        before = Signal(4)  # the quad before this one
        kept = Signal(4)
        upto = Signal(4)  # tokens of the quad given with this codeword
        half = Signal()  # of a codeword whose other half comes with the next quad
        over = Signal()
        m.d.comb += [
            kept.eq(keep & ~done),
            upto.eq(0b1111),
            found.mask.eq(kept),
            found.skip.eq(quad << 2),
        ]
        with m.Switch(self.tokens):
            for tokens in (1, 2):
                with m.Case(tokens):
                    for first in reversed(range(0, 4, tokens)):  # the first one comes last and wins
                        part = kept[first : first + tokens]
                        with m.If(part.any()):
                            m.d.comb += [
                                found.mask.eq(part),
                                found.skip.eq((quad << 2) + first),
                                upto.eq((1 << first + tokens) - 1),
                            ]
            with m.Case(8):
                m.d.comb += [half.eq(~quad[0] & ~last), found.skip.eq((quad >> 1) << 3)]
                with m.If(quad[0]):
                    m.d.comb += found.mask.eq(Cat(before, kept))
        m.d.comb += [
            over.eq((kept & ~upto) == 0),
            found.last.eq(last & over),
            self.o.valid.eq(self.i.valid & ~half & (found.mask.any() | last)),
            self.i.ready.eq(Mux(self.o.valid, self.o.ready & over, 1)),
        ]
        with m.If(moves(self.o)):
            m.d.sync += done.eq(done | upto)
        with m.If(moves(self.i)):
            m.d.sync += [done.eq(0), before.eq(keep), quad.eq(Mux(last, 0, quad + 1))]
        return m
