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
from .linear_register import LinearRegister

__all__ = ["Encoder", "remainder_register"]


def remainder_register(code):
    """Register of the remainder: takes a word as its input, and ``q >> 64`` as its base."""
    return LinearRegister(f"bch_remainder_{code.name}", code.parity_bits, [_feedback_columns(code)])


def _feedback_columns(code):
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
        m.submodules.remainder = remainder = remainder_register(code)
        word = Signal(range(code.words))
        moved = out.i.valid & out.i.ready
        m.d.comb += [remainder.en.eq(moved), remainder.base.eq(remainder.q[WORD:])]
        with m.If(word < code.message_words):
            m.d.comb += [
                out.i.valid.eq(self.i.valid),
                out.i.payload.eq(self.i.payload),
                self.i.ready.eq(out.i.ready),
                remainder.i[0].eq(self.i.payload ^ remainder.q[:WORD]),
            ]
        with m.Else():
            m.d.comb += [out.i.valid.eq(1), out.i.payload.eq(remainder.q[:WORD])]
        with m.If(moved):
            m.d.sync += word.eq(word + 1)
            with m.If(word == code.words - 1):
                m.d.sync += word.eq(0)
        return m
