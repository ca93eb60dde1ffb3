"""What each die of a channel holds, and what it can do next.

A page is *in front* when the cache register holds it for the bus, or will once R/B# is high, and
*behind* when only the data register does::

                   30h                31h of the next read
      nothing ------------> in front ----------------------> in front, one behind
         ^                   |    ^                             |          ^
         +---- data output --+    |                 data output |          | 31h of the
                                  |                             v          | next read
                                  +----------- 3Fh ---------- one behind --+

A page that further reads want stays in front after a data output; each of them needs CHANGE READ
COLUMN, because the output stands where the one before has ended.

Pages of several planes sensed together (`rtl.nand.planes`) are all *in front*, one after another in
the order of their reads: one of them and a count of those after it. The output shows the last of
them, so each needs CHANGE READ COLUMN; there is nothing behind them.

A die that does not get ready in time is reset (`rtl.nand.watchdog`). What it held or did is *lost*
then: its pages are given out as zeros, its program or erase fails. Of a dead die everything is.

Everything changes when a sequence is chosen, not when the bus has done it: the bus does sequences
one after another, so whatever is chosen later finds the die as the table says. Only R/B# needs
care: it says nothing of a sequence chosen and not yet confirmed, nor during tWB.
"""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from flash_model.timing import cycles

from .bus import progress_layout
from .planes import planes_of
from .ready import ReadyFilter
from .steps import Sequence
from .watchdog import MARGIN, Watchdog

__all__ = ["DieTable", "dies_layout"]

_SUSPENSION = (
    Sequence.SUSPEND_PROGRAM,
    Sequence.SUSPEND_ERASE,
    Sequence.RESUME_PROGRAM,
    Sequence.RESUME_ERASE,
)

_OCCUPY = (
    Sequence.READ,
    Sequence.READ_CACHE,
    Sequence.READ_CACHE_END,
    Sequence.COLUMN,
    Sequence.PROGRAM,
    Sequence.ERASE,
    Sequence.RESET,
    Sequence.READ_RETRY,
    Sequence.RECOVER,
    *_SUSPENSION,
)
"""Sequences that leave a die unusable for a while."""

_PLANES = (Sequence.READ_PLANE, Sequence.PROGRAM_PLANE, Sequence.ERASE_PLANE)
"""After these a die waits for more of the command."""


def dies_layout(dies):
    """What there is to know of the dies, one bit for each."""
    return data.StructLayout(
        {
            "usable": dies,  # ready, as far as can be known: takes commands, shows its page
            "in_front": dies,  # a page for the bus in the cache register
            "behind": dies,  # another one behind it
            "at_column": dies,  # the page in front will be shown from the column of its read on
            "spread": dies,  # it is one of several planes: without that it is not shown at all
            "in_status": dies,  # output shows the status
            "reads": dies,  # a waiting read can be started, as a cache read if a page is held
            "idle": dies,  # usable, holds nothing, has no work and no waiting read
            "answers": dies,  # the status can be read
            "due": dies,  # a program, an erase or a reset ends: its status is to be read, if any
            "recovered": dies,  # was reset as it was late: what was begun before is lost
            "lost": dies,  # pages that it holds are
            "dead": dies,
            "working": dies,  # a program, an erase or a reset is not complete
            "busy": dies,  # R/B# is low
        }
    )


class DieTable(wiring.Component):
    """States of the dies of a channel; one bit for each die in all ``dies`` wide members.

    Parameters
    ----------
    profile : Profile
    clock_hz : int
        Core clock.
    margin : int
        See `rtl.nand.watchdog`.

    Members
    -------
    ready : In(dies)
        R/B#.
    progress : In(progress_layout(dies))
        What the bus has done.
    waiting : In(dies)
        Dies with reads that were not started.
    together : In(dies)
        With planes: dies whose next read is to be sensed with others, once no page is held.
    suspended, open : In(dies)
        Dies whose program or erase is suspended; those that may read meanwhile.
    chosen, choice, die : In
        This sequence was chosen.
    stays : In(1)
        If it is a data phase: a further read wants its page.
    checked, checked_die : In
        A program, an erase or a reset of this die is complete: its status was read.
    loses : In(1)
        The sequence chosen is the FILL of a page that was lost.
    recover, recover_die : Out
        This die is to be reset: it is late.
    skip, next_event : In(32), Out(32)
        See `rtl.nand.watchdog`.
    dies : Out(dies_layout(dies))
    pending : Out(1)
        Some die holds a page or has work not yet completed.
    quiet : Out(1)
        Nothing here changes until an input does.
    gathers : Out(dies)
        Where operations of several planes are given together: dies that wait for more.
    """

    def __init__(self, profile, clock_hz, margin=MARGIN):
        dies = profile.geometry.dies
        self._watchdog = Watchdog(profile, clock_hz, margin)
        self._t_rr = cycles(profile.timing.t_rr_ns, clock_hz)
        self._t_ccs = cycles(profile.timing.t_ccs_ns, clock_hz)
        self._planes = planes_of(profile)
        die = max(1, ceil_log2(dies))
        super().__init__(
            ({"gathers": Out(dies), "together": In(dies)} if self._planes else {})
            | {
                "ready": In(dies),
                "progress": In(progress_layout(dies)),
                "waiting": In(dies),
                "suspended": In(dies),
                "open": In(dies),
                "chosen": In(1),
                "choice": In(Sequence),
                "die": In(die),
                "stays": In(1),
                "checked": In(1),
                "checked_die": In(die),
                "loses": In(1),
                "recover": Out(1),
                "recover_die": Out(die),
                "skip": In(32),
                "next_event": Out(32),
                "dies": Out(dies_layout(dies)),
                "pending": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        dies, progress = self.dies, self.progress
        count = len(self.ready)
        working = Signal(count)  # program, erase or reset, status not yet read
        cached = Signal(count)  # 31h may follow: 30h or 31h was given, and no 3Fh since
        turned = Signal(count)  # CHANGE READ COLUMN was given for the page in front
        shown = Signal(count)  # data of the page in front were moved
        sent = Signal(count)  # chosen, not yet confirmed on the bus
        late = Signal(count)

        m.submodules.watchdog = watchdog = self._watchdog
        m.submodules.rb = rb = ReadyFilter(count, self._t_rr)
        changing = self._changing_columns(m, count)
        occupy = _OCCUPY
        may_begin, kept = ~working, self.suspended
        reads_ahead, more = cached & ~(dies.in_front & dies.behind), Const(0, 1)
        if self._planes:
            occupy = (*_OCCUPY, *_PLANES, Sequence.COLUMN_PLANE)
            may_begin, kept = ~working | self.gathers, self.suspended | self.gathers
            reads_ahead &= ~self.together
            more = self._pages_of_planes(m, working)
        holds = dies.in_front | dies.behind
        may_read = Signal(count)
        m.d.comb += [
            rb.ready.eq(self.ready),
            rb.settling.eq(progress.settling),
            rb.settling_die.eq(progress.settling_die),
            watchdog.settled.eq(rb.settled),
            watchdog.sent.eq(sent),
            watchdog.chosen.eq(self.chosen),
            watchdog.choice.eq(self.choice),
            watchdog.die.eq(self.die),
            watchdog.skip.eq(self.skip),
            self.next_event.eq(watchdog.next_event),
            self.recover.eq(watchdog.recover),
            self.recover_die.eq(watchdog.recover_die),
            late.eq(watchdog.recover << watchdog.recover_die),
            dies.dead.eq(watchdog.dead),
            dies.lost.eq(dies.recovered & holds),
            dies.usable.eq(rb.settled & ~(sent | changing | late | watchdog.dead)),
            dies.answers.eq(~(rb.blind | sent | changing)),
            may_read.eq(~holds | reads_ahead),
            dies.reads.eq(self.waiting & dies.usable & (~working | self.open) & may_read),
            dies.idle.eq(dies.usable & may_begin & ~holds & ~self.waiting),
            dies.due.eq(working & ((dies.usable & ~kept) | watchdog.dead)),
            dies.working.eq(working),
            dies.busy.eq(~(self.ready | rb.blind | sent | late | watchdog.dead)),
            # 30h alone takes the column from its address; what comes from behind starts at 0.
            dies.at_column.eq(turned | (dies.in_front & ~dies.behind & cached & ~shown)),
            self.pending.eq(((holds & ~watchdog.dead) | working).any()),
            self.quiet.eq(
                rb.stable & (changing == 0) & watchdog.quiet & ~(watchdog.dead & self.waiting).any()
            ),
        ]

        def put(value, *vectors):
            return [vector.bit_select(self.die, 1).eq(value) for vector in vectors]

        with m.If(progress.ended), m.Switch(progress.sequence), m.Case(*occupy):
            m.d.sync += sent.bit_select(progress.die, 1).eq(0)
        with m.If(self.checked):
            m.d.sync += working.bit_select(self.checked_die, 1).eq(0)
        with m.If(self.chosen), m.Switch(self.choice):
            with m.Case(Sequence.READ):
                m.d.sync += [put(1, dies.in_front, cached, sent)]
                m.d.sync += put(0, dies.in_status, dies.recovered)
            with m.Case(Sequence.READ_CACHE):
                m.d.sync += [put(1, dies.in_front, dies.behind, sent)]
                m.d.sync += put(0, turned, dies.in_status)
            with m.Case(Sequence.READ_CACHE_END):
                m.d.sync += [put(1, dies.in_front, sent), put(0, dies.behind, cached)]
                m.d.sync += put(0, dies.in_status)
            with m.Case(Sequence.COLUMN):
                m.d.sync += [put(1, turned, sent), put(0, dies.in_status)]
            with m.Case(Sequence.DATA, Sequence.DATA_AFTER_STATUS):
                m.d.sync += put(0, turned, dies.in_status)
                m.d.sync += [put(self.stays | more, dies.in_front), put(self.stays, shown)]
            with m.Case(Sequence.RECOVER):
                m.d.sync += [put(1, dies.recovered, sent), put(0, cached, turned, dies.in_status)]
            with m.Case(Sequence.FILL), m.If(self.loses & ~self.stays & ~more):
                m.d.sync += [
                    put(0, dies.in_front),
                    dies.behind.eq(dies.behind & (dies.in_front | ~(1 << self.die))),
                ]
            with m.Case(Sequence.PROGRAM, Sequence.ERASE, Sequence.RESET, Sequence.READ_RETRY):
                m.d.sync += [put(1, working, sent), put(0, dies.recovered)]
            with m.Case(*_SUSPENSION):
                m.d.sync += put(1, sent)
            with m.Case(Sequence.STATUS):
                m.d.sync += put(1, dies.in_status)
            with m.Case(Sequence.READ_ID):
                m.d.sync += put(0, dies.in_status)
            if self._planes:
                with m.Case(Sequence.PROGRAM_PLANE, Sequence.ERASE_PLANE):
                    m.d.sync += [put(1, working, sent), put(0, dies.recovered)]
                with m.Case(Sequence.READ_PLANE):
                    m.d.sync += [put(1, sent), put(0, dies.in_status, dies.recovered)]
                with m.Case(Sequence.COLUMN_PLANE):
                    m.d.sync += [put(1, turned, sent), put(0, dies.in_status)]
                with m.Case(Sequence.STATUS_PLANE):
                    m.d.sync += put(1, dies.in_status)
        if self._planes:
            gathered = self.gathers.bit_select(self.die, 1)
            with m.If(self.chosen), m.Switch(self.choice):
                with m.Case(*_PLANES):
                    m.d.sync += put(1, self.gathers)
                with m.Case(Sequence.READ):
                    m.d.sync += [put(0, self.gathers), put(gathered, dies.spread)]
                    m.d.sync += put(~gathered, cached)
                with m.Case(Sequence.PROGRAM, Sequence.ERASE):
                    m.d.sync += put(0, self.gathers)
                with m.Case(Sequence.RECOVER):
                    m.d.sync += put(0, self.gathers)
                    with m.If(gathered & ~working.bit_select(self.die, 1)):
                        m.d.sync += put(1, dies.in_front)  # what is noted so far is lost
        return m

    def _pages_of_planes(self, m, working):
        """Whether pages of ``die`` that were sensed together stand behind the one in front."""
        later = Signal(data.ArrayLayout(self._planes.plane_bits, len(self.ready)))
        mine = later[self.die]
        more = Signal()
        m.d.comb += more.eq(mine != 0)
        with m.If(self.chosen), m.Switch(self.choice):
            with m.Case(Sequence.READ_PLANE):
                m.d.sync += mine.eq(mine + 1)
            with m.Case(Sequence.DATA, Sequence.DATA_AFTER_STATUS):
                m.d.sync += mine.eq(mine - (more & ~self.stays))
            with m.Case(Sequence.FILL):
                m.d.sync += mine.eq(mine - (more & ~self.stays & self.loses))
            with m.Case(Sequence.RECOVER):  # the last one noted stands in front
                m.d.sync += mine.eq(mine - (self.gathers & ~working).bit_select(self.die, 1))
        return more

    def _changing_columns(self, m, count):
        """Dies in their tCCS. One timer for all: it starts again with each CHANGE READ COLUMN."""
        progress = self.progress
        changing = Signal(count)
        left = Signal(range(self._t_ccs + 1))
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(left == 1):
            m.d.sync += changing.eq(0)
        is_column = progress.sequence == Sequence.COLUMN
        if self._planes:
            is_column |= progress.sequence == Sequence.COLUMN_PLANE
        with m.If(progress.ended & is_column):
            m.d.sync += [left.eq(self._t_ccs), changing.bit_select(progress.die, 1).eq(1)]
        return changing
