"""Page operations: what the drive asks of a channel controller, and what it answers."""

from amaranth.lib import data, enum
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS

__all__ = [
    "Activity",
    "NandOp",
    "TAG_BITS",
    "WORD_BITS",
    "done_layout",
    "operation_layout",
    "read_layout",
]

TAG_BITS = 8

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


class Activity(enum.Enum, shape=2):
    """What a channel does in a clock; an exclusive partition of its time."""

    IDLE = 0  # nothing to do
    COMMAND = 1  # command, address, status cycles and their turnaround times
    DATA = 2  # moving page data, pauses of the interface's data rate included
    WAITING = 3  # only dies are busy


def operation_layout(dies):
    """One operation.

    Operations of a die start in order, and read data of the channel come back in order.
    ``column + words`` must not be above the words of a page, spare included.
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
    """One word of read data; ``last`` marks the last word of its operation."""
    return data.StructLayout({"data": 64, "last": 1})


def done_layout(dies):
    """Completion of PROGRAM, ERASE, RESET and STATUS (READ, READ_ID end with their last word)."""
    return data.StructLayout(
        {
            "op": NandOp,
            "die": max(1, ceil_log2(dies)),
            "tag": TAG_BITS,
            "status": 8,  # the die's status byte
            "failed": 1,  # SR0 after PROGRAM or ERASE
        }
    )
