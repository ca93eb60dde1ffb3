"""Pages as they lie in flash, in numpy: `rtl.pages.writer` makes them, `rtl.pages.reader` reads."""

import zlib

import numpy as np

from ..ecc import twin
from ..ecc.placement import PAGE_META_BITS, meta_parts
from ..ecc.scrambler import keystream, seed

__all__ = ["decode_pages", "encode_pages"]


def encode_pages(code, rows, metas, data):
    """Codewords of pages.

    Parameters
    ----------
    code : rtl.ecc.code.BchCode
    rows : sequence of int [pages]
        Row addresses.
    metas : sequence of bytes [pages]
        Metadata, 8 bytes each (`rtl.tables.PAGE_META`).
    data : uint8 array [pages, bytes]
        User bytes, filled up with zeros to whole codewords.

    Returns
    -------
    uint8 array [pages, codewords * words * 8]
    """
    data = np.asarray(data, np.uint8)
    pages, count = len(data), -(-data.shape[1] // code.data_bytes)
    user = np.zeros((pages, count, code.data_bytes), np.uint8)
    user.reshape(pages, -1)[:, : data.shape[1]] = data
    message = np.empty((pages, count, code.message_words), np.uint64)
    message[:, :, : code.data_words] = user.view("<u8")
    message[:, :, code.data_words :] = _check_words(code, user, metas)
    flat = message.reshape(-1, code.message_words)
    flat ^= _keys(code, rows, count)
    return twin.encode(code, flat).astype("<u8").view(np.uint8).reshape(pages, -1)


def decode_pages(code, rows, raw):
    """User bytes of pages.

    Parameters
    ----------
    code : rtl.ecc.code.BchCode
    rows : sequence of int [pages]
    raw : uint8 array [pages, codewords * words * 8]

    Returns
    -------
    data : uint8 array [pages, codewords * code.data_bytes]
    metas : list of bytes [pages]
        Metadata, as far as the codewords hold them.
    corrected : int array [pages, codewords]
        Bits corrected, -1: uncorrectable, or the CRC does not fit.
    """
    raw = np.ascontiguousarray(raw)
    pages = len(raw)
    words = raw.view("<u8").astype(np.uint64).reshape(-1, code.words)
    count = len(words) // pages
    message, corrected, bad = twin.decode(code, words)
    message ^= _keys(code, rows, count)
    user = message[:, : code.data_words].astype("<u8").view(np.uint8)
    checks = message[:, code.data_words :]
    wanted = _check_words(code, user.reshape(pages, count, -1), _metas(code, checks, pages))
    wrong = bad | (checks != wanted.reshape(checks.shape)).any(axis=1)
    return (
        user.reshape(pages, -1),
        _metas(code, checks, pages),
        np.where(wrong, -1, corrected).reshape(pages, count),
    )


def _keys(code, rows, count):
    seeds = [seed(int(row), n) for row in rows for n in range(count)]
    return keystream(seeds, code.message_words)


def _check_words(code, user, metas):
    """uint64 [pages, codewords, check words]: metadata and CRC."""
    size, parts = code.meta_bits // 8, meta_parts(code)
    out = bytearray()
    for codewords, meta in zip(user, metas):
        whole = meta.ljust(parts * size, b"\0")
        for n, octets in enumerate(codewords):
            mine = whole[n % parts * size :][:size]
            out += mine + zlib.crc32(mine, zlib.crc32(octets)).to_bytes(4, "little")
    shape = (*user.shape[:2], code.check_words)
    return np.frombuffer(out, "<u8").astype(np.uint64).reshape(shape)


def _metas(code, checks, pages):
    """Metadata of each page, from its first codewords."""
    size, parts = code.meta_bits // 8, meta_parts(code)
    octets = checks.astype("<u8").view(np.uint8).reshape(pages, -1, 8 * code.check_words)
    return [page[:parts, :size].tobytes()[: PAGE_META_BITS // 8] for page in octets]
