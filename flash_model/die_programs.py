"""Programs and erases of a die.

80h fills the cache register with FFh, data go where the column is, 85h changes the column. 10h
programs with R/B# low. 15h moves the page to the data register and lets R/B# rise, while the array
programs behind it: the next page may be filled in then, and its 10h or 15h waits for the array.
SR1 (FAILC) of the second of two such programs tells of the first, SR0 (FAIL) of the second itself,
once the array rests.

Several planes: 11h notes a page, 80h or 81h begins the next one's without clearing what the planes
hold, the last 10h programs all. D1h notes a block, the last D0h erases all. Each plane has a
verdict. COPYBACK PROGRAM is 85h with five addresses after 35h: what the cache register holds,
changed by data input or not, goes to another row of the same plane. If the rules for rows are
broken (a plane twice, page numbers that differ, a copy to another plane, a row that does not
exist), what is confirmed does nothing and fails. No 15h and no 11h in a copy, no 15h after 11h.
While something is suspended, nothing of all this begins.
"""

from amaranth.hdl import Cat

from .array_port import ArrayOp
from .die_state import Opened, Queue, Shows, Work
from .onfi import Command

__all__ = ["program_address", "program_commands"]


def program_commands(m, moment):
    """Cases of a switch over the command byte of a die whose R/B# is high."""
    old, new, die = moment.old, moment.new, moment.die
    free = old.suspended == Work.NONE
    may_program = (moment.at_rest | old.programs) & free
    confirms = may_program & moment.takes_data & ~die.write_protect
    one_plane = (old.queue == Queue.NONE) & ~old.copies

    def programs():
        return [
            moment.operates(ArrayOp.PROGRAM, moment.fits),
            die.op_row.eq(old.row),
            new.failed_before.eq(old.programs & moment.failed),
        ]

    for command in (Command.PROGRAM, Command.PROGRAM_PLANE):
        follows = old.queue == Queue.PROGRAM
        allowed = may_program if command == Command.PROGRAM else follows
        with m.Case(command), m.If(allowed):
            m.d.comb += [
                moment.operates(ArrayOp.CLEAR, ~follows),
                moment.opens(Opened.PROGRAM),
                new.shows.eq(Shows.PAGE),
                new.caches.eq(0),
                new.copies.eq(0),
            ]
    with m.Case(Command.CHANGE_WRITE_COLUMN):
        with m.If(moment.takes_data):
            m.d.comb += moment.opens(Opened.WRITE_COLUMN)
        with m.Elif(old.copies & moment.at_rest & free):
            m.d.comb += [moment.opens(Opened.COPYBACK), new.caches.eq(0)]
    with m.Case(Command.PROGRAM_CONFIRM), m.If(confirms):
        m.d.comb += [moment.begins("program", row_exists=moment.fits), programs()]
    with m.Case(Command.PROGRAM_PLANE_CONFIRM):
        m.d.comb += die.op_row.eq(old.row)
        with m.If(moment.at_rest & moment.takes_data & ~die.write_protect & ~old.copies):
            m.d.comb += moment.notes(Queue.PROGRAM)
    with m.Case(Command.PROGRAM_CACHE_CONFIRM), m.If(confirms & one_plane):
        m.d.comb += [
            moment.begins("cache_program", behind="program", row_exists=moment.fits),
            programs(),
            new.programs.eq(1),
        ]
    with m.Case(Command.ERASE), m.If(moment.at_rest & free):
        m.d.comb += moment.opens(Opened.ERASE)
    erases = moment.at_rest & moment.confirmed(Opened.ERASE, 3) & ~die.write_protect
    with m.Case(Command.ERASE_CONFIRM), m.If(erases):
        m.d.comb += [
            moment.operates(ArrayOp.ERASE, moment.fits),
            moment.begins("erase", row_exists=moment.fits),
            new.caches.eq(0),
        ]
    with m.Case(Command.ERASE_PLANE_CONFIRM), m.If(erases):
        m.d.comb += [moment.notes(Queue.ERASE), new.caches.eq(0)]


def program_address(m, moment):
    """Cases of a switch over the open command, in an address cycle."""
    old, new, die = moment.old, moment.new, moment.die
    row = Cat(old.address[24:], die.symbol)
    for opened in (Opened.PROGRAM, Opened.COPYBACK):
        with m.Case(opened), m.If(old.count == 4):
            m.d.comb += [
                new.opened.eq(Opened.PROGRAM),
                new.word.eq(old.address[8:24] >> 3),
                new.row.eq(row),
                new.plane.eq(moment.plane_of(row)),
            ]
            if opened == Opened.COPYBACK:
                m.d.comb += new.wrong.eq(moment.plane_of(row) != old.plane)
    with m.Case(Opened.WRITE_COLUMN), m.If(old.count == 1):
        m.d.comb += new.word.eq(Cat(old.address[32:], die.symbol) >> 3)
