"""The page reads of a channel that wait: in order, and for each die.

One memory holds them in the order of their arrival. Those of a die that its array has not started
yet are chained through it, so that any division of the places among the dies is possible::

      entry    0      1      2      3      4
      die      3      5      3      3      5
               ^      |      |-link-^
               |      |      next of die 3 (entry 0 was started: its page waits to be moved)
               |      next of die 5, linked to 4
               first to be moved; ``ahead`` looks at entries behind it

A read of the page that the read before it on its die is of, if that is still here, is in no chain:
the page stays where it is until both have been moved. Entry 3 above would be such a *further* read
if its row were that of entry 2.

Where pages of several planes are sensed together (`rtl.nand.planes`), what comes is compared with
the last of its die's chain and the planes of those that it follows: it *joins* them or it does not.
Any stretch of a chain whose reads join each other can be sensed together.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS

from .operations import WORD_BITS

__all__ = ["ReadQueues", "queue_entry", "read_entry"]


def read_entry(dies):
    """A page read; one that is refused is never started, the low bits of its row are the cause."""
    return data.StructLayout(_fields(dies))


def _fields(dies):
    return {
        "refused": 1,
        "die": max(1, ceil_log2(dies)),
        "row": ROW_BITS,
        "column": WORD_BITS,
        "words": WORD_BITS,
    }


def queue_entry(dies):
    """A page read, and whether the read before it has its page sensed already."""
    return data.StructLayout({**_fields(dies), "further": 1})


class ReadQueues(wiring.Component):
    """Queue of page reads with two ways out: by die to be started, in order to be moved.

    Parameters
    ----------
    dies : int
    depth : int
        Places.
    lookahead : int
        Entries that can be looked at: the first to be moved and those behind it.
    planes : Planes, optional
        Sense pages of several planes together.

    Members
    -------
    i : In(stream(read_entry(dies)))
    dead : In(dies)
        Dies whose reads will not be started any more.
    waiting : Out(dies)
        Dies with reads that were not started.
    die : In
        Selects a waiting die; ``next`` is its next read.
    next : Out(queue_entry(dies))
    start : In(1)
        ``next`` is started in this clock.
    valid : Out(1)
    first : Out(queue_entry(dies))
        The read whose data come first; it stays until ``move``.
    stays : Out(1)
        Its page is wanted again by a further read: it must stay in front after the move.
    move : In(1)
        Its data are being moved: forget it. Only after it was started, or never will be.
    ahead : In(range(lookahead))
        Selects the entry so many behind the first; ``look`` is that entry.
    look_valid : Out(1)
    look : Out(queue_entry(dies))
    pairs : Out(dies)
        With ``planes``: waiting dies whose next read is joined by the one behind it.
    """

    def __init__(self, dies, depth, lookahead, planes=None):
        self._dies = dies
        self._depth = depth
        self._planes = planes
        entry = queue_entry(dies)
        super().__init__(
            ({"pairs": Out(dies)} if planes else {})
            | {
                "i": In(stream.Signature(read_entry(dies))),
                "dead": In(dies),
                "waiting": Out(dies),
                "die": In(max(1, ceil_log2(dies))),
                "next": Out(entry),
                "start": In(1),
                "valid": Out(1),
                "first": Out(entry),
                "stays": Out(1),
                "move": In(1),
                "ahead": In(range(lookahead)),
                "look_valid": Out(1),
                "look": Out(entry),
            }
        )

    def elaborate(self, platform):
        m = Module()
        depth = max(2, self._depth)
        m.submodules.entries = entries = memory.Memory(
            shape=self.first.shape(), depth=depth, init=[]
        )
        m.submodules.links = links = memory.Memory(shape=range(depth), depth=depth, init=[])
        write, link = entries.write_port(), links.write_port()
        by_die, by_order, by_look, by_last = (entries.read_port(domain="comb") for _ in range(4))
        follow = links.read_port(domain="comb")

        further = Signal()  # the arriving read finds its page sensed, or soon to be
        level = Signal(range(self._depth + 1))
        arrival = Signal(range(depth))
        departure = Signal(range(depth))
        taken = Signal()
        m.d.comb += [
            self.i.ready.eq(level != self._depth),
            taken.eq(self.i.valid & self.i.ready),
            write.addr.eq(arrival),
            *(write.data[name].eq(self.i.payload[name]) for name, _ in self.i.payload.shape()),
            write.data.further.eq(further),
            write.en.eq(taken),
            self.valid.eq(level != 0),
            by_order.addr.eq(departure),
            self.first.eq(by_order.data),
            self.look_valid.eq(level > self.ahead),
            by_look.addr.eq(self._wrapped(depth, departure + self.ahead)),
            self.look.eq(by_look.data),
        ]
        with m.If(taken):
            m.d.sync += arrival.eq(self._wrapped(depth, arrival + 1))
        with m.If(self.move):
            m.d.sync += departure.eq(self._wrapped(depth, departure + 1))
        m.d.sync += level.eq(level + taken - self.move)

        self._further_reads(m, further, taken, arrival, departure, by_last)

        # Chains: their ends by die, and links between them.
        heads = [Signal(range(depth), name=f"head_{die}") for die in range(self._dies)]
        tails = [Signal(range(depth), name=f"tail_{die}") for die in range(self._dies)]
        into = self.i.payload.die
        head = Signal(range(depth))
        alone = Signal()  # `next` is the only read of its die
        joins = Signal()  # the arriving read joins its die's chain,
        behind = Signal()  # behind another
        both = self.start & (self.die == into)
        m.d.comb += [
            head.eq(_select(heads, self.die)),
            alone.eq(head == _select(tails, self.die)),
            by_die.addr.eq(head),
            self.next.eq(by_die.data),
            follow.addr.eq(head),
            behind.eq(self.waiting.bit_select(into, 1) & ~(both & alone)),
            link.addr.eq(_select(tails, into)),
            link.data.eq(arrival),
            joins.eq(taken & ~further & ~self.i.payload.refused),
            link.en.eq(joins & behind),
        ]
        for die in range(self._dies):
            with m.If(self.start & (self.die == die)):
                m.d.sync += [heads[die].eq(follow.data), self.waiting[die].eq(~alone)]
            with m.If(joins & (into == die)):
                m.d.sync += [tails[die].eq(arrival), self.waiting[die].eq(1)]
                with m.If(~behind):
                    m.d.sync += heads[die].eq(arrival)
            with m.If(self.dead[die]):
                m.d.sync += self.waiting[die].eq(0)
        if self._planes:
            chain = _Chain(
                arrives=taken,
                arrival=arrival,
                joins=joins,
                behind=behind,
                head=_select(heads, into),
                tail=_select(tails, into),
                row=by_last.data.row,
                starts_last=alone,
                after=follow.data,
            )
            self._pairs(m, chain)
        return m

    def _pairs(self, m, chain):
        """Whether the arriving read joins the last of its die's chain, and which heads are joined.

        That one may stand behind further reads of the row it has: the last to come tells as well.
        """
        planes, read = self._planes, self.i.payload
        m.submodules.runs = runs = memory.Memory(  # planes of the reads that join each other
            shape=planes.number, depth=max(2, self._dies), init=[]
        )
        extended, run = runs.write_port(), runs.read_port(domain="comb")
        joined = Signal(max(2, self._depth))  # by the next of its chain, for each place
        fits = Signal()
        plane = Signal(planes.number)
        m.d.comb += [
            plane.eq(1 << planes.plane(read.row)),
            run.addr.eq(read.die),
            fits.eq(
                chain.joins
                & chain.behind
                & (planes.page(chain.row) == planes.page(read.row))
                & ~(run.data & plane).any()
            ),
            extended.addr.eq(read.die),
            extended.data.eq(Mux(fits, run.data, 0) | plane),
            extended.en.eq(chain.joins),
        ]
        with m.If(chain.arrives):
            m.d.sync += joined.bit_select(chain.arrival, 1).eq(0)
        with m.If(fits):
            m.d.sync += joined.bit_select(chain.tail, 1).eq(1)
        with m.If(chain.joins & (~chain.behind | (chain.head == chain.tail))):
            m.d.sync += self.pairs.bit_select(read.die, 1).eq(fits)
        with m.If(self.start):
            arrives = fits & (read.die == self.die) & (chain.tail == chain.after)
            m.d.sync += self.pairs.bit_select(self.die, 1).eq(
                ~chain.starts_last & (joined.bit_select(chain.after, 1) | arrives)
            )

    def _further_reads(self, m, further, taken, arrival, departure, by_last):
        """Whether the arriving read is ``further``, and whether one follows the first."""
        depth, into = len(arrival), self.i.payload.die
        lasts = [Signal(depth, name=f"last_{die}") for die in range(self._dies)]
        here = Signal(self._dies)  # the read that came last for a die is still here
        followed = Signal(max(2, self._depth))  # by a further read, for each place
        last = Signal(depth)
        leaves = Signal()
        m.d.comb += [
            last.eq(_select(lasts, into)),
            leaves.eq(self.move & (departure == last)),
            by_last.addr.eq(last),
            further.eq(
                here.bit_select(into, 1)
                & ~leaves
                & ~self.i.payload.refused
                & (by_last.data.row == self.i.payload.row)
            ),
            self.stays.eq(followed.bit_select(departure, 1)),
        ]
        for die in range(self._dies):
            with m.If(self.move & (self.first.die == die) & (departure == lasts[die])):
                m.d.sync += here[die].eq(0)
        with m.If(taken & ~self.i.payload.refused):
            m.d.sync += [
                here.bit_select(into, 1).eq(1),
                followed.bit_select(arrival, 1).eq(0),
            ]
            for die in range(self._dies):
                with m.If(into == die):
                    m.d.sync += lasts[die].eq(arrival)
            with m.If(further):
                m.d.sync += followed.bit_select(last, 1).eq(1)

    @staticmethod
    def _wrapped(depth, place):
        return Mux(place >= depth, place - depth, place)


@dataclass(frozen=True)
class _Chain:
    """The chain of the arriving read, and that of the read that is started.

    Parameters
    ----------
    arrives, arrival : Value
        A read arrives, at this place.
    joins, behind : Value
        It joins its die's chain, behind another.
    head, tail : Value
        Places of that chain's ends.
    row : Value
        Of the read that came last for its die, if it joins behind another.
    starts_last, after : Value
        The read that is started is the only one of its chain; else the place of the one behind it.
    """

    arrives: Value
    arrival: Value
    joins: Value
    behind: Value
    head: Value
    tail: Value
    row: Value
    starts_last: Value
    after: Value


def _select(values, index):
    return Cat(*values).word_select(index, len(values[0]))
