"""Data scrambler: cells see every level about equally often, whatever the data are.

Words are XORed with 64 bits a clock of a maximum-length sequence, ``x^64 + x^4 + x^3 + x + 1``,
whose start is derived from a seed: the row address and the codeword's place in the page (`seed`),
so that any codeword can be read alone. The same component scrambles and descrambles.
"""

from functools import cache

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from flash_model.array_port import ROW_BITS
from hls_attention.streams import SkidBuffer

from .code import WORD
from .linear import apply

__all__ = ["SEED_BITS", "Scrambler", "keystream", "seed"]

TAPS = (0, 1, 3, 4)
"""Bit n + 64 of the sequence is the XOR of bits n + tap."""

SEED_BITS = 32

UPPER = 0x9E3779B9 << SEED_BITS
"""What stands above the seed, so that no seed gives a sequence of zeros."""

WARM_UP = 255
"""Words skipped after the seed, so that seeds that differ in a bit give unlike words."""


def seed(row, codeword):
    """Seed of a codeword.

    Parameters
    ----------
    row : int
        Row address of its page.
    codeword : int
        Its place there, 0..255.
    """
    if not 0 <= codeword < 1 << SEED_BITS - ROW_BITS or not 0 <= row < 1 << ROW_BITS:
        raise ValueError(
            f"row {row}, codeword {codeword} has no seed: choose rows below 2**{ROW_BITS} and "
            f"codewords below 2**{SEED_BITS - ROW_BITS}"
        )
    return codeword << ROW_BITS | row


def _following(word):
    """The next 64 bits of the sequence."""
    for _ in range(WORD):
        new = sum(word >> tap for tap in TAPS) & 1
        word = word >> 1 | new << WORD - 1
    return word


@cache
def _step_columns():
    return [_following(1 << bit) for bit in range(WORD)]


def _image(word):
    image = 0
    for bit, column in enumerate(_step_columns()):
        if word >> bit & 1:
            image ^= column
    return image


@cache
def _warm_up(word):
    for _ in range(WARM_UP):
        word = _image(word)
    return word


def keystream(seeds, words):
    """The sequences of seeds.

    Parameters
    ----------
    seeds : array of int [rows]
    words : int

    Returns
    -------
    uint64 array [rows, words]
    """
    seeds = np.asarray(seeds, np.uint64)
    key = np.full(len(seeds), _warm_up(UPPER), np.uint64)
    for bit in range(SEED_BITS):
        key ^= (seeds >> np.uint64(bit) & np.uint64(1)) * np.uint64(_warm_up(1 << bit))
    out = np.empty((len(seeds), words), np.uint64)
    for word in range(words):
        out[:, word] = key
        following = np.zeros_like(key)
        for bit, column in enumerate(_step_columns()):
            following ^= (key >> np.uint64(bit) & np.uint64(1)) * np.uint64(column)
        key = following
    return out


class Scrambler(wiring.Component):
    """XORs blocks of words with the sequences of their seeds. Latency 1, a word a clock.

    Parameters
    ----------
    words : int
        Words of a block, 1 or more.

    Members
    -------
    i : In(stream), 64 bits
    i_seeds : In(stream), 32 bits
        One of each block, see `seed`; taken before its first word, no clock lost if it is there
        with the last word of the block before.
    o : Out(stream), 64 bits
        From registers.
    """

    def __init__(self, words):
        if words < 1:
            raise ValueError(f"blocks of {words} words are not possible: choose 1 or more")
        self._words = words
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "i_seeds": In(stream.Signature(SEED_BITS)),
                "o": Out(stream.Signature(WORD)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.out = out = SkidBuffer(WORD)
        connect(m, out.o, flipped(self.o))
        word = Signal(range(max(2, self._words)))
        key = Signal(WORD)
        seeded = Signal()
        moved = Signal()
        ends = Signal()
        start = apply(self.i_seeds.payload, [_warm_up(1 << bit) for bit in range(SEED_BITS)], WORD)
        m.d.comb += [
            out.i.valid.eq(self.i.valid & seeded),
            out.i.payload.eq(self.i.payload ^ key),
            self.i.ready.eq(out.i.ready & seeded),
            moved.eq(out.i.valid & out.i.ready),
            ends.eq(moved & (word == self._words - 1)),
            self.i_seeds.ready.eq(~seeded | ends),
        ]
        with m.If(moved):
            m.d.sync += [key.eq(apply(key, _step_columns(), WORD)), word.eq(word + 1)]
        with m.If(ends):
            m.d.sync += [word.eq(0), seeded.eq(0)]
        with m.If(self.i_seeds.valid & self.i_seeds.ready):
            m.d.sync += [key.eq(start ^ _warm_up(UPPER)), seeded.eq(1)]
        return m
