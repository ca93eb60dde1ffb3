"""Random codewords and known error patterns, as arrays and for the bench."""

import numpy as np

from rtl.ecc import twin

__all__ = ["flip", "inject", "messages", "rows", "words"]


def messages(rng, code, count):
    return rng.integers(0, 1 << 64, (count, code.message_words), np.uint64)


def flip(codewords, row, slots):
    """Invert bits of a codeword in place."""
    for slot in slots:
        codewords[row, slot // 64] ^= np.uint64(1 << int(slot) % 64)


def inject(rng, code, counts):
    """Codewords with so many errors each, at random places of the code.

    Returns
    -------
    sent, received : uint64 array [rows, code.words]
    """
    sent = twin.encode(code, messages(rng, code, len(counts)))
    received = sent.copy()
    for row, count in enumerate(counts):
        flip(received, row, rng.choice(code.bits, count, replace=False))
    return sent, received


def words(array):
    """An array as the items of a bench's source."""
    return [int(word) for word in np.asarray(array).ravel()]


def rows(items, width):
    """Items of a bench's sink as rows of words."""
    return np.array(items, np.uint64).reshape(-1, width)
