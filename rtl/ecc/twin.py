"""The code in numpy, bit for bit the gateware's results: bulk tests, and the host's back door.

Codewords are rows of uint64 words, as `rtl.ecc.code` lays them out. Everything is vectorised over
codewords; a codeword without errors costs its remainder alone.
"""

from functools import cache

import numpy as np

__all__ = ["decode", "encode", "key_equation", "parity", "roots", "syndromes"]

ROWS = 4096
"""Codewords handled at a time: few enough to stay in the processor's cache."""


def _bits(words):
    """float32 [rows, 64 * words]: bits in the order of slots."""
    octets = np.ascontiguousarray(words, "<u8").view(np.uint8)
    return np.unpackbits(octets, axis=1, bitorder="little").astype(np.float32)


def _words(bits):
    """uint64 [rows, words] of whole words of bits."""
    octets = np.packbits(bits.astype(np.uint8), axis=1, bitorder="little")
    return octets.view("<u8").astype(np.uint64)


def _rows_of(words, width):
    words = np.asarray(words, np.uint64)
    if words.ndim != 2 or words.shape[1] != width:
        raise ValueError(f"an array of shape {words.shape} is no array of rows of {width} words")
    return words


@cache
def _parity_tables(code):
    """uint64 [message bytes, 256, parity words]: parity of each byte alone, by its value."""
    degree = code.parity_bits
    remainders, remainder = [], code.generator ^ (1 << degree)  # of x**degree
    for _ in range(code.message_words * 64):
        remainders.append(remainder)
        remainder <<= 1
        if remainder >> degree:
            remainder ^= code.generator
    octets = -(-degree // 8)
    shift = 8 * octets - degree  # the highest degree first, aligned to bytes
    raw = b"".join((r << shift).to_bytes(octets, "big") for r in reversed(remainders))
    rows = np.frombuffer(raw, np.uint8).reshape(-1, octets)
    matrix = np.unpackbits(rows, axis=1)[:, :degree]
    of_bits = _words(np.pad(matrix, ((0, 0), (0, code.pad_bits)))).reshape(-1, 8, code.parity_words)
    tables = np.zeros((len(of_bits), 256, code.parity_words), np.uint64)
    for bit in range(8):
        tables[:, 1 << bit : 2 << bit] = tables[:, : 1 << bit] ^ of_bits[:, bit, None]
    return tables


@cache
def _syndrome_matrix(code):
    """float32 [parity slots, m * t]: odd syndromes of each parity bit alone."""
    places = code.slots - 1 - np.arange(code.message_words * 64, code.slots)
    odd = np.arange(1, 2 * code.t, 2)
    values = code.field.exp[places[:, None] * odd % code.field.order]
    values[code.parity_bits :] = 0
    bits = values[:, :, None] >> np.arange(code.m) & 1
    return bits.reshape(len(places), -1).astype(np.float32)


def parity(code, message):
    """Parity words of messages.

    Parameters
    ----------
    code : BchCode
    message : uint64 array [rows, code.message_words]

    Returns
    -------
    uint64 array [rows, code.parity_words]
    """
    message = _rows_of(message, code.message_words)
    octets = np.ascontiguousarray(message, "<u8").view(np.uint8)
    out = np.zeros((len(message), code.parity_words), np.uint64)
    for at in range(0, len(message), ROWS):
        for table, values in zip(_parity_tables(code), octets[at : at + ROWS].T):
            out[at : at + ROWS] ^= table[values]
    return out


def encode(code, message):
    """Messages with their parity behind them: uint64 [rows, code.words]."""
    message = _rows_of(message, code.message_words)
    return np.concatenate([message, parity(code, message)], axis=1)


def syndromes(code, words):
    """Odd syndromes ``r(alpha), r(alpha**3), ...``: int32 [rows, t]. Pad bits do not count."""
    words = _rows_of(words, code.words)
    message, tail = words[:, : code.message_words], words[:, code.message_words :]
    remainder = _bits(parity(code, message) ^ tail)
    sums = (remainder @ _syndrome_matrix(code)).astype(np.int32) & 1
    return (sums.reshape(len(words), code.t, code.m) << np.arange(code.m, dtype=np.int32)).sum(2)


def key_equation(code, odd):
    """Error locators by the inversion-free Berlekamp-Massey iteration for binary codes.

    Parameters
    ----------
    code : BchCode
    odd : int32 array [rows, t]
        Odd syndromes.

    Returns
    -------
    locator : int32 array [rows, t + 1]
        Coefficients; their common factor is that of the gateware.
    errors : int array [rows]
        Number of errors if the locator has as many roots.
    failed : bool array [rows]
        More than t errors. The iteration ends there: neither locator nor errors mean anything.
    """
    multiply, t = code.field.multiply, code.t
    rows = len(odd)
    full = np.zeros((rows, 2 * t + 1), np.int32)  # full[:, j] is the syndrome of alpha**j
    full[:, 1::2] = odd
    for even in range(2, 2 * t + 1, 2):
        full[:, even] = multiply(full[:, even // 2], full[:, even // 2])
    locator = np.zeros((rows, t + 1), np.int32)
    helper = np.zeros((rows, t + 1), np.int32)
    locator[:, 0] = helper[:, 1] = 1
    scale = np.ones(rows, np.int32)
    errors, failed = np.zeros(rows, int), np.zeros(rows, bool)
    for step in range(t):
        terms = min(2 * step, t) + 1  # the degree is below 2 * step
        window = full[:, 2 * step + 1 - np.arange(terms)]
        delta = np.bitwise_xor.reduce(multiply(locator[:, :terms], window), axis=1)
        act = (delta != 0) & ~failed
        swap = act & (errors <= step)
        updated = multiply(scale[:, None], locator) ^ multiply(delta[:, None], helper)
        helper = np.where(swap[:, None], locator, helper)
        helper = np.pad(helper, ((0, 0), (2, 0)))[:, : t + 1]
        locator = np.where(act[:, None], updated, locator)
        scale = np.where(swap, delta, scale)
        errors = np.where(swap, 2 * step + 1 - errors, errors)
        failed |= errors > t
    return locator, errors, failed


def roots(code, locator, errors):
    """Slots at which one locator is zero, ascending; those behind the parity bits left out.

    Parameters
    ----------
    code : BchCode
    locator : int array [t + 1]
    errors : int
        Its degree or a bound of it.
    """
    field = code.field
    exponents = np.arange(code.bits) - (code.slots - 1)
    total = np.full(code.bits, locator[0], np.int32)
    for power in range(1, errors + 1):
        if locator[power]:
            total ^= field.exp[(field.log[locator[power]] + power * exponents) % field.order]
    return np.flatnonzero(total == 0)


def decode(code, words):
    """Correct codewords.

    Parameters
    ----------
    code : BchCode
    words : uint64 array [rows, code.words]

    Returns
    -------
    message : uint64 array [rows, code.message_words]
        Corrected; of an uncorrectable codeword, as it came.
    corrected : int array [rows]
        Bits corrected, those of the parity included; 0 of an uncorrectable codeword.
    uncorrectable : bool array [rows]
    """
    words = _rows_of(words, code.words)
    message = words[:, : code.message_words].copy()
    corrected, bad = np.zeros(len(words), int), np.zeros(len(words), bool)
    odd = syndromes(code, words)
    wrong = np.flatnonzero(odd.any(axis=1))
    if not len(wrong):
        return message, corrected, bad
    for index, locator, errors, failed in zip(wrong, *key_equation(code, odd[wrong])):
        slots = () if failed else roots(code, locator, errors)
        bad[index] = failed or len(slots) != errors
        if not bad[index]:
            corrected[index] = errors
            for slot in slots[slots < code.message_words * 64]:
                message[index, slot // 64] ^= np.uint64(1 << int(slot) % 64)
    return message, corrected, bad
