"""Decoder of a channel: codewords in, corrected messages and a report of each out.

::

    i --+--> Syndromes --> KeyEquation --> ChienSearch --+
        |                                                v
        +------------------ words -------------------> Corrector --> o, o_reports

All codewords go the same way, so they stay in order; one without errors spends three clocks in the
key equation and the search.
"""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.streams import moves

from .chien import ChienSearch
from .code import WORD
from .corrector import Corrector, report_layout
from .key_equation import KeyEquation
from .syndromes import Syndromes

__all__ = ["CODEWORDS", "Decoder"]

CODEWORDS = 5
"""Messages in the correction buffer: one comes in, one is in each of syndromes, key equation and
search, one leaves."""


class Decoder(wiring.Component):
    """Corrects up to t bit errors of each codeword.

    A word a clock while codewords are without errors, and for as long as key equation and search
    keep up: on average not longer than a codeword each (`rtl.ecc.rates`).

    Parameters
    ----------
    code : BchCode
    lanes : int
        Of the key equation.
    positions : int
        Of the search.
    codewords : int
        Messages in the correction buffer.

    Members
    -------
    i : In(stream), 64 bits
        ``code.words`` words of each codeword. ``i.ready`` comes from registers.
    o : Out(stream), 64 bits
        ``code.message_words`` words of each codeword, in order.
    o_reports : Out(stream), ``report_layout(code)``
        One of each codeword, with its first word; if it is not taken, the next codeword waits.
    active : Out(1)
        Something moves in here.

    Attributes
    ----------
    codewords : int
    """

    def __init__(self, code, *, lanes, positions, codewords=CODEWORDS):
        self._code = code
        self.codewords = codewords
        self._key_equation = KeyEquation(code, lanes=lanes)
        self._search = ChienSearch(code, positions=positions)
        self._corrector = Corrector(code, codewords=codewords)
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "o": Out(stream.Signature(WORD)),
                "o_reports": Out(stream.Signature(report_layout(code))),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.syndromes = syndromes = Syndromes(self._code)
        m.submodules.key_equation = key_equation = self._key_equation
        m.submodules.search = search = self._search
        m.submodules.corrector = corrector = self._corrector
        m.d.comb += [
            self.i.ready.eq(syndromes.i.ready & corrector.i.ready),
            syndromes.i.payload.eq(self.i.payload),
            syndromes.i.valid.eq(self.i.valid & corrector.i.ready),
            corrector.i.payload.eq(self.i.payload),
            corrector.i.valid.eq(self.i.valid & syndromes.i.ready),
        ]
        m.d.comb += self.active.eq(
            moves(self.i)
            | moves(syndromes.o)
            | key_equation.active
            | moves(key_equation.o)
            | search.active
            | moves(search.o)
            | corrector.active
        )
        connect(m, syndromes.o, key_equation.i)
        connect(m, key_equation.o, search.i)
        connect(m, search.o, corrector.i_fixes)
        connect(m, corrector.o, flipped(self.o))
        connect(m, corrector.o_reports, flipped(self.o_reports))
        return m
