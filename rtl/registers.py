"""Register map of the drive: 32-bit registers on the control bus, byte addresses.

Queue and doorbell registers for the host driver at 0000h and 1000h, management registers for the
firmware at 2000h, performance counters (64 bits, low word first; reading the low word freezes the
high word for the next read) at 3000h and, per channel, at 4000h.
"""

from dataclasses import dataclass

from .layout import Field

__all__ = [
    "Register",
    "REGISTERS",
    "COUNTERS",
    "COUNTER_DOCS",
    "CHANNEL_COUNTERS",
    "CHANNEL_COUNTER_DOCS",
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
    """One register, or several in a row.

    Parameters
    ----------
    address : int
        Byte address.
    access : str
        'ro', 'rw' or 'wo'.
    about : str
        Meaning of the register as a whole.
    fields : tuple of Field
        Its bits, from the lowest on; none where it is one number. Bits of no field read as they
        were written, or as 0.
    count : int
        Registers in a row.
    """

    address: int
    access: str
    about: str
    fields: tuple[Field, ...] = ()
    count: int = 1

    @property
    def doc(self):
        """Meaning with that of all fields, in one line."""
        return "; ".join([self.about, *(f"{f.bits} {f.name}: {f.doc}" for f in self.fields)])

    def __getitem__(self, name):
        """The field called ``name``."""
        return {field.name: field for field in self.fields}[name]

    def mask(self, name):
        """The bits of a field, in place."""
        return (1 << self[name].width) - 1 << self[name].offset


# fmt: off
REGISTERS = {
    "ID": Register(0x0000, "ro", "DRIVE_ID"),
    "CONTROL": Register(0x0008, "rw", "queues on and off", (
        Field("enable", 0, 1, "queues enabled (a rising edge resets both queues)"),
    )),
    "STATUS": Register(0x000C, "ro", "what the drive is at", (
        Field("ready", 0, 1, "queues ready"),
        Field("mailbox", 1, 1, "mailbox full"),
        Field("executing", 2, 1, "a command is executing"),
        Field("stopped", 3, 1, "queues stopped, until they are reset: host memory did not give an "
                               "entry or did not take a completion"),
    )),
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
    "MAILBOX_STATUS": Register(0x2000, "ro", "what waits for the firmware", (
        Field("command", 0, 1, "a command waits for the firmware"),
        Field("starved", 1, 1, "the append path waits for a stripe of `stream`"),
        Field("event", 2, 1, "an event waits"),
        Field("stream", 8, 8, "stream that the append path waits for; 0 if for none"),
    )),
    "MAILBOX_RESULT": Register(0x2004, "rw", "DW0 of the completion to come"),
    "MAILBOX_DONE": Register(0x2008, "wo", "completes the command in the mailbox", (
        Field("status", 0, 11, "status code type and code, see Status"),
    )),
    "SEQUENCE_TABLE": Register(0x200C, "rw",
                               "device-DRAM address of the sequence table, 64-byte aligned"),
    "STRIPE_PUSH": Register(0x2010, "wo",
                            "hands a stripe to the append path, of the stream that STREAM names", (
        Field("columns", 0, 8, "blocks of the stripe on each channel, 1..dies"),
    )),
    "STREAM_FILLED": Register(0x2014, "ro",
                              "two clocks after STREAM: stripes that the channel it names has "
                              "filled of its stream, modulo 2 * slots"),
    "FLASH_ROW": Register(0x2018, "rw", "place in the flash of FLASH_OP and STRIPE_BLOCK", (
        Field("row", 0, 24, "row address (block * pages + page), ID address of a READ_ID, level "
                            "of a READ_RETRY; block number of a STRIPE_BLOCK"),
        Field("die", 24, 8, "die"),
    )),
    "FLASH_OP": Register(0x201C, "wo", "starts a management operation", (
        Field("op", 0, 8, "see NandOp"),
        Field("channel", 8, 8, "flash channel"),
    )),
    "FLASH_STATUS": Register(0x2020, "ro", "of the management operation", (
        Field("busy", 0, 1, "it has not completed"),
        Field("failed", 1, 1, "the last one failed"),
        Field("die_status", 8, 8, "the die's status byte"),
        Field("cause", 16, 4, "why it failed, see Cause"),
    )),
    "FLASH_WORDS": Register(0x2024, "rw", "words of 8 bytes of a READ or PROGRAM by FLASH_OP", (
        Field("first", 0, 12, "first word of the page, spare words included"),
        Field("words", 16, 12, "number of words"),
    )),
    "FLASH_ADDRESS": Register(0x2028, "rw",
                              "device-DRAM address of these words, 8-byte aligned"),
    "PROGRAM_BUFFER": Register(0x202C, "rw",
                               "device-DRAM address of the program slots, 8-byte aligned"),
    "PROGRAM_HOLD": Register(0x2030, "rw", "holds what programs pages", (
        Field("hold", 0, 1, "no program slot is handed out, and no command begins"),
    )),
    "PROGRAM_USED": Register(0x2034, "ro",
                             "program slots handed out and not taken back: programs under way "
                             "and failed"),
    "PROGRAM_RELEASE": Register(0x2038, "wo", "takes back the slot of a failed program", (
        Field("slot", 0, 8, "its number"),
    )),
    "STRIPE_BLOCK": Register(0x203C, "wo",
                             "the block that FLASH_ROW names, on the die there, serves in a stripe "
                             "of the stream that STREAM names", (
        Field("slot", 0, 8, "how manieth stripe of the stream, modulo its slots"),
        Field("channel", 8, 8, "flash channel"),
        Field("column", 16, 8, "column of the stripe"),
    )),
    "MAILBOX_SQE": Register(0x2040, "ro", "the command in the mailbox, see SQE", count=16),
    "EVENT": Register(0x2080, "ro", "what the firmware should hear of the flash: a program failed, "
                                    "unless `again` or `often`", (
        Field("number", 0, 8, "slot of a failed program, or channel of the page or block"),
        Field("level", 8, 3, "of a page read again: the last read-retry level"),
        Field("lost", 11, 1, "of a page read again: a codeword was given up"),
        Field("often", 29, 1, "a block was read READ_LIMIT times"),
        Field("again", 30, 1, "a page was read again"),
        Field("valid", 31, 1, "there is an event"),
    )),
    "EVENT_ROW": Register(0x2084, "ro", "of a page read again, or of a block's first page", (
        Field("row", 0, 24, "row address"),
        Field("die", 24, 8, "die"),
    )),
    "EVENT_TAKEN": Register(0x2088, "wo", "makes room for the next event, whatever is written"),
    "READ_ONLY": Register(0x208C, "rw", "whether the drive takes tokens", (
        Field("read_only", 0, 1, "every APPEND and STEP is refused"),
    )),
    "READ_COUNT_OF": Register(0x2090, "rw",
                              "asks how often a block's pages were read since it was cleared", (
        Field("block", 0, 16, "block"),
        Field("die", 16, 8, "die"),
        Field("channel", 24, 8, "flash channel"),
    )),
    "READ_COUNT": Register(0x2094, "ro", "the answer to READ_COUNT_OF", (
        Field("reads", 0, 24, "pages read; a count goes round among the last 64 values of the bits "
                              "that it is built with"),
        Field("busy", 31, 1, "not yet"),
    )),
    "READ_COUNT_CLEAR": Register(0x2098, "wo",
                                 "clears the count of the block READ_COUNT_OF names, whatever is "
                                 "written"),
    "READ_LIMIT": Register(0x209C, "rw", "when an event tells of a block", (
        Field("reads", 0, 24, "once it was read so often, or as often as is counted if that is "
                              "less; 0: never"),
    )),
    "STREAM": Register(0x20A0, "rw", "what other registers are about", (
        Field("stream", 0, 8, "stream"),
        Field("channel", 8, 8, "channel of STREAM_FILLED"),
    )),
    "STREAM_END": Register(0x20A4, "rw", "reads 1 while a stream is being ended, else 0", (
        Field("stream", 0, 8, "written: gives up what this stream has left of its stripes"),
    )),
    "PAGE_BASE_LO": Register(0x20A8, "rw", "of a drive with pages in a memory: their byte address, "
                                           "a multiple of 8, not to be changed while any are in "
                                           "use"),
    "PAGE_BASE_HI": Register(0x20AC, "rw", "its upper half"),
    "PHY_OF": Register(0x20B0, "rw", "asks what a PHY has found of a die as it started", (
        Field("die", 16, 8, "die"),
        Field("channel", 24, 8, "flash channel"),
    )),
    "PHY_STATE": Register(0x20B4, "ro", "three clocks after PHY_OF, what it has found; times in "
                                        "half clocks", (
        Field("tells", 0, 1, "there is a PHY that tells; else all is 0"),
        Field("answers", 1, 1, "R/B_n fell behind a reset and rose again, so the die was told its "
                               "timing mode"),
        Field("usable", 2, 1, "it answers, and its data are where they are taken; operations of "
                              "any other die fail with DEAD"),
        Field("offset", 8, 8, "of NV-DDR: when the channel's read data are taken"),
        Field("first", 16, 8, "of NV-DDR: the first time at which the die's ID was right ..."),
        Field("width", 24, 8, "... and how many such times follow each other; 0: none, or not "
                              "looked for"),
    )),
}
# fmt: on


class FlashStatus:
    """Bits of FLASH_STATUS."""

    BUSY = REGISTERS["FLASH_STATUS"].mask("busy")
    FAILED = REGISTERS["FLASH_STATUS"].mask("failed")
    CAUSE_SHIFT = REGISTERS["FLASH_STATUS"]["cause"].offset


class FlashEvent:
    """Bits of EVENT."""

    VALID = REGISTERS["EVENT"].mask("valid")
    AGAIN = REGISTERS["EVENT"].mask("again")
    OFTEN = REGISTERS["EVENT"].mask("often")
    LOST = REGISTERS["EVENT"].mask("lost")
    LEVEL_SHIFT = REGISTERS["EVENT"]["level"].offset


BREAKDOWN = ("data", "command", "engine", "arrays", "dma", "idle")
"""The exclusive partition of every cycle, in order of priority."""

COUNTER_DOCS = {
    "cycles": "clocks since reset",
    "time_data": "clocks in which some channel's bus carries data",
    "time_command": "of the others, those in which some channel's bus carries commands",
    "time_engine": "of the others, those in which the engine is busy",
    "time_arrays": "of the others, those in which some channel waits for its dies",
    "time_dma": "of the others, those in which host memory or device DRAM is accessed",
    "time_idle": "all others",
    "pages_read": "flash pages read",
    "pages_programmed": "flash pages programmed",
    "blocks_erased": "flash blocks erased",
    "bytes_flash": "user bytes of flash read for attention, corrected",
    "bytes_tail": "bytes of tails read from device DRAM",
    "bytes_link_in": "bytes read from host memory",
    "bytes_link_out": "bytes written to host memory",
    "commands": "commands completed",
    "commands_failed": "of these, with an error",
    "jobs": "KV heads of jobs whose results were written",
    "program_failures": "programs that failed",
    "bits_corrected": "bit errors corrected",
    "codewords_corrected": "codewords that had some",
    "codewords_unrecovered": "codewords that could not be corrected",
    "read_retries": "reads repeated at another read-retry level",
}
"""Drive counters, 64 bits each, and what they count."""

COUNTERS = tuple(COUNTER_DOCS)

CHANNEL_COUNTER_DOCS = {
    "data": "clocks in which the bus carries data",
    "command": "clocks in which it carries commands",
    "waiting": "clocks in which only dies are busy",
    "idle": "clocks with nothing to do",
    "pages_read": "flash pages read",
    "pages_programmed": "flash pages programmed",
}
"""Counters of each channel: an exclusive partition of its cycles, then pages."""

CHANNEL_COUNTERS = tuple(CHANNEL_COUNTER_DOCS)


def counter_address(name):
    """Byte address of a drive counter's low word."""
    return 0x3000 + 8 * COUNTERS.index(name)


def channel_counter_address(channel, name):
    """Byte address of a channel counter's low word."""
    return 0x4000 + 64 * channel + 8 * CHANNEL_COUNTERS.index(name)
