"""What the handlers of a die's commands share: conditions and statements of one bus symbol."""

from amaranth.hdl import Cat, Const, Mux, Signal
from amaranth.utils import bits_for

from .array_port import PLANES_MAX, ArrayOp
from .die_state import Opened, Queue, Shows, Work, busy_cycles
from .timing import cycles

__all__ = ["Moment"]

_WORKS = {"program": Work.PROGRAM, "erase": Work.ERASE}


class Moment:
    """A die in the clock of a bus symbol. Methods return conditions, or statements for ``comb``.

    Parameters
    ----------
    m : Module
    die : Die
    timing : Timing
    geometry : Geometry
    clock_hz : int

    Attributes
    ----------
    old, new : die_state()
        State before and after.
    at_rest : Signal
        R/B# is high and nothing goes on behind it.
    failed : Signal
        The last operation has failed in a plane; known when the array rests.
    row_exists : Signal
        Of ``die.op_row``.
    fits : Signal
        ``die.op_row`` exists, and keeps the rules for planes beside the rows that are noted.
    only_senses : Signal
        R/B# is low for page reads of independent planes and for nothing else.
    plane_senses : Signal
        ... and the plane of ``die.op_row`` is not among them.
    takes_data : Value
        A program has its address: data, 85h or a confirmation may come.
    """

    def __init__(self, m, die, timing, geometry, clock_hz):
        self.die, self.old, self.new = die, die.state, die.next_state
        self.rows, self._geometry = geometry.rows, geometry
        self.at_rest, self.failed, self.row_exists = Signal(), Signal(), Signal()
        self.fits, self.only_senses, self.plane_senses = Signal(), Signal(), Signal()
        self._row_bits = max(1, bits_for(geometry.rows - 1))
        self._busy = busy_cycles(timing, clock_hz)
        self._behind = {
            "read": cycles(timing.t_r_ns, clock_hz),
            "program": cycles(timing.t_prog_ns, clock_hz),
        }
        self._left = Signal.like(die.behind)  # of what goes on behind, after this clock
        m.d.comb += [
            self.at_rest.eq(die.ready & (die.behind == 0)),
            self.failed.eq(die.verdict.any() | self.old.no_row),
            self.row_exists.eq(die.op_row < geometry.rows),
            self.fits.eq(
                self.row_exists
                & ~self.old.wrong
                & ~self.old.queued.bit_select(self.plane_of(die.op_row), 1)
                & (
                    (self.old.queue == Queue.NONE)
                    | (self.old.queue == Queue.ERASE)
                    | (die.op_row % geometry.pages == self.old.page)
                )
            ),
            self._left.eq(Mux(die.behind == 0, 0, die.behind - 1)),
        ]
        if geometry.plane_independent:
            m.d.comb += [
                self.only_senses.eq(self.old.senses & ~die.ready),
                self.plane_senses.eq(self.only_senses & self.rests(self.plane_of(die.op_row))),
            ]

    @property
    def takes_data(self):
        return self.confirmed(Opened.PROGRAM, 5) | self.confirmed(Opened.WRITE_COLUMN, 2)

    def confirmed(self, opened, count):
        """The command that is open has so many address cycles."""
        return (self.old.opened == opened) & (self.old.count == count)

    def plane_of(self, row):
        """Plane of a row."""
        if self._geometry.planes == 1:
            return Const(0, 1)
        return (row // self._geometry.pages % self._geometry.planes)[: bits_for(PLANES_MAX - 1)]

    def rests(self, plane):
        """A plane is at rest, whatever R/B# says."""
        if not self._geometry.plane_independent:
            return self.at_rest
        ends = self.old.plane_rests.as_value().word_select(plane, len(self.die.left))
        return self.at_rest | self.only_senses & (self.die.left <= ends)

    def senses(self):
        """The row is sensed, and those noted for other planes."""
        old, new, die = self.old, self.new, self.die
        plane = self.plane_of(die.op_row)
        statements = [
            *self.begins("read"),
            *self.operates(ArrayOp.READ, self.fits),
            new.word.eq(old.address[:16] >> 3),
            new.row.eq(die.op_row),
            new.plane.eq(plane),
            new.shows.eq(Shows.PAGE),
        ]
        if not self._geometry.plane_independent:
            return statements
        # What is left of each plane's sensing ends where R/B#'s new timer has so much less to go.
        full = self._busy["read"]
        for other in range(self._geometry.planes):
            ends = old.plane_rests[other]
            left = Mux(self.only_senses & (die.left > ends), die.left - ends - 1, 0)
            begins = old.queued[other] | (plane == other)
            statements.append(new.plane_rests[other].eq(Mux(begins, 0, full - left)))
        return [*statements, new.senses.eq(1)]

    def ours(self, *row):
        """The row address, given by its parts from the lowest bit on, means this LUN."""
        return Cat(*row)[self._row_bits :] == 0

    def opens(self, opened):
        """A command that waits for its address."""
        return [self.new.opened.eq(opened), self.new.count.eq(0)]

    def begins(self, operation, *, behind=None, row_exists=1):
        """R/B# falls for ``operation`` of `busy_cycles`; the array does ``behind`` after it."""
        busy = self._busy[operation] + (0 if operation == "reset" else self._left)
        return [
            *self.falls(busy, self._behind.get(behind, 0)),
            self.new.no_row.eq(~row_exists),
            self.new.failed_before.eq(0),
            self.new.programs.eq(0),
            self.new.work.eq(_WORKS.get(operation, Work.NONE)),
        ]

    def falls(self, clocks, behind=0):
        """R/B# falls for so many clocks, the array goes on after them; what was open is not."""
        return [
            self.die.starts.eq(1),
            self.die.busy_clocks.eq(clocks),
            self.die.behind_clocks.eq(behind),
            self.new.opened.eq(Opened.NONE),
            self.new.copies.eq(0),
            *([self.new.senses.eq(0)] if self._geometry.plane_independent else []),
            *self.forgets(),
        ]

    def forgets(self):
        """The rows noted for a multi-plane command are dropped."""
        return [self.new.queue.eq(Queue.NONE), self.new.queued.eq(0), self.new.wrong.eq(0)]

    def notes(self, queue):
        """32h, 11h or D1h: the row waits for those of other planes."""
        old, new, die = self.old, self.new, self.die
        return [
            *self.begins("plane"),
            *self.operates(ArrayOp.NOTE, self.fits),
            new.queue.eq(queue),
            new.queued.eq(old.queued | (1 << self.plane_of(die.op_row))),
            new.page.eq(die.op_row % self._geometry.pages),
            new.wrong.eq(~self.fits),
        ]

    def operates(self, op, valid=1):
        """The array carries out ``op``."""
        return [self.die.op_valid.eq(valid), self.die.op.eq(op)]
