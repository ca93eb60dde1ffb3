"""Page allocation of the append path: the next page of an open block group, on the die wanted.

The firmware pushes erased block groups (one block number, the same on every die) into a ring; each
channel fills them in that order. Within a group a die may run ahead of the slowest one of its
channel by up to `MAX_SKEW` pages, so that pages which are read together can lie on different dies
however they came to be written::

    page 5            .  .  .        base = 2: every die has taken pages 0 and 1
    page 4            .  .  .        skew = 0 2 1 0: what each die has taken beyond
    page 3            #  .  .
    page 2         .  #  #  .
              die  0  1  2  3

A channel takes all pages of a group before it goes on to the next.
"""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS

__all__ = ["MAX_SKEW", "RING_GROUPS", "Allocator", "page_layout", "wish_layout"]

RING_GROUPS = 16
"""Block groups the ring holds."""

MAX_SKEW = 7
"""Pages by which a die may be ahead of the slowest die of its channel."""


def wish_layout(geometry):
    """Where a page is wanted: on this channel, on this die or the next that has room."""
    return data.StructLayout(
        {
            "channel": max(1, ceil_log2(geometry.channels)),
            "die": max(1, ceil_log2(geometry.dies)),
        }
    )


def page_layout(geometry):
    """The page dealt."""
    return data.StructLayout({"die": max(1, ceil_log2(geometry.dies)), "row": ROW_BITS})


class Allocator(wiring.Component):
    """Deals out pages, one request at a time. Latency 3.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    push : In(1), push_group : In(16)
        Adds a block group; ignored when ``free`` is 0.
    free : Out(5)
        Block groups that may still be pushed.
    i : In(stream), ``wish_layout()``
    o : Out(stream), ``page_layout()``
    starved : Out(1)
        A request waits for a block group.
    quiet : Out(1)
    """

    def __init__(self, geometry):
        self._geometry = geometry
        super().__init__(
            {
                "push": In(1),
                "push_group": In(16),
                "free": Out(5),
                "i": In(stream.Signature(wish_layout(geometry))),
                "o": Out(stream.Signature(page_layout(geometry))),
                "starved": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        dies = geometry.dies
        ring = Array(Signal(16, name=f"group_{i}") for i in range(RING_GROUPS))
        pushed = Signal(5)
        place = data.StructLayout(
            {
                "at": 5,  # groups this channel has filled, modulo 32
                "base": range(max(2, geometry.pages)),
                "skew": data.ArrayLayout(range(MAX_SKEW + 1), dies),
            }
        )
        places = [Signal(place, name=f"place_{c}") for c in range(geometry.channels)]

        with m.If(self.push & (self.free != 0)):
            m.d.sync += [ring[pushed[:4]].eq(self.push_group), pushed.eq(pushed + 1)]
        most: Value = Const(0, 5)  # the slowest channel holds the ring
        for channel, mine in enumerate(places):
            held = Signal(5, name=f"held_{channel}")
            so_far = Signal(5, name=f"most_{channel}")
            m.d.comb += [held.eq(pushed - mine.at), so_far.eq(Mux(held > most, held, most))]
            most = so_far
        m.d.comb += self.free.eq(RING_GROUPS - most)

        wish = Signal(wish_layout(geometry))
        mine = Signal(place)
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += [self.i.ready.eq(1), self.quiet.eq(~self.i.valid)]
                with m.If(self.i.valid):
                    m.d.sync += wish.eq(self.i.payload)
                    m.next = "LOAD"
            with m.State("LOAD"):
                with m.Switch(wish.channel):
                    for channel, stored in enumerate(places):
                        with m.Case(channel):
                            m.d.sync += mine.eq(stored)
                m.next = "CHOOSE"
            with m.State("CHOOSE"):
                group_open = pushed != mine.at
                m.d.comb += [self.starved.eq(~group_open), self.quiet.eq(~group_open)]
                die, skew = self._choose(m, wish, mine)
                m.d.sync += [
                    self.o.payload.die.eq(die),
                    self.o.payload.row.eq(ring[mine.at[:4]] * geometry.pages + mine.base + skew),
                ]
                with m.If(group_open):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [self.o.valid.eq(1), self.quiet.eq(~self.o.ready)]
                with m.If(self.o.ready):
                    after = self._take(m, mine, place)
                    with m.Switch(wish.channel):
                        for channel, stored in enumerate(places):
                            with m.Case(channel):
                                m.d.sync += stored.eq(after)
                    m.next = "IDLE"
        return m

    def _choose(self, m, wish, mine):
        """The die wanted or the first after it that may take a page; the slowest always may."""
        geometry = self._geometry
        dies = geometry.dies
        can = Signal(dies)
        can_after = Signal(dies)
        die = Signal(range(max(2, dies)), name="chosen_die")
        skew = Signal(range(MAX_SKEW + 1), name="chosen_skew")
        for index in range(dies):
            mine_skew = mine.skew[index]
            m.d.comb += [
                can[index].eq((mine_skew != MAX_SKEW) & (mine.base + mine_skew < geometry.pages)),
                can_after[index].eq(can[index] & (wish.die <= index)),
            ]
        for candidates in (can, can_after):  # the later assignment wins
            with m.If(candidates.any()):
                for index in reversed(range(dies)):
                    with m.If(candidates[index]):
                        m.d.comb += [die.eq(index), skew.eq(mine.skew[index])]
        return die, skew

    def _take(self, m, mine, place):
        """What the channel's place becomes once the page at ``o`` is taken."""
        geometry = self._geometry
        dies = geometry.dies
        taken = Signal(place)
        after = Signal(place)
        m.d.comb += taken.eq(mine)
        for index in range(dies):
            with m.If(self.o.payload.die == index):
                m.d.comb += taken.skew[index].eq(mine.skew[index] + 1)
        m.d.comb += after.eq(taken)
        with m.If(Cat(taken.skew[index] != 0 for index in range(dies)).all()):
            m.d.comb += after.base.eq(mine.base + 1)
            for index in range(dies):
                m.d.comb += after.skew[index].eq(taken.skew[index] - 1)
            with m.If(mine.base == geometry.pages - 1):
                m.d.comb += [after.base.eq(0), after.at.eq(mine.at + 1)]
        return after
