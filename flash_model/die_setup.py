"""What a die says of itself, its features, and its resets.

Parameter page and unique ID are loaded into the cache register, with R/B# low for tR, and come out
again and again: three times 256 bytes, then the extended page of 48 bytes for ever
(`flash_model.parameter_page`); 16 bytes with their complement. Of a cache register smaller than 304
bytes only the beginning exists. After READ ID, READ MODE shows the
cache register as a page, whatever is in it.

A feature has four bytes, of which the model keeps the first: the *timing mode* (01h) is stored and
reported, the bus has the rate of its profile whatever it says; *read retry* (89h) is a level of
read voltages, handed to the array. SET FEATURES takes the four bytes in one word of the bus. Other
addresses read as 0 and take no value.

=================  ===============================================================================
FFh                abandons what is under way; timing mode and read retry go back to 0
FCh                the same, the timing mode stays
FAh                the same, both stay; only with this LUN's number
=================  ===============================================================================
"""

from amaranth.hdl import Mux

from .array_port import ArrayOp, FactoryPage
from .die_state import RETRY_BITS, Opened, Pins, Shows, Work
from .onfi import Command, Feature

__all__ = ["resets", "setup_address", "setup_commands", "take_feature"]

_COMMANDS = {
    Command.READ_ID: Opened.ID,
    Command.READ_PARAMETER_PAGE: Opened.PARAMETERS,
    Command.READ_UNIQUE_ID: Opened.UNIQUE_ID,
    Command.GET_FEATURES: Opened.GET_FEATURES,
    Command.SET_FEATURES: Opened.SET_FEATURES,
}


def setup_commands(m, moment):
    """Cases of a switch over the command byte of a die whose R/B# is high."""
    for command, opened in _COMMANDS.items():
        with m.Case(command), m.If(moment.at_rest):
            m.d.comb += moment.opens(opened)


def setup_address(m, moment):
    """Cases of a switch over the open command, in an address cycle."""
    old, new, die = moment.old, moment.new, moment.die
    with m.Case(Opened.ID), m.If(old.count == 0):
        is_onfi = die.symbol == 0x20
        m.d.comb += [
            new.shows.eq(Mux(is_onfi, Shows.ONFI, Shows.JEDEC)),
            new.pins.eq(Pins.OUTPUT),
            new.opened.eq(Opened.NONE),
        ]
    for opened, page, shows in (
        (Opened.PARAMETERS, FactoryPage.PARAMETERS, Shows.PARAMETERS),
        (Opened.UNIQUE_ID, FactoryPage.UNIQUE_ID, Shows.UNIQUE_ID),
    ):
        with m.Case(opened), m.If((old.count == 0) & (die.symbol == 0)):
            m.d.comb += [
                moment.operates(ArrayOp.FACTORY_PAGE),
                moment.begins("read"),
                die.op_row.eq(page),
                new.word.eq(0),
                new.plane.eq(0),
                new.shows.eq(shows),
                new.pins.eq(Pins.OUTPUT),
                new.caches.eq(0),
            ]
    with m.Case(Opened.GET_FEATURES), m.If(old.count == 0):
        m.d.comb += [moment.begins("feature"), new.pins.eq(Pins.OUTPUT), new.caches.eq(0)]
        with m.Switch(die.symbol):
            with m.Case(Feature.TIMING_MODE):
                m.d.comb += new.shows.eq(Shows.TIMING_MODE)
            with m.Case(Feature.READ_RETRY):
                m.d.comb += new.shows.eq(Shows.READ_RETRY)
            with m.Default():
                m.d.comb += new.shows.eq(Shows.ZERO)


def take_feature(m, moment):
    """The data word of SET FEATURES."""
    die, new = moment.die, moment.new
    m.d.comb += [moment.begins("feature"), new.caches.eq(0)]
    with m.Switch(moment.old.address[32:]):
        with m.Case(Feature.TIMING_MODE):
            m.d.comb += new.timing_mode.eq(die.symbol)
        with m.Case(Feature.READ_RETRY):
            level = die.symbol[:RETRY_BITS]
            m.d.comb += [
                new.retry.eq(level),
                moment.operates(ArrayOp.READ_RETRY),
                die.op_row.eq(level),
            ]


def resets(m, moment, *, everything):
    """A reset; ``everything``: of the read-retry level too."""
    old, new, die = moment.old, moment.new, moment.die
    m.d.comb += [
        moment.begins("reset"),
        new.shows.eq(Shows.PAGE),
        new.pins.eq(Pins.OUTPUT),
        new.caches.eq(0),
        new.suspended.eq(Work.NONE),
    ]
    if everything:
        m.d.comb += [
            new.retry.eq(0),
            moment.operates(ArrayOp.READ_RETRY, old.retry != 0),
            die.op_row.eq(0),
        ]
