"""Page operations: what the drive asks of a channel controller, and what it answers."""

from amaranth.lib import data, enum
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS

__all__ = ["NandOp", "Activity", "TAG_BITS", "operation_layout", "read_layout", "done_layout"]

TAG_BITS = 8


class NandOp(enum.Enum, shape=3):
    """Operations of a die."""

    READ = 0  # sense the row, then move `words` words to r_data
    PROGRAM = 1  # take `words` words from w_data, program the row, check the status
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
    """One operation. Operations of a channel start in order; read data come back in order."""
    return data.StructLayout(
        {
            "op": NandOp,
            "die": max(1, ceil_log2(dies)),
            "row": ROW_BITS,
            "column": 12,  # READ: first 8-byte word to move
            "words": 12,  # 8-byte words to move, 1..(page + spare) / 8
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
