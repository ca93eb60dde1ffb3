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

A block that has gone bad is stood in for: the firmware names a die and a block whose pages are
dealt instead. That holds until the last page of the block has been dealt, so what the firmware says
of a group it says before it pushes it, or while no page is being dealt.
"""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS

__all__ = [
    "MAX_SKEW",
    "RING_GROUPS",
    "Allocator",
    "page_layout",
    "substitute_layout",
    "wish_layout",
]

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


def substitute_layout(geometry):
    """The block that serves for one that is bad, and of which group, channel and die that one is.

    ``place`` counts the groups pushed, modulo `RING_GROUPS`.
    """
    die = max(1, ceil_log2(geometry.dies))
    return data.StructLayout(
        {
            "place": ceil_log2(RING_GROUPS),
            "channel": max(1, ceil_log2(geometry.channels)),
            "die": die,
            "serves_die": die,
            "serves_block": 16,
        }
    )


class Allocator(wiring.Component):
    """Deals out pages, one request at a time. Latency 4.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    push : In(1), push_group : In(16)
        Adds a block group; ignored when ``free`` is 0.
    free : Out(5)
        Block groups that may still be pushed.
    substitute : In(1), substitution : In(``substitute_layout()``)
        Another block serves for one of a group.
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
                "substitute": In(1),
                "substitution": In(substitute_layout(geometry)),
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
        group = Signal(16)
        page = Signal(range(geometry.pages))
        ends = Signal()  # of its block
        substitution = self.substitution
        named = data.StructLayout({"die": len(substitution.die), "block": 16, "valid": 1})
        index_bits = len(substitution.place) + len(substitution.channel) + len(substitution.die)
        m.submodules.substitutes = substitutes = memory.Memory(
            shape=named, depth=1 << index_bits, init=[]
        )
        write, read = substitutes.write_port(), substitutes.read_port()
        asked_die = Signal(len(substitution.die))
        chosen = Signal(len(substitution.die))
        asked = Cat(asked_die, wish.channel, mine.at[:4])
        m.d.comb += [
            read.addr.eq(asked),
            read.en.eq(1),
            write.addr.eq(asked),
            write.data.eq(0),
        ]
        with m.If(self.substitute):
            m.d.comb += [
                write.en.eq(1),
                write.addr.eq(Cat(substitution.die, substitution.channel, substitution.place)),
                write.data.valid.eq(1),
                write.data.die.eq(substitution.serves_die),
                write.data.block.eq(substitution.serves_block),
            ]
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
                m.d.comb += asked_die.eq(die)
                m.d.sync += [
                    chosen.eq(die),
                    group.eq(ring[mine.at[:4]]),
                    page.eq(mine.base + skew),
                    ends.eq(mine.base + skew == geometry.pages - 1),
                ]
                with m.If(group_open):
                    m.next = "SUBSTITUTE"
            with m.State("SUBSTITUTE"):
                bad = read.data.valid
                m.d.sync += [
                    self.o.payload.die.eq(Mux(bad, read.data.die, chosen)),
                    self.o.payload.row.eq(Mux(bad, read.data.block, group) * geometry.pages + page),
                ]
                m.d.comb += asked_die.eq(chosen)
                with m.If(~self.substitute):  # the memory has one write port
                    m.d.comb += write.en.eq(ends)
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [self.o.valid.eq(1), self.quiet.eq(~self.o.ready)]
                with m.If(self.o.ready):
                    after = self._take(m, mine, chosen, place)
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

    def _take(self, m, mine, die, place):
        """What the channel's place becomes once a page of ``die`` is taken."""
        geometry = self._geometry
        dies = geometry.dies
        taken = Signal(place)
        after = Signal(place)
        m.d.comb += taken.eq(mine)
        for index in range(dies):
            with m.If(die == index):
                m.d.comb += taken.skew[index].eq(mine.skew[index] + 1)
        m.d.comb += after.eq(taken)
        with m.If(Cat(taken.skew[index] != 0 for index in range(dies)).all()):
            m.d.comb += after.base.eq(mine.base + 1)
            for index in range(dies):
                m.d.comb += after.skew[index].eq(taken.skew[index] - 1)
            with m.If(mine.base == geometry.pages - 1):
                m.d.comb += [after.base.eq(0), after.at.eq(mine.at + 1)]
        return after
