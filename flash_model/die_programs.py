"""Programs and erases of a die.

80h fills the cache register with FFh, data go where the column is, 85h changes the column. 10h
programs with R/B# low. 15h moves the page to the data register and lets R/B# rise, while the array
programs behind it: the next page may be filled in then, and its 10h or 15h waits for the array.
SR1 (FAILC) of the second of two such programs tells of the first, SR0 (FAIL) of the second itself,
once the array rests.
"""

from .array_port import ArrayOp
from .die_state import Opened, Shows, Work
from .onfi import Command

__all__ = ["program_commands"]


def program_commands(m, moment):
    """Cases of a switch over the command byte of a die whose R/B# is high."""
    old, new, die = moment.old, moment.new, moment.die
    free = old.suspended == Work.NONE
    may_program = (moment.at_rest | old.programs) & free
    confirms = may_program & moment.takes_data & ~die.write_protect

    def programs():
        return [
            moment.operates(ArrayOp.PROGRAM, moment.row_exists),
            die.op_row.eq(old.row),
            new.failed_before.eq(old.programs & moment.failed),
        ]

    with m.Case(Command.PROGRAM), m.If(may_program):
        m.d.comb += [
            moment.operates(ArrayOp.CLEAR),
            moment.opens(Opened.PROGRAM),
            new.shows.eq(Shows.PAGE),
            new.caches.eq(0),
        ]
    with m.Case(Command.CHANGE_WRITE_COLUMN), m.If(moment.takes_data):
        m.d.comb += moment.opens(Opened.WRITE_COLUMN)
    with m.Case(Command.PROGRAM_CONFIRM), m.If(confirms):
        m.d.comb += [moment.begins("program", row_exists=moment.row_exists), programs()]
    with m.Case(Command.PROGRAM_CACHE_CONFIRM), m.If(confirms):
        m.d.comb += [
            moment.begins("cache_program", behind="program", row_exists=moment.row_exists),
            programs(),
            new.programs.eq(1),
        ]
    with m.Case(Command.ERASE), m.If(moment.at_rest & free):
        m.d.comb += moment.opens(Opened.ERASE)
    with (
        m.Case(Command.ERASE_CONFIRM),
        m.If(moment.at_rest & moment.confirmed(Opened.ERASE, 3) & ~die.write_protect),
    ):
        m.d.comb += [
            moment.operates(ArrayOp.ERASE, moment.row_exists),
            moment.begins("erase", row_exists=moment.row_exists),
            new.caches.eq(0),
        ]
