"""Where codewords differ from the code: their parity against that of their message, a word a clock.

::

    message words --> remainder (as the encoder's) --.
    parity words -----------------------------------+--> rows --> o         of wrong codewords alone
                                                     '----------> o_wrong   of each

The difference has the same syndromes as the codeword (`rtl.ecc.syndromes`), and it is all zeros if
the codeword is without errors. So this half of the syndromes is all that a channel needs of its own
before the units that work on wrong codewords.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hls_attention.streams import Queue, moves

from .code import WORD
from .encoder import remainder_register

__all__ = ["Differences", "difference_layout"]


def difference_layout():
    """A word of a difference; the last of a codeword."""
    return data.StructLayout({"word": WORD, "last": 1})


class Differences(wiring.Component):
    """Compares codewords with the code. Latency 2 from the last word, a word a clock.

    Parameters
    ----------
    code : BchCode
    codewords : int
        Differences, and verdicts, that wait, 2 or more.

    Members
    -------
    i : In(stream), 64 bits
        ``code.words`` words of each codeword; pad bits are not looked at. ``i.ready`` comes from
        registers.
    o : Out(stream), ``difference_layout()``
        ``code.parity_words`` of each codeword that is wrong.
    o_wrong : Out(stream), 1 bit
        Whether it is, of each codeword, before its difference.
    """

    def __init__(self, code, *, codewords):
        self._code = code
        self._codewords = codewords
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "o": Out(stream.Signature(difference_layout())),
                "o_wrong": Out(stream.Signature(1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        code = self._code
        m.submodules.remainder = remainder = remainder_register(code)
        m.submodules.verdicts = verdicts = Queue(1, depth=self._codewords)
        connect(m, verdicts.o, flipped(self.o_wrong))
        places, words = ceil_log2(self._codewords), ceil_log2(code.parity_words)
        m.submodules.rows = rows = memory.Memory(shape=WORD, depth=1 << places + words, init=[])
        write, read = rows.write_port(), rows.read_port(domain="comb")
        w_place, r_place = Signal(places), Signal(places)
        held = Signal(range(self._codewords + 1))

        word = Signal(range(code.words))
        w_word = Signal(words)
        in_parity, last = Signal(), Signal()
        difference = Signal(WORD)
        wrong, wrong_now = Signal(), Signal()  # so far
        ends, given = Signal(), Signal()
        moved = moves(self.i)
        padded = (1 << WORD - code.pad_bits) - 1
        m.d.comb += [
            in_parity.eq(word >= code.message_words),
            last.eq(word == code.words - 1),
            self.i.ready.eq(verdicts.i.ready & (held != self._codewords)),
            remainder.en.eq(moved),
            remainder.base.eq(remainder.q[WORD:]),
            wrong_now.eq(wrong | difference.any()),
            ends.eq(moved & last),
            verdicts.i.valid.eq(ends),
            verdicts.i.payload.eq(wrong_now),
            write.addr.eq(Cat(w_word, w_place)),
            write.data.eq(difference),
            write.en.eq(moved & in_parity),
        ]
        with m.If(in_parity):
            m.d.comb += difference.eq(
                (self.i.payload ^ remainder.q[:WORD]) & Mux(last, padded, (1 << WORD) - 1)
            )
        with m.Else():
            m.d.comb += remainder.i[0].eq(self.i.payload ^ remainder.q[:WORD])
        with m.If(moved):
            m.d.sync += [
                word.eq(Mux(last, 0, word + 1)),
                w_word.eq(Mux(in_parity & ~last, w_word + 1, 0)),
                wrong.eq(wrong_now & ~last),
            ]
        with m.If(ends & wrong_now):
            m.d.sync += w_place.eq(w_place + 1)

        r_word = Signal(words)
        m.d.comb += [
            read.addr.eq(Cat(r_word, r_place)),
            self.o.valid.eq(held != 0),
            self.o.payload.word.eq(read.data),
            self.o.payload.last.eq(r_word == code.parity_words - 1),
            given.eq(moves(self.o) & self.o.payload.last),
        ]
        with m.If(moves(self.o)):
            m.d.sync += r_word.eq(Mux(given, 0, r_word + 1))
        with m.If(given):
            m.d.sync += r_place.eq(r_place + 1)
        m.d.sync += held.eq(held + (ends & wrong_now) - given)
        return m
