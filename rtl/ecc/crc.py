"""CRC-32 behind the data of each codeword: the last word on what a decoder took for correct.

The polynomial is that of IEEE 802.3 (04C11DB7h, bit order and inversions as there), over the data
words and the metadata, bytes in ascending order::

    check word = metadata (low 32 bits), CRC-32 of data and metadata (high 32 bits)

A decoder that is given more than t errors sometimes finds another codeword; one in ``2**32`` of
those passes here. Metadata are the caller's: a row address, say, tells a page read in place of
another.
"""

from functools import cache

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.streams import SkidBuffer

from .code import WORD
from .linear import apply

__all__ = ["META_BITS", "CrcAppend", "CrcCheck", "check_layout"]

POLYNOMIAL = 0xEDB88320  # of IEEE 802.3, lowest bit first
ALL = 0xFFFFFFFF
META_BITS = 32


def check_layout():
    """Verdict on a codeword, and the metadata of its check word."""
    return data.StructLayout({"meta": META_BITS, "ok": 1})


@cache
def _columns(bits):
    """What each of the next ``bits`` bits, with the register XORed in, adds to the register."""
    columns, value = [], 1
    for _ in range(bits):
        value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        columns.append(value)
    return columns[::-1]


def _following(m, register, bits):
    """The register after a word of 32 or more bits."""
    mixed = Signal(len(bits))
    m.d.comb += mixed.eq(bits ^ register)
    return apply(mixed, _columns(len(bits)), 32)


def _check_words(words):
    if words < 1:
        raise ValueError(f"{words} data words are not possible: choose 1 or more")


class CrcAppend(wiring.Component):
    """Appends a check word to every ``words`` words. Latency 1, a word a clock at the output.

    Parameters
    ----------
    words : int
        Data words of a codeword.

    Members
    -------
    i : In(stream), 64 bits
    i_meta : In(stream), 32 bits
        Metadata of each codeword, taken with its check word.
    o : Out(stream), 64 bits
        ``words + 1`` of each codeword, from registers.
    """

    def __init__(self, words):
        _check_words(words)
        self._words = words
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "i_meta": In(stream.Signature(META_BITS)),
                "o": Out(stream.Signature(WORD)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.out = out = SkidBuffer(WORD)
        connect(m, out.o, flipped(self.o))
        word = Signal(range(self._words + 1))
        register = Signal(32, init=ALL)
        moved = out.i.valid & out.i.ready
        with m.If(word != self._words):
            m.d.comb += [
                out.i.valid.eq(self.i.valid),
                out.i.payload.eq(self.i.payload),
                self.i.ready.eq(out.i.ready),
            ]
            with m.If(moved):
                m.d.sync += [
                    register.eq(_following(m, register, self.i.payload)),
                    word.eq(word + 1),
                ]
        with m.Else():
            crc = ~_following(m, register, self.i_meta.payload)
            m.d.comb += [
                out.i.valid.eq(self.i_meta.valid),
                out.i.payload.eq(Cat(self.i_meta.payload, crc)),
                self.i_meta.ready.eq(out.i.ready),
            ]
            with m.If(moved):
                m.d.sync += [register.eq(ALL), word.eq(0)]
        return m


class CrcCheck(wiring.Component):
    """Takes the check words off and looks at them. Latency 1, a word a clock.

    Parameters
    ----------
    words : int
        Data words of a codeword.

    Members
    -------
    i : In(stream), 64 bits
        ``words + 1`` of each codeword.
    o : Out(stream), 64 bits
        The data words, from registers.
    o_checks : Out(stream), ``check_layout()``
        One of each codeword, from registers, once its check word has come.
    """

    def __init__(self, words):
        _check_words(words)
        self._words = words
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "o": Out(stream.Signature(WORD)),
                "o_checks": Out(stream.Signature(check_layout())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.out = out = SkidBuffer(WORD)
        connect(m, out.o, flipped(self.o))
        word = Signal(range(self._words + 1))
        register = Signal(32, init=ALL)
        m.d.comb += out.i.payload.eq(self.i.payload)
        with m.If(self.o_checks.ready):
            m.d.sync += self.o_checks.valid.eq(0)
        with m.If(word != self._words):
            m.d.comb += [out.i.valid.eq(self.i.valid), self.i.ready.eq(out.i.ready)]
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += [
                    register.eq(_following(m, register, self.i.payload)),
                    word.eq(word + 1),
                ]
        with m.Else():
            m.d.comb += self.i.ready.eq(~self.o_checks.valid | self.o_checks.ready)
            meta = self.i.payload[:META_BITS]
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += [
                    register.eq(ALL),
                    word.eq(0),
                    self.o_checks.valid.eq(1),
                    self.o_checks.payload.meta.eq(meta),
                    self.o_checks.payload.ok.eq(
                        self.i.payload[META_BITS:] == ~_following(m, register, meta)
                    ),
                ]
        return m
