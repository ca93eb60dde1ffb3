"""Bounds pairs: beats of an estimate from bounds, a smaller and a larger number in each lane.

::

    i --+--> bytes of bounds --> BoundBlocks --+--> o
        +--> K of tokens -----> UnitBounds ----+
        '--> all others -----------------------'

What comes of bytes and tokens are beats of kind ESTIMATE, the smaller bound in ``data``, the larger
one in ``high``. All others have ``data`` in both. Beats leave in the order in which they came.
"""

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .beats import LANES_FP16, Kind, beat_layout, pair_layout
from .bound_blocks import BoundBlocks
from .messages import estimate_layout
from .streams import SkidBuffer, moves
from .unit_bounds import UnitBounds

__all__ = ["BoundsPairs"]


class BoundsPairs(wiring.Component):
    """Makes pairs of bounds for one channel. Latency of all other beats 1.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    estimate : In(estimate_layout)
        Steady while beats of an estimate are here.
    i : In(stream(beat_layout))
    o : Out(stream(pair_layout))
    busy : Out(1)
        Something moves.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "estimate": In(estimate_layout(config)),
                "i": In(stream.Signature(beat_layout())),
                "o": Out(stream.Signature(pair_layout())),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.blocks = blocks = BoundBlocks(self._config)
        m.submodules.units = units = UnitBounds(self._config)
        m.submodules.pairs = pairs = SkidBuffer(pair_layout())
        wiring.connect(m, pairs.o, wiring.flipped(self.o))

        # Pages come whole: in the middle of a block or of a unit nothing else does.
        beat, pair = self.i.payload, pairs.i.payload
        of_block = beat.kind == Kind.BOUNDS
        of_unit = (beat.kind == Kind.ESTIMATE) & self.estimate.bounds & (beat.lanes != 0)
        m.d.comb += [
            blocks.channels.eq(self.estimate.channels),
            blocks.i.valid.eq(self.i.valid & of_block),
            blocks.i.payload.eq(beat),
            blocks.o.ready.eq(pairs.i.ready & ~units.o.valid),
            units.beats.eq(self.estimate.channels // LANES_FP16),
            units.i.valid.eq(self.i.valid & of_unit & blocks.empty),
            units.i.payload.eq(beat),
            units.o.ready.eq(pairs.i.ready),
        ]
        passes = blocks.empty & ~units.o.valid & ~of_block & ~of_unit
        m.d.comb += [
            self.i.ready.eq(
                Mux(
                    of_block,
                    blocks.i.ready,
                    Mux(of_unit, units.i.ready & blocks.empty, passes & pairs.i.ready),
                )
            ),
            pairs.i.valid.eq(units.o.valid | blocks.o.valid | (self.i.valid & passes)),
            *[pair[name].eq(beat[name]) for name, _ in beat_layout()],
            pair.high.eq(beat.data),
        ]
        with m.If(units.o.valid):
            m.d.comb += pair.eq(units.o.payload)
        with m.Elif(blocks.o.valid):
            m.d.comb += pair.eq(blocks.o.payload)
        m.d.comb += self.busy.eq(moves(self.i) | moves(pairs.i) | moves(self.o) | blocks.busy)
        return m
