"""Page allocation of the append path: the next page of an open block group, per channel.

The firmware pushes erased block groups (one block number, the same on every die) into a ring; each
channel fills them in that order, page ``n`` of a channel within a group on die ``n mod dies``, so
that consecutive pages of a channel lie on different dies and their senses overlap.
"""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS

__all__ = ["Allocator", "RING_GROUPS"]

RING_GROUPS = 16
"""Block groups the ring holds."""


class Allocator(wiring.Component):
    """Deals out pages.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    push : In(1), push_group : In(16)
        Adds a block group; ignored when ``free`` is 0.
    free : Out(5)
        Block groups that may still be pushed.
    channel : In
        Which channel the page is wanted on.
    o : Out(stream), {die, row}
        Its next page; valid while the channel has one, and taken with ``ready``.
    """

    def __init__(self, geometry):
        self._geometry = geometry
        channels, dies = geometry.channels, geometry.dies
        super().__init__(
            {
                "push": In(1),
                "push_group": In(16),
                "free": Out(5),
                "channel": In(max(1, ceil_log2(channels))),
                "o": Out(
                    stream.Signature(
                        data.StructLayout({"die": max(1, ceil_log2(dies)), "row": ROW_BITS})
                    )
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        ring = Array(Signal(16, name=f"group_{i}") for i in range(RING_GROUPS))
        pushed = Signal(5)
        places = []
        for channel in range(geometry.channels):
            places.append(
                {
                    "at": Signal(5, name=f"at_{channel}"),
                    "die": Signal(range(max(2, geometry.dies)), name=f"die_{channel}"),
                    "page": Signal(range(max(2, geometry.pages)), name=f"page_{channel}"),
                    "held": Signal(5, name=f"held_{channel}"),
                }
            )

        with m.If(self.push & (self.free != 0)):
            m.d.sync += [ring[pushed[:4]].eq(self.push_group), pushed.eq(pushed + 1)]
        most = 0
        for place in places:
            # groups this channel has not finished; the slowest channel holds the ring
            m.d.comb += place["held"].eq(pushed - place["at"])
            most = Mux(place["held"] > most, place["held"], most)
        m.d.comb += self.free.eq(RING_GROUPS - most)

        with m.Switch(self.channel):
            for index, place in enumerate(places):
                with m.Case(index):
                    m.d.comb += [
                        self.o.valid.eq(place["held"] != 0),
                        self.o.payload.die.eq(place["die"]),
                        self.o.payload.row.eq(
                            ring[place["at"][:4]] * geometry.pages + place["page"]
                        ),
                    ]
                    with m.If(self.o.valid & self.o.ready):
                        m.d.sync += place["die"].eq(place["die"] + 1)
                        with m.If(place["die"] == geometry.dies - 1):
                            m.d.sync += [place["die"].eq(0), place["page"].eq(place["page"] + 1)]
                            with m.If(place["page"] == geometry.pages - 1):
                                m.d.sync += [place["page"].eq(0), place["at"].eq(place["at"] + 1)]
        return m
