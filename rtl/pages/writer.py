"""The write path of a channel: pages of user words in, programs of codewords out.

::

    i_data --> filled up --> CrcAppend --> Scrambler --> Encoder --> o_data
                                ^              ^
    i --> page ------------- metadata ------ seed

A page's last codeword is filled up with zeros; codewords behind it stay erased. The page's metadata
are dealt to its codewords, each having `rtl.ecc.code.BchCode.meta_bits` of them, again and again.
A codeword with a word in error is written so that it cannot be read: with a wrong CRC.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2, exact_log2

from flash_model.array_port import ROW_BITS
from hls_attention.streams import moves

from ..ecc.code import WORD
from ..ecc.crc import CrcAppend
from ..ecc.encoder import Encoder
from ..ecc.placement import PAGE_META_BITS, meta_parts
from ..ecc.scrambler import SEED_BITS, Scrambler, place_bits
from ..nand.operations import TAG_BITS, WORD_BITS
from .requests import page_word_layout

__all__ = ["PageWriter", "page_layout", "program_address_layout"]


def program_address_layout(dies):
    """Where a page program goes within its channel, how many words it has, and its tag."""
    return data.StructLayout(
        {
            "die": max(1, ceil_log2(dies)),
            "row": ROW_BITS,
            "words": WORD_BITS,
            "tag": TAG_BITS,
        }
    )


def page_layout(dies):
    """The same with the page's metadata (`rtl.tables.PAGE_META`)."""
    return data.StructLayout({**program_address_layout(dies).members, "meta": PAGE_META_BITS})


class PageWriter(wiring.Component):
    """Encodes pages, one after the other.

    Parameters
    ----------
    dies : int
    code : rtl.ecc.code.BchCode

    Members
    -------
    i : In(stream), ``page_layout()``
        ``words`` counts user words, 1 or more.
    i_data : In(stream), `rtl.pages.requests.page_word_layout`
    o : Out(stream), ``program_address_layout()``
        ``words`` counts words of codewords.
    o_data : Out(stream), 64 bits
    quiet : Out(1)
        Nothing in here changes until an input does.
    """

    def __init__(self, dies, code):
        self._dies, self._code = dies, code
        super().__init__(
            {
                "i": In(stream.Signature(page_layout(dies))),
                "i_data": In(stream.Signature(page_word_layout())),
                "o": Out(stream.Signature(program_address_layout(dies))),
                "o_data": Out(stream.Signature(WORD)),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        code = self._code
        m.submodules.crc = crc = CrcAppend(code.data_words, code.check_words)
        m.submodules.scrambler = scrambler = Scrambler(code.message_words)
        m.submodules.encoder = encoder = Encoder(code)
        connect(m, crc.o, scrambler.i)
        connect(m, scrambler.o, encoder.i)
        connect(m, encoder.o, flipped(self.o_data))

        page = Signal(page_layout(self._dies))
        left = Signal(WORD_BITS)  # user words
        word = Signal(range(code.data_words))
        codeword = Signal(SEED_BITS - ROW_BITS)
        spoilt = Signal()  # a word of the codeword is in error
        shift = exact_log2(code.data_words)
        codewords = (page.words + (code.data_words - 1))[shift:]
        parts = meta_parts(code)
        part = codeword[: exact_log2(parts)]
        moved = moves(crc.i)
        m.d.comb += [
            self.o.payload.die.eq(page.die),
            self.o.payload.row.eq(page.row),
            self.o.payload.tag.eq(page.tag),
            self.o.payload.words.eq(codewords * code.words),
            crc.i.payload.eq(Mux(left == 0, 0, self.i_data.payload.data)),
            crc.spoil.eq(spoilt),
            crc.i_meta.payload.eq(
                page.meta.word_select(part, code.meta_bits) if parts > 1 else page.meta
            ),
            scrambler.i_seeds.payload.eq(place_bits(page.row, codeword)),
        ]
        waits = Signal()
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += [self.i.ready.eq(1), waits.eq(~self.i.valid)]
                with m.If(self.i.valid):
                    m.d.sync += [
                        page.eq(self.i.payload),
                        left.eq(self.i.payload.words),
                        codeword.eq(0),
                    ]
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.comb += [self.o.valid.eq(1), waits.eq(~self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "SEED"
            with m.State("SEED"):
                m.d.comb += [
                    scrambler.i_seeds.valid.eq(1),
                    waits.eq(~scrambler.i_seeds.ready),
                ]
                with m.If(scrambler.i_seeds.ready):
                    m.d.sync += spoilt.eq(0)
                    m.next = "WORDS"
            with m.State("WORDS"):
                m.d.comb += [
                    crc.i.valid.eq(self.i_data.valid | (left == 0)),
                    self.i_data.ready.eq(crc.i.ready & (left != 0)),
                    waits.eq(~moved),
                ]
                with m.If(moves(self.i_data) & self.i_data.payload.error):
                    m.d.sync += spoilt.eq(1)
                with m.If(moved):
                    m.d.sync += [word.eq(word + 1), left.eq(left - (left != 0))]
                    with m.If(word == code.data_words - 1):
                        m.d.sync += word.eq(0)
                        m.next = "META"
            with m.State("META"):
                m.d.comb += [crc.i_meta.valid.eq(1), waits.eq(~crc.i_meta.ready)]
                with m.If(crc.i_meta.ready):
                    m.d.sync += codeword.eq(codeword + 1)
                    m.next = "SEED"
                    with m.If(left == 0):
                        m.next = "IDLE"

        m.d.comb += self.quiet.eq(waits & ~moves(crc.o) & ~moves(scrambler.o) & ~moves(self.o_data))
        return m
