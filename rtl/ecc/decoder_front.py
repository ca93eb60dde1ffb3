"""A channel's own half of a decoder that channels share: codewords in, corrected messages out.

::

    i --+--> Differences --> wrong? --yes--> o_differences           SharedDecoder: syndromes,
        |                      |no                                   key equation, roots
        |                      v
        |                    clean --+
        |                            v
        +------- words --------> Corrector <-- i_fixes
                                     '--> o, o_reports

A codeword without errors passes by itself. One with errors is given away when it is the next in
order and the corrector has a list free for it, one at a time: so its fixes never wait for anything
in here, and no channel holds up another.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.streams import moves

from .chien import fix_layout
from .code import WORD
from .corrector import Corrector, report_layout
from .differences import Differences, difference_layout

__all__ = ["CODEWORDS", "DecoderFront", "shared_ports"]

CODEWORDS = 7
"""Messages in the correction buffer, which 1024 rows of 64 bits have room for."""


def shared_ports(code):
    """Members towards the shared half, see `DecoderFront`."""
    return {
        "o_differences": Out(stream.Signature(difference_layout())),
        "i_fixes": In(stream.Signature(fix_layout(code))),
    }


class DecoderFront(wiring.Component):
    """Corrects codewords with the help of a `rtl.ecc.shared_decoder.SharedDecoder`.

    Parameters
    ----------
    code : BchCode
    codewords : int
        Messages in the correction buffer.

    Members
    -------
    i, o, o_reports, active
        As in `rtl.ecc.decoder.Decoder`.
    o_differences : Out(stream), ``difference_layout()``
        Of one wrong codeword after the other, the next when all fixes of the one have come.
    i_fixes : In(stream), ``fix_layout(code)``
        Taken at once.

    Attributes
    ----------
    codewords : int
    """

    def __init__(self, code, *, codewords=CODEWORDS):
        self._code = code
        self.codewords = codewords
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "o": Out(stream.Signature(WORD)),
                "o_reports": Out(stream.Signature(report_layout(code))),
                "active": Out(1),
                **shared_ports(code),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.differences = differences = Differences(self._code, codewords=self.codewords)
        m.submodules.corrector = corrector = Corrector(self._code, codewords=self.codewords)
        for unit, other in ((differences, corrector), (corrector, differences)):
            m.d.comb += [
                unit.i.payload.eq(self.i.payload),
                unit.i.valid.eq(self.i.valid & other.i.ready),
            ]
        m.d.comb += self.i.ready.eq(differences.i.ready & corrector.i.ready)
        connect(m, corrector.o, flipped(self.o))
        connect(m, corrector.o_reports, flipped(self.o_reports))

        difference, mine = self.o_differences, differences.o
        fixes, verdict = corrector.i_fixes, differences.o_wrong
        passes = Signal()
        m.d.comb += [
            difference.payload.eq(mine.payload),
            fixes.payload.eq(self.i_fixes.payload),
        ]
        with m.FSM(name="turn"):
            with m.State("LOOK"):
                with m.If(verdict.valid & fixes.ready):
                    m.d.comb += verdict.ready.eq(1)
                    with m.If(verdict.payload):
                        m.next = "GIVE"
                    with m.Else():
                        m.d.comb += [
                            passes.eq(1),
                            fixes.valid.eq(1),
                            fixes.payload.eq(0),
                            fixes.payload.last.eq(1),
                        ]
            with m.State("GIVE"):
                m.d.comb += [difference.valid.eq(mine.valid), mine.ready.eq(difference.ready)]
                with m.If(moves(difference) & mine.payload.last):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += [
                    fixes.valid.eq(self.i_fixes.valid),
                    self.i_fixes.ready.eq(fixes.ready),
                ]
                with m.If(moves(self.i_fixes) & self.i_fixes.payload.last):
                    m.next = "LOOK"
        m.d.comb += self.active.eq(
            moves(self.i)
            | moves(verdict)
            | moves(mine)
            | moves(self.i_fixes)
            | passes
            | corrector.active
        )
        return m
