"""Page operations: what the drive asks of a channel controller, and what it answers.

Where what is wrong is caught:

==========================================  =======================================================
a die, row, column or number of words that  the controller (`rtl.nand.refusals`): nothing is sent to
does not exist                              a die, the operation fails with its cause
a die that does not get ready               the controller (`rtl.nand.watchdog`): reset, or dead
write protect, cells that fail              the die; the controller reads it in the status byte
a page programmed out of order in its       nobody in the drive: a next page for each block would
block, or not erased before                 cost a memory. The allocator gives pages in order, and
                                            the firmware erases a group before it hands it out. In
                                            simulation `flash_model.monitor` tells (``page order``),
                                            and cells only clear bits, as on a part
==========================================  =======================================================
"""

from amaranth.lib import data, enum
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS

__all__ = [
    "Activity",
    "Cause",
    "NandOp",
    "TAG_BITS",
    "WORD_BITS",
    "done_layout",
    "operation_layout",
    "read_layout",
]

TAG_BITS = 9

WORD_BITS = 12
"""A place in a page, or a number of words: a page has at most 4095 words of 8 bytes."""


class NandOp(enum.Enum, shape=3):
    """Operations of a die."""

    READ = 0  # sense the row if need be, move `words` words from `column` on to r_data
    PROGRAM = 1  # take `words` words from w_data to `column` on, program the row, check the status
    ERASE = 2  # erase the row's block, check the status
    RESET = 3
    READ_ID = 4  # moves one word to r_data; row[7:0] is the ID address: 00h JEDEC, 20h ONFI
    STATUS = 5  # READ STATUS, answered on done
    READ_RETRY = 6  # SET FEATURES of the read-retry level row[7:0], check the status


class Cause(enum.Enum, shape=4):
    """Why an operation has failed. From BAD_DIE to NOT_ALLOWED: nothing was sent to the die."""

    NONE = 0  # it has not
    CELLS = 1  # SR0 of the die: cells could not be programmed or erased
    PROTECTED = 2  # SR7: WP# is low, the die has ignored a program or erase
    TIMEOUT = 3  # R/B# did not rise in time; the die was reset and is ready again
    DEAD = 4  # R/B# did not rise after a reset either; holds until the controller is reset
    BAD_DIE = 5  # the channel has no such die
    BAD_ROW = 6  # the die has no such row
    NO_WORDS = 7  # READ or PROGRAM of no words
    BEYOND_PAGE = 8  # column + words is above the words of a page, spare included
    NOT_ALLOWED = 9  # FLASH_OP knows no such operation here
    MEMORY = 10  # device DRAM, or the memory that holds the pages, has answered with an error


class Activity(enum.Enum, shape=2):
    """What a channel does in a clock; an exclusive partition of its time."""

    IDLE = 0  # nothing to do
    COMMAND = 1  # command, address, status cycles and their turnaround times
    DATA = 2  # moving page data, pauses of the interface's data rate included
    WAITING = 3  # only dies are busy


def operation_layout(dies):
    """One operation.

    Operations of a die start in order, programs of the channel start in order, and read data of the
    channel come back in order. One that is refused (`Cause`) completes without waiting for its die.
    """
    return data.StructLayout(
        {
            "op": NandOp,
            "die": max(1, ceil_log2(dies)),
            "row": ROW_BITS,
            "column": WORD_BITS,  # first 8-byte word of the page to move
            "words": WORD_BITS,  # 8-byte words to move, 1 or more
            "tag": TAG_BITS,  # returned with done
        }
    )


def read_layout():
    """One word of read data; ``last`` marks the last word of its operation.

    A READ or READ_ID that fails gives its words all the same, in order, and zero: each bears the
    ``cause``. A READ of no words gives one.
    """
    return data.StructLayout({"data": 64, "last": 1, "cause": Cause})


def done_layout(dies):
    """Completion of all operations but READ and READ_ID, which end with their last word."""
    return data.StructLayout(
        {
            "op": NandOp,
            "die": max(1, ceil_log2(dies)),
            "tag": TAG_BITS,
            "status": 8,  # the die's status byte; 0 if none was read
            "failed": 1,  # there is a cause
            "cause": Cause,
        }
    )
