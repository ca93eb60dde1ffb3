"""What the maker writes into a die: the ONFI parameter page and the unique ID.

The parameter page has 256 bytes (ONFI, "Parameter Page Data Structure Definition"), numbers with
the lowest byte first, and ends with a CRC-16 over the bytes before: polynomial 8005h, initial value
4F4Eh, no reflection. Fields that the model knows nothing of are 0.

Its ECC field is for codewords of 512 bytes. The parts of this model state theirs for 1 KiB, so the
field is FFh, and an *extended parameter page* of 48 bytes says it: CRC, "EPPS", ten bytes of 0,
eight pairs of section type and length (in 16 bytes), then the ECC section: bits, logarithm of the
codeword, bad blocks, endurance.
"""

import hashlib
import math

from .onfi import JEDEC_ID

__all__ = [
    "EXTENDED_BYTES",
    "PARAMETER_BYTES",
    "PARAMETER_COPIES",
    "UNIQUE_ID_BYTES",
    "crc16",
    "parameter_page",
    "unique_id",
]

PARAMETER_BYTES = 256
PARAMETER_COPIES = 3
EXTENDED_BYTES = 48
UNIQUE_ID_BYTES = 32
"""16 bytes and their complement."""

_MANUFACTURER = b"INSTINFER"
_REVISION_4_0 = 1 << 9
_READ_CACHE, _PROGRAM_CACHE, _FEATURES = 1 << 1, 1 << 0, 1 << 2
_ENHANCED_STATUS, _COPYBACK, _UNIQUE_ID = 1 << 3, 1 << 4, 1 << 5
_COLUMN_ENHANCED, _RESET_LUN = 1 << 6, 1 << 9
_COMMANDS = (
    _READ_CACHE
    | _PROGRAM_CACHE
    | _FEATURES
    | _ENHANCED_STATUS
    | _COPYBACK
    | _UNIQUE_ID
    | _COLUMN_ENHANCED
    | _RESET_LUN
)
_PLANE_PROGRAM, _PLANE_READ, _EXTENDED = 1 << 3, 1 << 6, 1 << 7  # features
_ANY_BLOCKS = 1 << 1  # multi-plane attributes: no restriction of block addresses
_SDR_MODE_0 = 1 << 0  # which every part has
_OTHER_ECC = 0xFF  # see the extended page
_ECC_SECTION = 2
_ECC_CODEWORD_LOG2 = 10


def crc16(data):
    """ONFI's CRC-16 of ``data``, an int."""
    crc = 0x4F4E
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x8005 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def _power(value):
    """``value`` as ONFI's pair of bytes, mantissa and power of ten; rounded down."""
    exponent = 0
    while value > 255:
        value, exponent = value // 10, exponent + 1
    return bytes([value, exponent])


def parameter_page(profile):
    """What READ PARAMETER PAGE shows: 256 bytes, of which it gives copies, and the extended page.

    Parameters
    ----------
    profile : Profile
        Geometry, times and endurance. Times above what a field holds are given as FFFFh.

    Returns
    -------
    bytes
    """
    g, t, e = profile.geometry, profile.timing, profile.endurance
    page = bytearray(PARAMETER_BYTES)

    def put(at, value, size):
        page[at : at + size] = min(value, (1 << 8 * size) - 1).to_bytes(size, "little")

    def text(at, value, size):
        page[at : at + size] = value[:size].ljust(size)

    page[0:4] = b"ONFI"
    put(4, _REVISION_4_0, 2)
    put(6, _EXTENDED | (_PLANE_PROGRAM | _PLANE_READ if g.planes > 1 else 0), 2)
    put(12, EXTENDED_BYTES // 16, 2)
    if g.planes > 1:
        put(114, _ANY_BLOCKS, 1)
        put(152, math.ceil(t.t_r_ns / 1000), 2)  # tR of a multi-plane read
    put(8, _COMMANDS, 2)
    put(14, PARAMETER_COPIES, 1)
    text(32, _MANUFACTURER, 12)
    text(44, profile.name.upper().encode("ascii", "replace"), 20)
    put(64, JEDEC_ID[0], 1)
    put(80, g.page_bytes, 4)
    put(84, g.spare_bytes, 2)
    put(92, g.pages, 4)
    put(96, g.blocks, 4)
    put(100, 1, 1)  # LUNs of a chip enable
    put(101, 2 << 4 | 3, 1)  # column and row address cycles
    put(102, e.bits_per_cell, 1)
    put(103, e.bad_blocks, 2)
    page[105:107] = _power(e.erases)
    put(107, 1, 1)  # block 0 is good ...
    page[108:110] = _power(e.erases)  # ... for as long as the others
    put(110, 1, 1)  # programs of a page
    put(112, _OTHER_ECC, 1)
    put(113, (g.planes - 1).bit_length(), 1)
    put(129, _SDR_MODE_0, 2)
    put(133, math.ceil(t.t_prog_ns / 1000), 2)
    put(135, math.ceil(t.t_bers_ns / 1000), 2)
    put(137, math.ceil(t.t_r_ns / 1000), 2)
    put(139, math.ceil(t.t_ccs_ns), 2)
    put(154, math.ceil(t.t_adl_ns), 2)
    put(254, crc16(page[:254]), 2)
    return bytes(page) + _extended(e)


def _extended(endurance):
    """The extended parameter page."""
    ecc = bytes([endurance.ecc_bits, _ECC_CODEWORD_LOG2])
    ecc += endurance.bad_blocks.to_bytes(2, "little") + _power(endurance.erases)
    header = b"EPPS" + bytes(10) + bytes([_ECC_SECTION, 1]).ljust(16, b"\0")
    rest = header + ecc.ljust(16, b"\0")
    return crc16(rest).to_bytes(2, "little") + rest


def unique_id(serial, channel, die):
    """The 32 bytes of a die's unique ID: a hash of the drive's serial number and the place."""
    name = f"{serial}/{channel}/{die}".encode()
    number = hashlib.blake2b(name, digest_size=UNIQUE_ID_BYTES // 2).digest()
    return number + bytes(byte ^ 0xFF for byte in number)
