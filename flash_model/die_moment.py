"""What the handlers of a die's commands share: conditions and statements of one bus symbol."""

from amaranth.hdl import Cat, Mux, Signal
from amaranth.utils import bits_for

from .die_state import Opened, Work, busy_cycles
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
        The last operation has failed; known when the array rests.
    row_exists : Signal
        Of ``die.op_row``.
    takes_data : Value
        A program has its address: data, 85h or a confirmation may come.
    """

    def __init__(self, m, die, timing, geometry, clock_hz):
        self.die, self.old, self.new = die, die.state, die.next_state
        self.rows = geometry.rows
        self.at_rest, self.failed, self.row_exists = Signal(), Signal(), Signal()
        self._row_bits = max(1, bits_for(geometry.rows - 1))
        self._busy = busy_cycles(timing, clock_hz)
        self._behind = {
            "read": cycles(timing.t_r_ns, clock_hz),
            "program": cycles(timing.t_prog_ns, clock_hz),
        }
        self._left = Signal.like(die.behind)  # of what goes on behind, after this clock
        m.d.comb += [
            self.at_rest.eq(die.ready & (die.behind == 0)),
            self.failed.eq(die.verdict | self.old.no_row),
            self.row_exists.eq(die.op_row < geometry.rows),
            self._left.eq(Mux(die.behind == 0, 0, die.behind - 1)),
        ]

    @property
    def takes_data(self):
        return self.confirmed(Opened.PROGRAM, 5) | self.confirmed(Opened.WRITE_COLUMN, 2)

    def confirmed(self, opened, count):
        """The command that is open has so many address cycles."""
        return (self.old.opened == opened) & (self.old.count == count)

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
            self.die.starts.eq(1),
            self.die.busy_clocks.eq(busy),
            self.die.behind_clocks.eq(self._behind.get(behind, 0)),
            self.new.opened.eq(Opened.NONE),
            self.new.no_row.eq(~row_exists),
            self.new.failed_before.eq(0),
            self.new.programs.eq(0),
            self.new.work.eq(_WORKS.get(operation, Work.NONE)),
        ]

    def operates(self, op, valid=1):
        """The array carries out ``op``."""
        return [self.die.op_valid.eq(valid), self.die.op.eq(op)]
