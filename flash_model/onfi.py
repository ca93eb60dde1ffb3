"""ONFI's encodings: what a bus carries, command bytes, feature addresses, status bits, ID bytes."""

from amaranth.lib import enum

__all__ = ["BusCycle", "Command", "Feature", "JEDEC_ID", "ONFI_ID", "Status"]

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
    READ_PLANE_CONFIRM = 0x32  # more planes follow
    COPYBACK_READ_CONFIRM = 0x35
    READ_CACHE_CONFIRM = 0x31
    READ_CACHE_END = 0x3F
    CHANGE_READ_COLUMN = 0x05
    CHANGE_READ_COLUMN_ENHANCED = 0x06
    CHANGE_READ_COLUMN_CONFIRM = 0xE0
    PROGRAM = 0x80
    PROGRAM_PLANE = 0x81  # of a plane after the first
    CHANGE_WRITE_COLUMN = 0x85  # and, with five addresses, COPYBACK PROGRAM
    PROGRAM_CONFIRM = 0x10
    PROGRAM_PLANE_CONFIRM = 0x11  # more planes follow
    PROGRAM_CACHE_CONFIRM = 0x15
    ERASE = 0x60
    ERASE_CONFIRM = 0xD0
    ERASE_PLANE_CONFIRM = 0xD1  # more planes follow
    READ_STATUS = 0x70
    READ_STATUS_ENHANCED = 0x78
    READ_ID = 0x90
    READ_PARAMETER_PAGE = 0xEC
    READ_UNIQUE_ID = 0xED
    GET_FEATURES = 0xEE
    SET_FEATURES = 0xEF
    RESET = 0xFF
    SYNCHRONOUS_RESET = 0xFC
    RESET_LUN = 0xFA


class Feature:
    """Feature addresses of GET FEATURES and SET FEATURES."""

    TIMING_MODE = 0x01  # P1[3:0] timing mode, P1[5:4] data interface
    READ_RETRY = 0x89  # P1[2:0] level of the read voltages; a vendor's address


class Status:
    """Bits of the status byte."""

    FAIL = 0x01  # the last operation; says nothing before ARDY
    FAILC = 0x02  # the program before the last one, when that was PROGRAM PAGE CACHE
    SUSPENDED = 0x04  # a program or erase; a maker's bit
    ARDY = 0x20  # the array rests
    RDY = 0x40  # R/B#: the die takes commands and shows its cache register
    WRITABLE = 0x80  # WP# is high
