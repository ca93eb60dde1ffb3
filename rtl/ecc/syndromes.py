"""Odd syndromes of codewords, 64 bits a clock.

::

    message words --> remainder (as the encoder's) --.
    parity words -----------------------------------+--> difference words --> Horner sums

The parity that was sent and that of the message differ in a polynomial with the same syndromes as
the codeword, and it has few words. Horner's rule takes them as they come, a word at a time:
``S_j <- S_j alpha**(64 j) + sum_i r_i alpha**(j (63 - i))``. Without errors there is no difference,
and the sums hold. Even syndromes are squares of others, ``S_2j = S_j**2``, and are left to who
needs them.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .code import WORD
from .encoder import remainder_register
from .linear_register import LinearRegister

__all__ = ["Syndromes", "horner_register", "syndromes_layout"]


def syndromes_layout(code):
    """``t`` elements, the syndromes of ``alpha, alpha**3, ..., alpha**(2 t - 1)``."""
    return data.ArrayLayout(code.m, code.t)


class Syndromes(wiring.Component):
    """Evaluates codewords at the roots of their code. Latency 1 from the last word, a word a clock.

    ``i`` runs at full rate if a result is taken before the next codeword's parity comes.

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
        code = self._code
        m.submodules.remainder = remainder = remainder_register(code)
        m.submodules.sums = sums = horner_register(code)
        word = Signal(range(code.words))
        in_parity = Signal()
        last = Signal()
        moved = Signal()
        difference = Signal(WORD)
        wrong = Signal()  # there was a difference in an earlier word
        padded = (1 << WORD - code.pad_bits) - 1
        m.d.comb += [
            in_parity.eq(word >= code.message_words),
            last.eq(word == code.words - 1),
            self.i.ready.eq(~in_parity | ~self.o.valid),
            moved.eq(self.i.valid & self.i.ready),
            remainder.en.eq(moved),
            remainder.base.eq(remainder.q[WORD:]),
            self.o.payload.eq(sums.q),
        ]
        with m.If(in_parity):
            m.d.comb += [
                difference.eq(
                    (self.i.payload ^ remainder.q[:WORD]) & Mux(last, padded, (1 << WORD) - 1)
                ),
                sums.en.eq(moved & (wrong | difference.any() | (word == code.message_words))),
                sums.i[0].eq(difference),
                sums.i[1].eq(Mux(wrong, sums.q, 0)),
            ]
        with m.Else():
            m.d.comb += remainder.i[0].eq(self.i.payload ^ remainder.q[:WORD])
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(moved):
            m.d.sync += [word.eq(word + 1), wrong.eq(wrong | difference.any())]
            with m.If(last):
                m.d.sync += [word.eq(0), wrong.eq(0), self.o.valid.eq(1)]
        return m


def horner_register(code):
    """Register of the sums; its inputs are a word of the polynomial and the sums so far."""
    field, odds = code.field, range(1, 2 * code.t, 2)
    of_word = [
        sum(field.power(odd * (WORD - 1 - i)) << code.m * n for n, odd in enumerate(odds))
        for i in range(WORD)
    ]
    of_sums = [
        column << code.m * n
        for n, odd in enumerate(odds)
        for column in field.columns(field.power(WORD * odd))
    ]
    width = code.m * code.t
    return LinearRegister(
        f"bch_syndromes_{code.name}", width, [of_word, of_sums], blocks=[width, code.m]
    )
