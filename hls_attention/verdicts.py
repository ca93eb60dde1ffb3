"""Verdicts: which tokens of a head were kept, four to a row, for whoever asks for their pages."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .select_config import keep_layout
from .streams import moves
from .verilog import Ram

__all__ = ["VerdictSignature", "Verdicts"]

QUAD = 4
"""Tokens of a row."""


class VerdictSignature(wiring.Signature):
    """Verdicts on the tokens of a head, as their reader sees them.

    ``ready``: those of the head at hand are complete; ``poisoned``: they were made of data that
    cannot be read. ``keep``, a clock after ``lane`` and ``quad``: verdicts on four tokens of a
    channel, the first in the low bit; a channel's tokens are counted in the order of
    `hls_attention.token_order` (whole units, then groups; flash channels are lanes), beyond the
    last one verdicts are 0. ``release``: a pulse, they may be overwritten.

    Parameters
    ----------
    channels : int
    rows : int
        Tokens that a channel may get at most.
    """

    def __init__(self, channels, rows):
        super().__init__(
            {
                "ready": In(1),
                "poisoned": In(1),
                "lane": Out(max(1, ceil_log2(channels))),
                "quad": Out(range(-(-rows // QUAD))),
                "keep": In(QUAD),
                "release": Out(1),
            }
        )


class Verdicts(wiring.Component):
    """Keeps the verdicts of one head until they are released.

    Parameters
    ----------
    config : SelectConfig

    Members
    -------
    i : In(stream(keep_layout)) array
        From `RadixSelect`.
    complete, poisoned : In(1)
        Pulse: all have come, and whether they are good for nothing.
    o : Out(VerdictSignature flipped)
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(keep_layout(config))).array(config.channels),
                "complete": In(1),
                "poisoned": In(1),
                "o": In(VerdictSignature(config.channels, config.lane_rows)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, port = self._config, self.o
        rows = max(2, -(-config.lane_rows // QUAD))
        with m.If(self.complete):
            m.d.sync += [port.ready.eq(1), port.poisoned.eq(self.poisoned)]
        with m.If(port.release):
            m.d.sync += port.ready.eq(0)
        lane = Signal.like(port.lane)
        m.d.sync += lane.eq(port.lane)
        lanes = [self._lane(m, index, rows) for index in range(config.channels)]
        with m.Switch(lane):
            for index, keep in enumerate(lanes):
                with m.Case(index):
                    m.d.comb += port.keep.eq(keep)
        return m

    def _lane(self, m, index, rows):
        """Packs the verdicts of a channel; returns what was read of them."""
        port, verdicts = self.o, self.i[index]
        m.submodules[f"lane_{index}"] = memory = Ram(width=QUAD, depth=rows)
        count = Signal(range(rows + 1), name=f"count_{index}")
        place = Signal(range(QUAD), name=f"place_{index}")
        quad = Signal(QUAD, name=f"quad_{index}")
        packed = Signal(QUAD, name=f"packed_{index}")
        known = Signal(name=f"known_{index}")
        verdict = verdicts.payload
        ends = verdict.last | (place == QUAD - 1)
        m.d.comb += [
            verdicts.ready.eq(~port.ready),
            packed.eq(quad | verdict.keep << place),
            memory.w_en.eq(moves(verdicts) & ends),
            memory.w_addr.eq(count),
            memory.w_data.eq(packed),
            memory.r_en.eq(1),
            memory.r_addr.eq(port.quad),
        ]
        m.d.sync += known.eq(port.quad < count)
        with m.If(moves(verdicts)):
            m.d.sync += [
                place.eq(Mux(ends, 0, place + 1)),
                quad.eq(Mux(ends, 0, packed)),
                count.eq(count + ends),
            ]
        with m.If(port.release):
            m.d.sync += count.eq(0)
        return Mux(known, memory.r_data, 0)
