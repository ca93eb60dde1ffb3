"""Selection filter: lets the beats of kept tokens through, at a beat a clock.

::

    i_keep    0   1   0   1           a verdict per unit, in the order of units
    i         a a b b c c d d         units of two beats, the last one ends the pass
    o             b b     d d

If the last unit of a pass is dropped, a null beat with its tags ends the pass. Null beats have no
verdict and go through. An error mark in a dropped unit is dropped: nobody wants its data.
"""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .beats import beat_layout
from .select_config import keep_layout
from .streams import SkidBuffer, moves

__all__ = ["SelectionFilter"]


class SelectionFilter(wiring.Component):
    """Drops the units of tokens that were not selected; one for each channel. Latency 1.

    Parameters
    ----------
    config : SelectConfig

    Members
    -------
    i_keep : In(stream(keep_layout))
        From a lane of `RadixSelect`; taken with the last beat of its unit.
    i, o : stream(beat_layout)
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i_keep": In(stream.Signature(keep_layout(config))),
                "i": In(stream.Signature(beat_layout())),
                "o": Out(stream.Signature(beat_layout())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.out = out = SkidBuffer(beat_layout())
        wiring.connect(m, out.o, wiring.flipped(self.o))
        beat, sent = self.i.payload, out.i.payload
        null = beat.lanes == 0
        known = null | self.i_keep.valid
        drops = ~null & ~self.i_keep.payload.keep
        m.d.comb += [
            out.i.valid.eq(self.i.valid & known & (~drops | beat.last_of_pass)),
            sent.eq(beat),
            self.i.ready.eq(known & (out.i.ready | (drops & ~beat.last_of_pass))),
            self.i_keep.ready.eq(moves(self.i) & ~null & beat.last_of_unit),
        ]
        with m.If(drops):
            m.d.comb += [
                sent.data.eq(0),
                sent.lanes.eq(0),
                sent.first_of_unit.eq(0),
                sent.last_of_unit.eq(0),
                sent.error.eq(0),
            ]
        return m
