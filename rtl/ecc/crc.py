"""CRC-32 behind the data of each codeword: the last word on what a decoder took for correct.

The polynomial is that of IEEE 802.3 (04C11DB7h, bit order and inversions as there), over the data
words and the metadata, bytes in ascending order::

    check words = metadata (low bits, 64 n - 32 of n words), CRC-32 of data and metadata (the rest)

A decoder that is given more than t errors sometimes finds another codeword; one in ``2**32`` of
those passes here.
"""

from functools import cache

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.streams import SkidBuffer

from .code import WORD
from .linear_register import LinearRegister

__all__ = ["CrcAppend", "CrcCheck", "check_layout"]

POLYNOMIAL = 0xEDB88320  # of IEEE 802.3, lowest bit first
ALL = 0xFFFFFFFF
RESIDUE = 0xDEBB20E3
"""What the register holds after data and their own CRC."""


def check_layout(meta_bits):
    """Verdict on a codeword, and the metadata of its check words."""
    return data.StructLayout({"meta": meta_bits, "ok": 1})


@cache
def _columns(bits):
    """What each of the next ``bits`` bits, with the register XORed in, adds to the register."""
    columns, value = [], 1
    for _ in range(bits):
        value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        columns.append(value)
    return columns[::-1]


def _register():
    """The CRC register: takes a word, or half a word, with itself XORed in; begins at all ones."""
    return LinearRegister("crc32", 32, [_columns(WORD), _columns(32)], init=ALL)


def _check_sizes(words, check_words):
    for name, value in (("data words", words), ("check words", check_words)):
        if value < 1:
            raise ValueError(f"{value} {name} are not possible: choose 1 or more")


class CrcAppend(wiring.Component):
    """Appends check words to every ``words`` words. Latency 1; a word a clock, and one clock more
    for each codeword.

    Parameters
    ----------
    words : int
        Data words of a codeword.
    check_words : int

    Members
    -------
    i : In(stream), 64 bits
    i_meta : In(stream), ``64 * check_words - 32`` bits
        Metadata of each codeword, taken with its last check word.
    spoil : In(1)
        Held with ``i_meta``: the CRC is to be wrong.
    o : Out(stream), 64 bits
        ``words + check_words`` of each codeword, from registers.
    """

    def __init__(self, words, check_words=1):
        _check_sizes(words, check_words)
        self._words, self._check_words = words, check_words
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "i_meta": In(stream.Signature(WORD * check_words - 32)),
                "spoil": In(1),
                "o": Out(stream.Signature(WORD)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.out = out = SkidBuffer(WORD)
        m.submodules.register = register = _register()
        connect(m, out.o, flipped(self.o))
        meta = self.i_meta
        last = self._words + self._check_words - 1
        word = Signal(range(last + 2))
        moved = out.i.valid & out.i.ready
        with m.Switch(word):
            for number in range(self._check_words - 1):
                with m.Case(self._words + number):  # a word of metadata alone
                    m.d.comb += [
                        out.i.valid.eq(meta.valid),
                        out.i.payload.eq(meta.payload.word_select(number, WORD)),
                        register.en.eq(moved),
                        register.i[0].eq(out.i.payload ^ register.q),
                    ]
            with m.Case(last):  # what is left of it
                m.d.comb += [
                    register.en.eq(meta.valid),
                    register.i[1].eq(meta.payload[-32:] ^ register.q),
                ]
                with m.If(meta.valid):
                    m.d.sync += word.eq(word + 1)
            with m.Case(last + 1):
                m.d.comb += [
                    out.i.valid.eq(1),
                    out.i.payload.eq(
                        Cat(meta.payload[-32:], Mux(self.spoil, register.q, ~register.q))
                    ),
                    meta.ready.eq(out.i.ready),
                    register.en.eq(moved),
                    register.base.eq(ALL),
                ]
            with m.Default():
                m.d.comb += [
                    out.i.valid.eq(self.i.valid),
                    out.i.payload.eq(self.i.payload),
                    self.i.ready.eq(out.i.ready),
                    register.en.eq(moved),
                    register.i[0].eq(self.i.payload ^ register.q),
                ]
        with m.If(moved):
            m.d.sync += word.eq(word + 1)
            with m.If(word == last + 1):
                m.d.sync += word.eq(0)
        return m


class CrcCheck(wiring.Component):
    """Takes the check words off and looks at them. Latency 1, a word a clock.

    Parameters
    ----------
    words : int
        Data words of a codeword.
    check_words : int

    Members
    -------
    i : In(stream), 64 bits
        ``words + check_words`` of each codeword.
    o : Out(stream), 64 bits
        The data words, from registers.
    o_checks : Out(stream), ``check_layout(64 * check_words - 32)``
        One of each codeword, from registers, the second clock after its last check word; if it is
        not taken, the next codeword waits.
    """

    def __init__(self, words, check_words=1):
        _check_sizes(words, check_words)
        self._words, self._check_words = words, check_words
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "o": Out(stream.Signature(WORD)),
                "o_checks": Out(stream.Signature(check_layout(WORD * check_words - 32))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.out = out = SkidBuffer(WORD)
        m.submodules.register = register = _register()
        connect(m, out.o, flipped(self.o))
        words, check_words = self._words, self._check_words
        word = Signal(range(words + check_words))
        complete = Signal()  # the register has the whole codeword
        waits = Signal()
        first = Signal()
        meta = Signal(WORD * check_words - 32)
        moved = self.i.valid & self.i.ready
        checks = self.o_checks
        m.d.comb += [
            first.eq(word == 0),
            waits.eq(first & complete & checks.valid & ~checks.ready),
            register.en.eq(moved),
            register.i[0].eq(self.i.payload ^ Mux(first, ALL, register.q)),
            out.i.payload.eq(self.i.payload),
        ]
        with m.If(word < words):
            m.d.comb += [
                out.i.valid.eq(self.i.valid & ~waits),
                self.i.ready.eq(out.i.ready & ~waits),
            ]
        with m.Else():
            m.d.comb += self.i.ready.eq(1)
        with m.If(checks.ready):
            m.d.sync += checks.valid.eq(0)
        with m.If(complete & (~checks.valid | checks.ready)):
            m.d.sync += [
                complete.eq(0),
                checks.valid.eq(1),
                checks.payload.ok.eq(register.q == RESIDUE),
                checks.payload.meta.eq(meta),
            ]
        with m.If(moved):
            m.d.sync += word.eq(word + 1)
            for number in range(check_words):
                part = meta[WORD * number : WORD * number + WORD]
                with m.If(word == words + number):
                    m.d.sync += part.eq(self.i.payload)
            with m.If(word == words + check_words - 1):
                m.d.sync += [word.eq(0), complete.eq(1)]
        return m
