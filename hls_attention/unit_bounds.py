"""Unit bounds: K of the tokens of a unit, one after the other, to the unit's bounds.

A beat of K is compared with the row of its channels, smallest and largest so far; after the unit's
last token its rows are given out, a row a clock. Numbers are compared by sign and magnitude, as in
`hls_attention.bounds_code`.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .beats import BEAT_BITS, BEATS_BITS, LANES_FP16, Kind, beat_layout, pair_layout
from .bounds_code import UNIT_TOKENS
from .streams import moves
from .words import key_of

__all__ = ["UnitBounds"]


class UnitBounds(wiring.Component):
    """Merges the tokens of units.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    beats : In
        Of a token.
    i : In(stream(beat_layout))
        Tokens; a unit ends with its 4th one, or with ``last_of_page``.
    o : Out(stream(pair_layout))
        The error of any beat is one of its whole unit.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "beats": In(BEATS_BITS),
                "i": In(stream.Signature(beat_layout())),
                "o": Out(stream.Signature(pair_layout())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beat, pair = self.i.payload, self.o.payload
        m.submodules.rows = rows = memory.Memory(
            shape=2 * BEAT_BITS, depth=self._config.max_beats, init=[]
        )
        write, read = rows.write_port(), rows.read_port(domain="comb")
        row = Signal(range(self._config.max_beats))
        token = Signal(range(UNIT_TOKENS))
        whole = self.o.valid
        lows, highs = [], []
        for lane in range(LANES_FP16):
            given = beat.data, pair.data, pair.high
            x, low, high = (word.word_select(lane, 16) for word in given)
            lows.append(Mux((token == 0) | (key_of(x) < key_of(low)), x, low))
            highs.append(Mux((token == 0) | (key_of(high) < key_of(x)), x, high))
        m.d.comb += [
            self.i.ready.eq(~whole),
            read.addr.eq(row),
            write.addr.eq(row),
            write.en.eq(moves(self.i)),
            write.data.eq(Cat(*lows, *highs)),
            Cat(pair.data, pair.high).eq(read.data),
            pair.lanes.eq(-1),
            pair.kind.eq(Kind.ESTIMATE),
            pair.first_of_unit.eq(row == 0),
            pair.last_of_unit.eq(row == self.beats - 1),
        ]
        with m.If(moves(self.i)):
            m.d.sync += [
                row.eq(row + 1),
                pair.job.eq(beat.job),
                pair.format.eq(beat.format),
                pair.error.eq(pair.error | beat.error),
            ]
            with m.If(beat.last_of_unit):
                m.d.sync += [row.eq(0), token.eq(token + 1), pair.more.eq(token)]
                with m.If(beat.last_of_page | (token == UNIT_TOKENS - 1)):
                    m.d.sync += [token.eq(0), whole.eq(1)]
        with m.If(moves(self.o)):
            m.d.sync += row.eq(row + 1)
            with m.If(pair.last_of_unit):
                m.d.sync += [row.eq(0), whole.eq(0), pair.error.eq(0)]
        return m
