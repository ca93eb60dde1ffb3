"""Gets pages ready that are about to be moved, before the bus has to wait for them.

It looks along the next few pages in the order of their moving and asks for what is missing: 3Fh for
a page that is still behind the cache register of a die without further reads, CHANGE READ COLUMN
for a page whose output does not begin where it is wanted, as that of each page of several planes
sensed together. Pages further back can wait: a read that
comes meanwhile for the same die makes 3Fh unnecessary.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS

from .die_table import dies_layout
from .operations import WORD_BITS
from .read_queues import queue_entry

__all__ = ["Ahead", "LOOKAHEAD"]

LOOKAHEAD = 4
"""Pages looked at, the next to be moved included."""

URGENT = 2
"""A page among the next so many must be on its way now: getting to the cache register takes less
than the data phase of the one before."""


class Ahead(wiring.Component):
    """Finds the next page that needs a command before it can be moved. The result is registered.

    Parameters
    ----------
    dies : int

    Members
    -------
    ahead : Out(range(LOOKAHEAD))
        Which page is looked at, counted from the next to be moved.
    valid, page : In
        That page, ``queue_entry(dies)``.
    chosen : In(1)
        A sequence was chosen: what is needed may change.
    moved, moved_die : In
        It is the data phase of the next page, of this die: all others get one closer.
    moved_refused : In(1)
        The page was refused: its die has nothing to do with it.
    again : In(1)
        Look at all pages again.
    dies : In(dies_layout(dies))
    waiting : In(dies)
        Dies with reads that were not started, and may be read ahead.
    finish, set_column, read : Out(1)
        For ``die`` READ PAGE CACHE END is needed, or CHANGE READ COLUMN to ``column``, or its next
        read, which does as well; it can be given.
    die, row, column : Out
    urgent : Out(1)
        The bus will soon wait for it.
    quiet : Out(1)
        Nothing here changes at the coming clock edge, if nothing is chosen.
    """

    def __init__(self, dies):
        die = max(1, ceil_log2(dies))
        super().__init__(
            {
                "ahead": Out(range(LOOKAHEAD)),
                "valid": In(1),
                "page": In(queue_entry(dies)),
                "chosen": In(1),
                "moved": In(1),
                "moved_die": In(die),
                "moved_refused": In(1),
                "again": In(1),
                "dies": In(dies_layout(dies)),
                "waiting": In(dies),
                "finish": Out(1),
                "set_column": Out(1),
                "read": Out(1),
                "die": Out(die),
                "row": Out(ROW_BITS),
                "column": Out(WORD_BITS),
                "urgent": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        page, dies = self.page, self.dies
        seen = Signal(len(self.waiting))  # dies of pages passed: later ones cannot be in front yet

        def of_die(bits):
            return bits.bit_select(page.die, 1)

        in_front = Signal()
        none = Signal()  # no die gives it
        at_column = Signal()
        looks = Signal()
        close = Signal()
        m.d.comb += [
            in_front.eq(of_die(dies.in_front)),
            at_column.eq(
                ((page.column == 0) & ~page.further & ~of_die(dies.spread)) | of_die(dies.at_column)
            ),
            none.eq(self.valid & (page.refused | of_die(dies.lost | dies.dead))),
            looks.eq(self.valid & ~of_die(seen) & ~none),
            close.eq(self.ahead < URGENT),
        ]
        missing = Signal()
        finish = Signal()
        set_column = Signal()
        read = Signal()
        m.d.comb += [
            missing.eq(looks & ~in_front & of_die(dies.behind & dies.usable)),
            finish.eq(missing & ~of_die(self.waiting) & close),
            read.eq(missing & of_die(self.waiting)),
            set_column.eq(looks & in_front & ~at_column & of_die(dies.usable)),
        ]
        m.d.sync += [
            self.finish.eq(finish & ~self.chosen),
            self.set_column.eq(set_column & ~self.chosen),
            self.read.eq(read & ~self.chosen),
            self.urgent.eq((finish | read | set_column) & close & ~self.chosen),
            self.die.eq(page.die),
            self.row.eq(page.row),
            self.column.eq(page.column),
        ]

        passes = Signal()
        m.d.comb += [
            passes.eq(((looks & in_front & at_column) | none) & (self.ahead != LOOKAHEAD - 1)),
            self.quiet.eq(
                ~passes
                & (self.finish == finish)
                & (self.set_column == set_column)
                & (self.read == read)
            ),
        ]
        with m.If(passes & ~(self.moved & (self.ahead == 0))):
            with m.If(~none):
                m.d.sync += seen.bit_select(page.die, 1).eq(1)
            with m.If(~self.moved):
                m.d.sync += self.ahead.eq(self.ahead + 1)
        with m.Elif(self.moved & (self.ahead != 0)):
            m.d.sync += self.ahead.eq(self.ahead - 1)
        with m.If(self.moved & ~self.moved_refused):
            m.d.sync += seen.bit_select(self.moved_die, 1).eq(0)
        with m.If(self.again):
            m.d.sync += [self.ahead.eq(0), seen.eq(0)]
        return m
