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
from .linear_register import LinearRegister

__all__ = ["SEED_BITS", "Scrambler", "keystream", "place_bits", "seed"]

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
    return place_bits(row, codeword)


def place_bits(row, codeword):
    """The same of integers or values that are in range."""
    return row | codeword << ROW_BITS


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
    seeds = np.asarray(seeds, np.int64)
    out = np.broadcast_to(_sequence(UPPER, words), (len(seeds), words)).copy()
    for byte, table in enumerate(_seed_tables(words)):
        out ^= table[seeds >> 8 * byte & 0xFF]
    return out


@cache
def _sequence(start, words):
    """uint64 [words] of the sequence after the warm-up of a start."""
    word, out = _warm_up(start), []
    for _ in range(words):
        out.append(word)
        word = _image(word)
    return np.array(out, np.uint64)


@cache
def _seed_tables(words):
    """What each byte of a seed, by its value, adds to the sequence: uint64 [256, words] each."""
    tables = []
    for byte in range(SEED_BITS // 8):
        table = np.zeros((256, words), np.uint64)
        for bit in range(8):
            chosen = np.arange(256) >> bit & 1 == 1
            table[chosen] ^= _sequence(1 << 8 * byte + bit, words)
        tables.append(table)
    return tables


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
        m.submodules.key = key = LinearRegister(
            "scrambler_key",
            WORD,
            [_step_columns(), [_warm_up(1 << bit) for bit in range(SEED_BITS)]],
        )
        word = Signal(range(max(2, self._words)))
        seeded = Signal()
        moved = Signal()
        ends = Signal()
        takes = self.i_seeds.valid & self.i_seeds.ready
        m.d.comb += [
            out.i.valid.eq(self.i.valid & seeded),
            out.i.payload.eq(self.i.payload ^ key.q),
            self.i.ready.eq(out.i.ready & seeded),
            moved.eq(out.i.valid & out.i.ready),
            ends.eq(moved & (word == self._words - 1)),
            self.i_seeds.ready.eq(~seeded | ends),
            key.en.eq(moved | takes),
        ]
        with m.If(takes):
            m.d.comb += [key.base.eq(_warm_up(UPPER)), key.i[1].eq(self.i_seeds.payload)]
        with m.Else():
            m.d.comb += key.i[0].eq(key.q)
        with m.If(moved):
            m.d.sync += word.eq(word + 1)
        with m.If(ends):
            m.d.sync += [word.eq(0), seeded.eq(0)]
        with m.If(takes):
            m.d.sync += seeded.eq(1)
        return m
