"""Systematic encoder: words of a message in, the same words and their parity out.

::

    i   m0 m1 m2 .. -- -- n0 n1          -- : not ready, one clock for each parity word
    o    . m0 m1 m2 .. p0 p1 n0 n1       a word every clock, between codewords too

The register holds the remainder of what has passed, highest degree in bit 0, as it will be sent.
A word adds to the 64 highest degrees, and the multiples of the generator that clear them are XORed
in.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.streams import SkidBuffer

from .code import WORD
from .linear import apply

__all__ = ["Encoder", "feedback_columns"]


def feedback_columns(code):
    """Remainder that each bit of a word leaves, in the order of the encoder's register."""
    degree = code.parity_bits
    low = code.generator ^ (1 << degree)
    remainder, columns = low, []
    for _ in range(WORD):
        columns.append(int(f"{remainder:0{degree}b}"[::-1], 2))
        remainder <<= 1
        if remainder >> degree:
            remainder ^= code.generator
    return columns[::-1]  # bit 0 is the highest degree


class Encoder(wiring.Component):
    """Appends the parity words of a code. Latency 1 word, a word a clock at the output.

    Parameters
    ----------
    code : BchCode

    Members
    -------
    i : In(stream), 64 bits
        ``code.message_words`` words of each codeword.
    o : Out(stream), 64 bits
        ``code.words`` words of each codeword, from registers.
    """

    def __init__(self, code):
        self._code = code
        super().__init__({"i": In(stream.Signature(WORD)), "o": Out(stream.Signature(WORD))})

    def elaborate(self, platform):
        m = Module()
        code = self._code
        m.submodules.out = out = SkidBuffer(WORD)
        connect(m, out.o, flipped(self.o))
        remainder = Signal(code.parity_bits)
        word = Signal(range(code.words))
        feedback = Signal(WORD)
        moved = out.i.valid & out.i.ready
        m.d.comb += feedback.eq(self.i.payload ^ remainder[:WORD])
        with m.If(word < code.message_words):
            m.d.comb += [
                out.i.valid.eq(self.i.valid),
                out.i.payload.eq(self.i.payload),
                self.i.ready.eq(out.i.ready),
            ]
            with m.If(moved):
                cleared = apply(feedback, feedback_columns(code), code.parity_bits)
                m.d.sync += [remainder.eq(remainder[WORD:] ^ cleared), word.eq(word + 1)]
        with m.Else():
            m.d.comb += [out.i.valid.eq(1), out.i.payload.eq(remainder[:WORD])]
            with m.If(moved):
                m.d.sync += [remainder.eq(remainder[WORD:]), word.eq(word + 1)]
                with m.If(word == code.words - 1):
                    m.d.sync += [remainder.eq(0), word.eq(0)]
        return m
