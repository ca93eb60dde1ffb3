"""ONFI's encodings: what a bus carries, command bytes, bits of the status byte, ID bytes."""

from amaranth.lib import enum

__all__ = ["BusCycle", "Command", "JEDEC_ID", "ONFI_ID", "Status"]

JEDEC_ID = bytes([0x2C, 0x84, 0x64, 0x3C, 0xA9, 0x04, 0x00, 0x00])
"""READ ID, address 00h."""

ONFI_ID = b"ONFI\0\0\0\0"
"""READ ID, address 20h."""


class BusCycle(enum.Enum, shape=3):  # type: ignore[call-arg]
    """What the bus carries; the PHY boundary of the controller uses the same encoding."""

    IDLE = 0
    COMMAND = 1
    ADDRESS = 2
    WRITE = 3
    READ = 4


class Command:
    """Command bytes."""

    READ = 0x00
    READ_CONFIRM = 0x30
    READ_CACHE_CONFIRM = 0x31
    READ_CACHE_END = 0x3F
    CHANGE_READ_COLUMN = 0x05
    CHANGE_READ_COLUMN_CONFIRM = 0xE0
    PROGRAM = 0x80
    PROGRAM_CONFIRM = 0x10
    ERASE = 0x60
    ERASE_CONFIRM = 0xD0
    READ_STATUS = 0x70
    READ_ID = 0x90
    RESET = 0xFF


class Status:
    """Bits of the status byte."""

    FAIL = 0x01
    ARDY = 0x20  # the array rests
    RDY = 0x40  # R/B#: the die takes commands and shows its cache register
    WRITABLE = 0x80
