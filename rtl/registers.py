"""Register map of the drive: 32-bit registers on the control bus, byte addresses.

Queue and doorbell registers for the host driver at 0000h and 1000h, management registers for the
firmware at 2000h, performance counters (64 bits, low word first; reading the low word freezes the
high word for the next read) at 3000h and, per channel, at 4000h.
"""

from dataclasses import dataclass

__all__ = [
    "Register",
    "REGISTERS",
    "COUNTERS",
    "CHANNEL_COUNTERS",
    "DRIVE_ID",
    "BREAKDOWN",
    "counter_address",
    "channel_counter_address",
    "FlashEvent",
    "FlashStatus",
]

DRIVE_ID = 0x54534E49
"""'INST' in ASCII, little endian."""


@dataclass(frozen=True)
class Register:
    """One register: byte address, access ('ro', 'rw', 'wo') and meaning."""

    address: int
    access: str
    doc: str


# fmt: off
REGISTERS = {
    "ID": Register(0x0000, "ro", "DRIVE_ID"),
    "CONTROL": Register(0x0008, "rw", "bit 0: queues enabled (a rising edge resets both queues)"),
    "STATUS": Register(0x000C, "ro",
                       "bit 0: queues ready, bit 1: mailbox full, bit 2: a command is executing"),
    "SQ_BASE_LO": Register(0x0010, "rw", "host address of the submission queue, 4096-byte aligned"),
    "SQ_BASE_HI": Register(0x0014, "rw", "its upper half"),
    "SQ_SIZE": Register(0x0018, "rw", "entries of the submission queue, 2..65535"),
    "CQ_BASE_LO": Register(0x0020, "rw", "host address of the completion queue, 4096-byte aligned"),
    "CQ_BASE_HI": Register(0x0024, "rw", "its upper half"),
    "CQ_SIZE": Register(0x0028, "rw", "entries of the completion queue, 2..65535"),
    "WINDOW_BASE_LO": Register(0x0030, "rw",
                               "first host address that commands may name, 4096-byte aligned"),
    "WINDOW_BASE_HI": Register(0x0034, "rw", "its upper half"),
    "WINDOW_BYTES_LO": Register(0x0038, "rw", "bytes of that window"),
    "WINDOW_BYTES_HI": Register(0x003C, "rw", "its upper half"),
    "SQ_TAIL": Register(0x1000, "wo", "doorbell: new submission queue tail"),
    "CQ_HEAD": Register(0x1004, "wo", "doorbell: new completion queue head"),
    "MAILBOX_STATUS": Register(0x2000, "ro",
                               "bit 0: a command waits for the firmware, "
                               "bit 1: the append path waits for a stripe of the stream in "
                               "bits 15:8, bit 2: an event waits"),
    "MAILBOX_RESULT": Register(0x2004, "rw", "DW0 of the completion to come"),
    "MAILBOX_DONE": Register(0x2008, "wo",
                             "bits 10:0 status: completes the command in the mailbox"),
    "SEQUENCE_TABLE": Register(0x200C, "rw",
                               "device-DRAM address of the sequence table, 64-byte aligned"),
    "STRIPE_PUSH": Register(0x2010, "wo",
                            "bits 7:0 columns: hands a stripe to the append path, of the stream "
                            "that STREAM names"),
    "STREAM_FILLED": Register(0x2014, "ro",
                              "two clocks after STREAM: stripes that the channel it names has "
                              "filled of its stream, modulo 2 * slots"),
    "FLASH_ROW": Register(0x2018, "rw", "of FLASH_OP: bits 31:24 die, 23:0 row address"),
    "FLASH_OP": Register(0x201C, "wo",
                         "bits 7:0 NandOp, 15:8 channel: starts a management operation"),
    "FLASH_STATUS": Register(0x2020, "ro", "see FlashStatus; bits 15:8 the die's status byte"),
    "FLASH_WORDS": Register(0x2024, "rw",
                            "of a READ or PROGRAM by FLASH_OP: bits 11:0 first word of the page, "
                            "spare words included, 27:16 number of words"),
    "FLASH_ADDRESS": Register(0x2028, "rw",
                              "device-DRAM address of these words, 8-byte aligned"),
    "PROGRAM_BUFFER": Register(0x202C, "rw",
                               "device-DRAM address of the program slots, 8-byte aligned"),
    "PROGRAM_HOLD": Register(0x2030, "rw",
                             "bit 0: no program slot is handed out, and no command begins"),
    "PROGRAM_USED": Register(0x2034, "ro",
                             "program slots handed out and not taken back: programs under way "
                             "and failed"),
    "PROGRAM_RELEASE": Register(0x2038, "wo", "takes back the slot of a failed program"),
    "STRIPE_BLOCK": Register(0x203C, "wo",
                             "bits 7:0 how manieth stripe of the stream that STREAM names, modulo "
                             "its slots, 15:8 channel, 23:16 column: there the block in bits 15:0 "
                             "of FLASH_ROW serves, on the die in bits 31:24"),
    "MAILBOX_SQE": Register(0x2040, "ro", "16 registers: the command in the mailbox"),
    "EVENT": Register(0x2080, "ro", "see FlashEvent"),
    "EVENT_ROW": Register(0x2084, "ro",
                          "of a page read again, or of a block's first page: bits 31:24 die, "
                          "23:0 row address"),
    "EVENT_TAKEN": Register(0x2088, "wo", "makes room for the next event"),
    "READ_COUNT_OF": Register(0x2090, "rw",
                              "bits 31:24 channel, 23:16 die, 15:0 block: asks how often its pages "
                              "were read since it was cleared"),
    "READ_COUNT": Register(0x2094, "ro", "bits 23:0 the answer, bit 31: not yet"),
    "READ_COUNT_CLEAR": Register(0x2098, "wo", "clears the count of the block READ_COUNT_OF names"),
    "READ_LIMIT": Register(0x209C, "rw",
                           "bits 23:0: an event tells of a block read so often; 0: of none"),
    "READ_ONLY": Register(0x208C, "rw", "bit 0: every APPEND and STEP is refused"),
    "STREAM": Register(0x20A0, "rw", "bits 7:0 stream, 15:8 channel of STREAM_FILLED"),
    "STREAM_END": Register(0x20A4, "rw",
                           "gives up what the stream in bits 7:0 has left of its stripes; reads 1 "
                           "while that is under way"),
}
# fmt: on


class FlashStatus:
    """Bits of FLASH_STATUS."""

    BUSY = 1  # the operation has not completed
    FAILED = 2  # the last one failed
    CAUSE_SHIFT = 16  # bits 19:16: why, `rtl.nand.operations.Cause`


class FlashEvent:
    """Bits of EVENT. Bits 7:0: slot of a failed program, or channel of the page or block."""

    VALID = 1 << 31
    AGAIN = 1 << 30  # a page was read again
    OFTEN = 1 << 29  # a block was read READ_LIMIT times; neither: a program failed
    LOST = 1 << 11  # of a page read again: a codeword was given up
    LEVEL_SHIFT = 8  # bits 10:8: the last read-retry level


BREAKDOWN = ("data", "command", "engine", "arrays", "dma", "idle")
"""The exclusive partition of every cycle, in order of priority."""

COUNTERS = (
    "cycles",
    *(f"time_{name}" for name in BREAKDOWN),
    "pages_read",
    "pages_programmed",
    "blocks_erased",
    "bytes_flash",
    "bytes_tail",
    "bytes_link_in",
    "bytes_link_out",
    "commands",
    "commands_failed",
    "jobs",
    "program_failures",
    "bits_corrected",
    "codewords_corrected",
    "codewords_unrecovered",
    "read_retries",
)
"""Drive counters, 64 bits each."""

CHANNEL_COUNTERS = ("data", "command", "waiting", "idle", "pages_read", "pages_programmed")
"""Counters of each channel: an exclusive partition of its cycles, then pages."""


def counter_address(name):
    """Byte address of a drive counter's low word."""
    return 0x3000 + 8 * COUNTERS.index(name)


def channel_counter_address(channel, name):
    """Byte address of a channel counter's low word."""
    return 0x4000 + 64 * channel + 8 * CHANNEL_COUNTERS.index(name)
