"""Reads of a die: READ PAGE, cache reads, columns.

30h leaves the page in both registers. 31h moves the data register's page to the cache register, at
column 0 (its own column address is ignored, as ONFI says), then senses a row into the data register
while the bus reads the cache register: the row of its address, or, without one, the row after the
last that was sensed, also across the end of a block. 3Fh moves without sensing. They follow 30h or
31h only.

Several planes: 32h notes a row, the last 30h senses all, each into the registers of its plane. The
bus then sees the last plane's; 06h-5 addresses-E0h chooses another, by the plane of its row. Cache
reads follow reads of one plane only, and the bus sees the plane of the page that was moved. 35h is
30h with a copy to follow (`flash_model.die_programs`).

Where planes are independent, 30h is also taken while others of the die sense, for a plane that does
not. R/B# is low until the last of them is done. Meanwhile 78h tells the state of one plane, and the
registers of a plane at rest can be read out; no cache read follows. A plane that is at rest before
R/B# rises is known by the value of R/B#'s timer at that moment, which the state holds for each.

The columns of a parameter page or unique ID can be changed like those of a page.
"""

from amaranth.hdl import Mux, Signal

from .array_port import ArrayOp
from .die_state import Opened, Pins, Queue, Shows
from .onfi import Command

__all__ = ["read_commands", "sense_commands"]


def read_commands(m, moment):
    """Cases of a switch over the command byte of a die whose R/B# is high."""
    old, new, die = moment.old, moment.new, moment.die

    def moves_up():
        return [
            *moment.begins("cache"),
            new.word.eq(0),
            new.shows.eq(Shows.PAGE),
            new.pins.eq(Pins.OUTPUT),
        ]

    sense_commands(m, moment)
    reads = moment.at_rest & moment.confirmed(Opened.READ, 5)
    with m.Case(Command.READ_PLANE_CONFIRM), m.If(reads):
        m.d.comb += [moment.notes(Queue.READ), new.caches.eq(0)]
    with m.Case(Command.COPYBACK_READ_CONFIRM), m.If(reads & (old.queue == Queue.NONE)):
        m.d.comb += [*moment.senses(), new.copies.eq(1), new.caches.eq(0)]
    with m.Case(Command.READ_CACHE_CONFIRM):
        random, following, exists = Signal(), Signal(), Signal()
        m.d.comb += [
            random.eq(moment.confirmed(Opened.READ, 5)),
            following.eq((old.opened == Opened.NONE) | moment.confirmed(Opened.READ, 0)),
            exists.eq(Mux(random, moment.row_exists, old.row + 1 < moment.rows)),
        ]
        with m.If(old.caches & (random | following)):
            m.d.comb += [
                moment.operates(ArrayOp.READ_CACHE_END),
                moves_up(),
                moment.begins("cache", behind="read"),
                new.row.eq(die.op_row),
                new.plane.eq(moment.plane_of(old.row)),
            ]
            with m.If(following):
                m.d.comb += die.op_row.eq(old.row + 1)
            with m.If(exists):
                m.d.comb += die.op.eq(ArrayOp.READ_CACHE)
    with m.Case(Command.READ_CACHE_END), m.If(old.caches):
        m.d.comb += [
            moment.operates(ArrayOp.READ_CACHE_END),
            moves_up(),
            new.caches.eq(0),
            new.plane.eq(moment.plane_of(old.row)),
        ]


def sense_commands(m, moment):
    """Those of them that a die with independent planes also takes while some sense."""
    old, new = moment.old, moment.new
    with m.Case(Command.READ):
        m.d.comb += [moment.opens(Opened.READ), new.pins.eq(Pins.OUTPUT)]
        with m.If((old.shows == Shows.JEDEC) | (old.shows == Shows.ONFI)):
            m.d.comb += new.shows.eq(Shows.PAGE)
    with (
        m.Case(Command.READ_CONFIRM),
        m.If(moment.confirmed(Opened.READ, 5) & (moment.at_rest | moment.plane_senses)),
    ):
        m.d.comb += [*moment.senses(), new.caches.eq(moment.at_rest & (old.queue == Queue.NONE))]
    with m.Case(Command.CHANGE_READ_COLUMN):
        m.d.comb += moment.opens(Opened.COLUMN)
    with m.Case(Command.CHANGE_READ_COLUMN_ENHANCED):
        m.d.comb += moment.opens(Opened.COLUMN_ENHANCED)
    with m.Case(Command.CHANGE_READ_COLUMN_CONFIRM):
        with m.If(moment.confirmed(Opened.COLUMN, 2)):
            m.d.comb += [new.word.eq(old.address[24:] >> 3), _to_register(moment)]
        with m.If(moment.confirmed(Opened.COLUMN_ENHANCED, 5)):
            row = old.address[16:]
            m.d.comb += [
                new.word.eq(old.address[:16] >> 3),
                new.plane.eq(moment.plane_of(row)),
                _to_register(moment),
            ]
            with m.If(~moment.ours(old.address[16:])):
                m.d.comb += [
                    new.word.eq(old.word),
                    new.plane.eq(old.plane),
                    new.pins.eq(Pins.RELEASED),
                ]


def _to_register(moment):
    """Data output shows the cache register."""
    shows = moment.old.shows
    is_register = (shows == Shows.PARAMETERS) | (shows == Shows.UNIQUE_ID)
    return [
        moment.new.shows.eq(Mux(is_register, shows.as_value(), Shows.PAGE)),
        moment.new.pins.eq(Pins.OUTPUT),
    ]
