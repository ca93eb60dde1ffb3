"""Of the data words of codewords, those that are wanted; the last waits for the CRC's verdict."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..ecc.code import WORD
from ..ecc.crc import check_layout
from .requests import page_word_layout

__all__ = ["Trim", "cut_layout"]


def cut_layout(code):
    """Words ``begin`` to ``end`` of a codeword are wanted, one or more; the decoder's error."""
    return data.StructLayout(
        {"begin": range(code.data_words), "end": range(code.data_words + 1), "error": 1}
    )


class Trim(wiring.Component):
    """Passes wanted words, marks the last one of a codeword that is wrong. Latency 0, the last 1.

    Parameters
    ----------
    code : rtl.ecc.code.BchCode

    Members
    -------
    i : In(stream), 64 bits
        ``code.data_words`` words of each codeword.
    i_cuts : In(stream), ``cut_layout(code)``
    i_checks : In(stream), `rtl.ecc.crc.check_layout`
    o : Out(stream), ``page_word_layout()``
    """

    def __init__(self, code):
        self._code = code
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "i_cuts": In(stream.Signature(cut_layout(code))),
                "i_checks": In(stream.Signature(check_layout(code.meta_bits))),
                "o": Out(stream.Signature(page_word_layout())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        cut = self.i_cuts.payload
        word = Signal(range(self._code.data_words))
        kept = Signal(WORD)
        moved = self.i.valid & self.i.ready
        with m.FSM(name="state"):
            with m.State("WORDS"):
                m.d.comb += self.o.payload.data.eq(self.i.payload)
                with m.If(self.i_cuts.valid):
                    with m.If((word >= cut.begin) & (word + 1 < cut.end)):
                        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
                    with m.Else():
                        m.d.comb += self.i.ready.eq(1)
                        with m.If(self.i.valid & (word + 1 == cut.end)):
                            m.d.sync += kept.eq(self.i.payload)
                with m.If(moved):
                    m.d.sync += word.eq(word + 1)
                    with m.If(word == self._code.data_words - 1):
                        m.d.sync += word.eq(0)
                        m.next = "VERDICT"
            with m.State("VERDICT"):
                m.d.comb += [
                    self.o.valid.eq(self.i_checks.valid),
                    self.o.payload.data.eq(kept),
                    self.o.payload.error.eq(cut.error | ~self.i_checks.payload.ok),
                    self.i_checks.ready.eq(self.o.ready),
                ]
                with m.If(self.o.valid & self.o.ready):
                    m.d.comb += self.i_cuts.ready.eq(1)
                    m.next = "WORDS"
        return m
