"""The half of a decoder that channels share: what is wrong with codewords, from their differences.

::

    i[n] --> Arbiter --> sums --> KeyEquation --+--> FewErrors ----+--> Arbiter --> o[n]
                       syndromes                '--> ChienSearch --'

Most codewords have no error, and `rtl.ecc.decoder_front.DecoderFront` keeps them; most others have
one or two, of which a formula knows the places. What is left for the search is so little that one
serves all channels (`rtl.ecc.shared_rates`).

A codeword's channel goes with it from unit to unit. As a channel gives one codeword at a time, it
does not matter which unit is done first.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hls_attention.streams import Arbiter, moves

from .chien import ChienSearch, fix_layout
from .differences import difference_layout
from .few_errors import FEW, FewErrors
from .key_equation import KeyEquation
from .syndromes import horner_register

__all__ = ["SharedDecoder"]


class SharedDecoder(wiring.Component):
    """Finds the errors of the codewords of several channels, one codeword of each at a time.

    Parameters
    ----------
    code : BchCode
    lanes : int
        Of the key equation.
    positions : int
        Of the search.
    channels : int

    Members
    -------
    i : In(stream), ``difference_layout()``, array of ``channels``
    o : Out(stream), ``fix_layout(code)``, array of ``channels``
        From registers.
    quiet : Out(1)
        Nothing in here changes until an input does.
    """

    def __init__(self, code, *, lanes, positions, channels):
        self._code = code
        self._channels = channels
        self._lanes, self._positions = lanes, positions
        super().__init__(
            {
                "i": In(stream.Signature(difference_layout())).array(channels),
                "o": Out(stream.Signature(fix_layout(code))).array(channels),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        code, channels = self._code, self._channels
        m.submodules.asked = asked = Arbiter(
            difference_layout(), inputs=channels, last=lambda payload: payload.last
        )
        m.submodules.sums = sums = horner_register(code)
        m.submodules.key_equation = key = KeyEquation(code, lanes=self._lanes)
        m.submodules.few = few = FewErrors(code)
        m.submodules.search = search = ChienSearch(code, positions=self._positions)
        for port, channel in zip(asked.i, self.i):
            m.d.comb += [
                port.payload.eq(channel.payload),
                port.valid.eq(channel.valid),
                channel.ready.eq(port.ready),
            ]

        begun, summed, able = Signal(), Signal(), Signal()
        of_sums, of_key, of_few, of_search = (
            Signal.like(asked.source, name=f"of_{name}")
            for name in ("sums", "key", "few", "search")
        )
        m.d.comb += [
            asked.o.ready.eq(~summed),
            sums.en.eq(moves(asked.o)),
            sums.i[0].eq(asked.o.payload.word),
            sums.i[1].eq(Mux(begun, sums.q, 0)),
            key.i.valid.eq(summed),
            key.i.payload.eq(sums.q),
        ]
        with m.If(moves(key.i)):
            m.d.sync += [summed.eq(0), of_key.eq(of_sums), able.eq(few.able)]
        with m.If(moves(asked.o)):
            m.d.sync += begun.eq(~asked.o.payload.last)
            with m.If(asked.o.payload.last):
                m.d.sync += [summed.eq(1), of_sums.eq(asked.source)]

        simple, searching = Signal(), Signal()
        solved, found = key.o.payload, search.o
        m.d.comb += [
            simple.eq(able & (solved.failed | (solved.errors <= FEW))),
            few.i.payload.eq(solved),
            search.i.payload.eq(solved),
            few.i.valid.eq(key.o.valid & simple),
            search.i.valid.eq(key.o.valid & ~simple & ~searching),
            key.o.ready.eq(Mux(simple, few.i.ready, search.i.ready & ~searching)),
        ]
        with m.If(moves(few.i)):
            m.d.sync += of_few.eq(of_key)
        with m.If(moves(search.i)):
            m.d.sync += [of_search.eq(of_key), searching.eq(1)]
        with m.Elif(moves(found) & found.payload.last):
            m.d.sync += searching.eq(0)

        fix = data.StructLayout({"fix": fix_layout(code), "channel": of_key.shape()})
        m.submodules.fixes = fixes = Arbiter(fix, inputs=2)
        for port, unit, channel in zip(fixes.i, (few, search), (of_few, of_search)):
            m.d.comb += [
                port.payload.fix.eq(unit.o.payload),
                port.payload.channel.eq(channel),
                port.valid.eq(unit.o.valid),
                unit.o.ready.eq(port.ready),
            ]
        given = fixes.o
        for number, port in enumerate(self.o):
            m.d.comb += port.payload.eq(given.payload.fix)
            with m.If(given.payload.channel == number):
                m.d.comb += [port.valid.eq(given.valid), given.ready.eq(port.ready)]
        m.d.comb += self.quiet.eq(
            ~moves(asked.o)
            & ~moves(key.i)
            & ~key.active
            & ~moves(key.o)
            & ~few.active
            & ~search.active
            & ~moves(few.o)
            & ~moves(found)
            & ~moves(given)
        )
        return m
