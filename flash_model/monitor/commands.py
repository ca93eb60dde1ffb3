"""Command bytes as the protocol monitor knows them: what opens and ends what, and when it may."""

from typing import NamedTuple

__all__ = [
    "ALONE",
    "AT_ANY_TIME",
    "COPYBACK_PROGRAM",
    "ENDS",
    "NEED_REST",
    "OPENINGS",
    "PROGRAM",
    "RESETS",
    "WHILE_SENSING",
    "WITH_ROW",
    "Opening",
]


class Opening(NamedTuple):
    """A command that waits for addresses: how many, and the commands that may end it."""

    addresses: int
    ends: tuple[int, ...] = ()


COPYBACK_PROGRAM = 0x185
"""85h with five addresses, as a sequence of its own."""

RESETS = (0xFF, 0xFC)
AT_ANY_TIME = (0x70, 0x78, 0xFF, 0xFC, 0xFA)
NEED_REST = (0x30, 0x32, 0x35, 0x11, 0x60, 0xD0, 0xD1, 0x90, 0xEC, 0xED, 0xEE, 0xEF)
PROGRAM = (0x80, 0x85, 0x10, 0x15)  # behind 15h too
WHILE_SENSING = (0x00, 0x05, 0x06, 0xE0, 0x30)  # of independent planes

# What opens a sequence: how many address cycles follow, and what may end it.
OPENINGS = {
    0x00: Opening(5, ends=(0x30, 0x31, 0x32, 0x35)),
    0x05: Opening(2, ends=(0xE0,)),
    0x06: Opening(5, ends=(0xE0,)),
    0x80: Opening(5, ends=(0x10, 0x11, 0x15, 0x85)),
    0x81: Opening(5, ends=(0x10, 0x11, 0x15, 0x85)),
    0x85: Opening(2, ends=(0x10, 0x11, 0x15, 0x85)),
    COPYBACK_PROGRAM: Opening(5, ends=(0x10, 0x11, 0x15, 0x85)),
    0x60: Opening(3, ends=(0xD0, 0xD1)),
    0x90: Opening(1),
    0xEC: Opening(1),
    0xED: Opening(1),
    0xEE: Opening(1),
    0xEF: Opening(1),
    0x78: Opening(3),
    0xFA: Opening(3),
}
WITH_ROW = (0x80, 0x81, COPYBACK_PROGRAM)
ENDS = {end for opening in OPENINGS.values() for end in opening.ends} - set(OPENINGS)
ALONE = (0x31, 0x3F, 0x70, *RESETS)
