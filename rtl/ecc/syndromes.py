"""Odd syndromes of codewords, 64 bits a clock.

Horner's rule with a word at a time: ``S_j <- S_j alpha**(64 j) + sum_i r_i alpha**(j (63 - i))``.
Even syndromes are squares of others, ``S_2j = S_j**2``, and are left to who needs them.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .code import WORD
from .linear import apply

__all__ = ["Syndromes", "syndromes_layout"]


def syndromes_layout(code):
    """``t`` elements, the syndromes of ``alpha, alpha**3, ..., alpha**(2 t - 1)``."""
    return data.ArrayLayout(code.m, code.t)


class Syndromes(wiring.Component):
    """Evaluates codewords at the roots of their code. Latency 1 from the last word, a word a clock.

    The result waits in a register of its own, so ``i`` runs at full rate if it is taken before the
    next codeword's last word.

    Parameters
    ----------
    code : BchCode

    Members
    -------
    i : In(stream), 64 bits
        ``code.words`` words of each codeword; pad bits are not looked at. ``i.ready`` comes from
        registers.
    o : Out(stream), ``syndromes_layout(code)``
        One of each codeword, from registers.
    """

    def __init__(self, code):
        self._code = code
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "o": Out(stream.Signature(syndromes_layout(code))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        code, field = self._code, self._code.field
        width = code.m * code.t
        word = Signal(range(code.words))
        sums = Signal(width)
        last = Signal()
        bits = Signal(WORD)
        m.d.comb += [
            last.eq(word == code.words - 1),
            bits.eq(Mux(last, self.i.payload[: WORD - code.pad_bits], self.i.payload)),
            self.i.ready.eq(~last | ~self.o.valid),
        ]
        columns = [
            sum(
                field.power(odd * (WORD - 1 - i)) << code.m * n
                for n, odd in enumerate(range(1, 2 * code.t, 2))
            )
            for i in range(WORD)
        ]
        carried = Cat(
            apply(
                sums.word_select(n, code.m), field.columns(field.power(WORD * (2 * n + 1))), code.m
            )
            for n in range(code.t)
        )
        total = Signal(width)
        m.d.comb += total.eq(carried ^ apply(bits, columns, width))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [sums.eq(total), word.eq(word + 1)]
            with m.If(last):
                m.d.sync += [
                    sums.eq(0),
                    word.eq(0),
                    self.o.valid.eq(1),
                    self.o.payload.eq(total),
                ]
        return m
