"""Sequences of one die and the steps they are made of on the bus."""

from amaranth.lib import data, enum
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS
from flash_model.timing import cycles

from .operations import WORD_BITS, Cause

__all__ = ["MUTE", "Sequence", "StepKind", "sequence_layout", "sequences", "step_layout"]


class Sequence(enum.Enum, shape=5):
    """What is done on the bus without a break, under one chip enable (ONFI's command names)."""

    READ = 0  # READ PAGE, into both registers of the die
    READ_CACHE = 1  # READ PAGE CACHE RANDOM: the page before moves to the cache register
    READ_CACHE_END = 2  # the last page moves to the cache register
    COLUMN = 3  # CHANGE READ COLUMN of the page in the cache register
    DATA = 4  # data output
    DATA_AFTER_STATUS = 5  # the same with READ MODE first: the die's output shows its status
    PROGRAM = 6  # PROGRAM PAGE
    ERASE = 7  # ERASE BLOCK
    RESET = 8  # RESET
    STATUS = 9  # READ STATUS and the status byte
    READ_ID = 10  # READ ID and one word
    RECOVER = 11  # RESET of a die that is late
    FILL = 12  # no die: words of zeros with a cause, where read data would come
    FILL_ID = 13  # the same for READ_ID: one word
    DRAIN = 14  # no die: takes the words of a program that is refused
    READ_RETRY = 15  # SET FEATURES of the read-retry level
    SUSPEND_PROGRAM = 16  # a maker's commands, see `flash_model.suspend`
    SUSPEND_ERASE = 17
    RESUME_PROGRAM = 18
    RESUME_ERASE = 19
    PROGRAM_PLANE = 20  # one of several planes, more follow: see `rtl.nand.planes`
    ERASE_PLANE = 21
    STATUS_PLANE = 22  # READ STATUS ENHANCED and the status byte
    READ_PLANE = 23  # READ PAGE of one of several planes, more follow
    COLUMN_PLANE = 24  # CHANGE READ COLUMN ENHANCED: of one of the pages that were sensed together


class StepKind(enum.Enum, shape=3):
    """What a step does on the bus."""

    WAIT = 0  # argument: clocks, 1 or more
    COMMAND = 1  # argument: byte
    ADDRESS = 2  # argument: byte
    WRITE = 3  # argument: words
    READ = 4  # argument: words
    VALUE = 5  # a data cycle for a word of its own; argument: its byte


MUTE = (Sequence.FILL, Sequence.FILL_ID, Sequence.DRAIN)
"""Sequences of which the PHY sees nothing."""


def sequence_layout(dies):
    """A sequence to be done."""
    return data.StructLayout(
        {
            "sequence": Sequence,
            "die": max(1, ceil_log2(dies)),
            "row": ROW_BITS,
            "column": WORD_BITS,
            "words": WORD_BITS,
            "cause": Cause,  # of FILL and FILL_ID, else NONE
        }
    )


def step_layout(dies):
    """One step, and the sequence it belongs to."""
    return data.StructLayout(
        {
            "kind": StepKind,
            "argument": WORD_BITS,
            "confirm": 1,  # a command after which R/B# of the die falls
            "last": 1,  # of its sequence
            "sequence": Sequence,
            "die": max(1, ceil_log2(dies)),
            "cause": Cause,
        }
    )


def sequences(timing, clock_hz, row, column, words, planes=None):
    """Steps ``(kind, argument, confirm)`` of each sequence.

    Parameters
    ----------
    timing : Timing
    clock_hz : int
    row, column, words
        Row address (its bytes are the address cycles), first word in the page and number of words;
        values or integers.
    planes : Planes, optional
        With the sequences of several planes.
    """

    def command(byte, confirm=0):
        return StepKind.COMMAND, byte, confirm

    def address(byte):
        return StepKind.ADDRESS, byte, 0

    def wait(ns):
        clocks = cycles(ns, clock_hz)
        if clocks >> WORD_BITS:
            raise ValueError(
                f"a bus wait of {ns} ns is {clocks} clocks: choose a timing with less than "
                f"{1 << WORD_BITS} clocks"
            )
        return StepKind.WAIT, clocks, 0

    select = [wait(timing.t_cs_ns)] if timing.t_cs_ns else []
    columns = [address((column << 3) & 0xFF), address(column >> 5)]  # they count bytes
    rows = [address((row >> shift) & 0xFF) for shift in (0, 8, 16)]
    place = [*columns, *rows]
    to_output = wait(timing.t_whr_ns)
    preamble = wait(timing.t_preamble_ns)
    read = (StepKind.READ, words, 0)
    one = (StepKind.READ, 1, 0)
    write = (StepKind.WRITE, words, 0)
    program = [*select, command(0x80), *place, wait(timing.t_adl_ns), write]
    suspends, several = {}, {}
    if planes:
        several = {
            Sequence.PROGRAM_PLANE: [*program, command(0x11, 1)],
            Sequence.ERASE_PLANE: [*select, command(0x60), *rows, command(0xD1, 1)],
            Sequence.STATUS_PLANE: [*select, command(0x78), *rows, to_output, preamble, one],
            Sequence.READ_PLANE: [*select, command(0x00), *place, command(0x32, 1)],
            Sequence.COLUMN_PLANE: [*select, command(0x06), *place, command(0xE0)],
        }
    if (suspend := timing.suspend) is not None:
        suspends = {
            Sequence.SUSPEND_PROGRAM: [*select, command(suspend.program_suspend, 1)],
            Sequence.SUSPEND_ERASE: [*select, command(suspend.erase_suspend, 1)],
            Sequence.RESUME_PROGRAM: [*select, command(suspend.program_resume, 1)],
            Sequence.RESUME_ERASE: [*select, command(suspend.erase_resume, 1)],
        }
    return {
        **suspends,
        **several,
        Sequence.READ: [*select, command(0x00), *place, command(0x30, 1)],
        # A die ignores the column here; its output begins at column 0.
        Sequence.READ_CACHE: [*select, command(0x00), *place, command(0x31, 1)],
        Sequence.READ_CACHE_END: [*select, command(0x3F, 1)],
        Sequence.COLUMN: [*select, command(0x05), *columns, command(0xE0)],
        Sequence.DATA: [preamble, read],
        Sequence.DATA_AFTER_STATUS: [*select, command(0x00), to_output, preamble, read],
        Sequence.PROGRAM: [*program, command(0x10, 1)],
        Sequence.ERASE: [*select, command(0x60), *rows, command(0xD0, 1)],
        Sequence.RESET: [*select, command(0xFF, 1)],
        Sequence.STATUS: [*select, command(0x70), to_output, preamble, one],
        Sequence.READ_RETRY: [
            *select,
            command(0xEF),
            address(0x89),
            wait(timing.t_adl_ns),
            (StepKind.VALUE, row & 0xFF, 1),
        ],
        Sequence.RECOVER: [*select, command(0xFF, 1)],
        Sequence.FILL: [read],
        Sequence.FILL_ID: [one],
        Sequence.DRAIN: [write],
        Sequence.READ_ID: [*select, command(0x90), rows[0], to_output, preamble, one],
    }
