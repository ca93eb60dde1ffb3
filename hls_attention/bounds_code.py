"""Bounds of K: what a drive keeps of units of 4 tokens, as bytes, and its twin in numpy.

A *unit* is 4 tokens, a *block* 8 units. Of each unit and channel the smallest and the largest
element lie in a byte, and the blocks of a head one after another, units in order, channels within::

    byte [unit][channel]:   | x | delta (3) | low (4, signed) |

    x: bit ``unit`` of E, the exponent field that this channel's codes of the block count in

    smallest ~ low * 2^(E - bias)      largest ~ (low + delta) * 2^(E - bias)

So a codeword of ``8 * head_dim`` bytes or a multiple explains itself. E is the least of three: with
F the largest exponent field of the channel's bounds in the block, 3 or more, codes count in
``2^(F - 2 - bias)``, rounded to nearest, halves up, which makes them -8..8; or, if some low is 8 or
some delta more than 7, in twice this; or, if that makes some delta more than 7, in four times this.
What lies beyond the format's largest number when decoded is that number. No decoded bound is a
subnormal number, and its exponent is at most one above the largest of its block's elements.

Rounded to nearest they are estimates of bounds, neither too large nor too small on average, so that
units with such bounds and units with exact ones can be compared.

Elements are compared by sign and magnitude as integers, so that infinities and NaN give bytes, too,
if meaningless ones: a head with one of these is never estimated.
"""

import numpy as np

from hls_attention.formats import format_of, words_of

__all__ = ["BLOCK_TOKENS", "BLOCK_UNITS", "UNIT_TOKENS", "decode", "encode", "extremes"]

UNIT_TOKENS = 4
"""Tokens of a unit: they are kept or left out together."""

BLOCK_UNITS = 8
"""Units that share an exponent in each channel: one bit of it with each."""

BLOCK_TOKENS = UNIT_TOKENS * BLOCK_UNITS

LEAST_FIELD = 3
"""Codes count in 2^(1 - bias) at least, the smallest normal number."""

MOST_LOW = MOST_DELTA = 7


def extremes(k):
    """Smallest and largest element of each unit and channel.

    Parameters
    ----------
    k : array of float16 or bfloat16, [tokens, head_dim]
        The last unit may have fewer than 4 tokens.

    Returns
    -------
    low, high : arrays of k's dtype, [units, head_dim]
    """
    words = words_of(k)
    order = np.where(words >> 15, -(words & 0x7FFF) - 1, words)  # -0 comes before 0
    starts = np.arange(0, len(k), UNIT_TOKENS)
    return tuple(
        _numbers(np.where(found < 0, 0x8000 | (-found - 1), found), k.dtype)
        for found in (
            np.minimum.reduceat(order, starts, axis=0),
            np.maximum.reduceat(order, starts, axis=0),
        )
    )


def encode(k):
    """The bytes of whole blocks.

    Parameters
    ----------
    k : array of float16 or bfloat16, [tokens, head_dim]
        Tokens: a multiple of 32.

    Returns
    -------
    array of uint8, [units, head_dim]
    """
    if len(k) % BLOCK_TOKENS:
        raise ValueError(f"{len(k)} tokens are not whole blocks: give a multiple of {BLOCK_TOKENS}")
    format = format_of(k)
    blocks = [words_of(bound).reshape(-1, BLOCK_UNITS, k.shape[1]) for bound in extremes(k)]
    fields = [(block >> format.fraction_bits) & format.top_field for block in blocks]
    largest = np.maximum(*fields).max(axis=1, keepdims=True)
    base = np.maximum(largest, LEAST_FIELD)
    halves = [_half_steps(block, base, format) for block in blocks]
    exponent = base - 2
    low, high = (half + 1 >> 1 for half in halves)
    for more in (1, 2):
        coarse = ((high - low > MOST_DELTA) | (low > MOST_LOW)).any(axis=1, keepdims=True)
        low, high = (
            np.where(coarse, half + (1 << more) >> more + 1, code)
            for half, code in zip(halves, (low, high), strict=True)
        )
        exponent = exponent + coarse
    bit = (exponent >> np.arange(BLOCK_UNITS)[:, None]) & 1
    code = (bit << 7) | ((high - low) << 4) | (low & 15)
    return code.astype(np.uint8).reshape(-1, k.shape[1])


def decode(codes, dtype):
    """Bounds of whole blocks of bytes.

    Parameters
    ----------
    codes : array of uint8, [units, head_dim]
        Units: a multiple of 8.
    dtype : float16 or bfloat16

    Returns
    -------
    low, high : arrays of ``dtype``, [units, head_dim]
    """
    format = format_of(np.empty(0, dtype))
    code = codes.astype(np.int64).reshape(-1, BLOCK_UNITS, codes.shape[1])
    exponent = ((code >> 7) << np.arange(BLOCK_UNITS)[:, None]).sum(axis=1, keepdims=True)
    low = ((code & 15) ^ 8) - 8
    high = low + ((code >> 4) & 7)
    return tuple(
        _numbers(_decoded(bound, exponent, format), dtype).reshape(codes.shape)
        for bound in (low, high)
    )


def _half_steps(words, base, format):
    """Elements in units of 2^(base - 3 - bias), rounded down."""
    field = (words >> format.fraction_bits) & format.top_field
    hidden = (field > 0).astype(np.int64) << format.fraction_bits
    magnitude = hidden | (words & ((1 << format.fraction_bits) - 1))
    shift = format.fraction_bits - 3 + base - np.maximum(field, 1)
    return np.where(words >> 15, -magnitude, magnitude) >> np.minimum(shift, 62)


def _decoded(code, exponent, format):
    """Words of ``code * 2^(exponent - bias)``, at most the largest number."""
    magnitude = np.abs(code)
    place = np.frexp(magnitude)[1].astype(np.int64) - 1  # of the leading one
    field = exponent + place
    fraction = ((magnitude << 3) >> np.maximum(place, 0) & 7) << format.fraction_bits - 3
    word = (field << format.fraction_bits) | fraction
    word = np.where(field < format.top_field, word, (format.top_field << format.fraction_bits) - 1)
    return np.where(magnitude > 0, word | ((code < 0).astype(np.int64) << 15), 0)


def _numbers(words, dtype):
    return words.astype(np.uint16).view(dtype)
