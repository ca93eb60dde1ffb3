"""The read path of a channel: reads of user words in, corrected words out, in order.

::

    i --> ring of reads --> o_ops                                 (whole codewords, to the dies)
              |  ^ again, from the codeword that failed
              |  '------------------------------ uncorrectable ----.
              v                                                    |
    i_words --> decoder --> gate --> Scrambler --> CrcCheck --> Trim --> o

A codeword that cannot be corrected is read again at the next read-retry level of its die, up to
the last. For that the gate drops what follows until all that was asked for has come, the die's
level is set, the read goes on from the codeword that failed, and the level is set back; then all
reads behind it are asked for again. It is rare, so simple wins over fast: what comes out stays in
order, and nothing but the ring knows of it.

A word that bears an error is the last wanted of a codeword that was given up: uncorrectable at
every level, of a die that does not answer, or one whose CRC says that it was corrected wrongly.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2, exact_log2

from flash_model.array_port import ROW_BITS
from hls_attention.streams import Queue, moves

from ..ecc.crc import CrcCheck
from ..ecc.decoder_front import DecoderFront, shared_ports
from ..ecc.scrambler import SEED_BITS, Scrambler, place_bits
from ..nand.operations import WORD_BITS, Cause, NandOp, done_layout, operation_layout, read_layout
from .requests import page_word_layout
from .trim import Trim, cut_layout

__all__ = ["PageReader", "RETRY_LEVELS", "RETRY_TAG", "again_layout"]

RETRY_LEVELS = 7
"""Read-retry levels besides that of a first read."""

RETRY_TAG = 3
"""Tag of READ_RETRY."""


def again_layout(dies):
    """A page that had to be read again: at which level last, and whether a codeword was lost."""
    return data.StructLayout(
        {
            "die": max(1, ceil_log2(dies)),
            "row": ROW_BITS,
            "level": range(RETRY_LEVELS + 1),
            "lost": 1,
        }
    )


class PageReader(wiring.Component):
    """Reads words of pages through the code.

    Parameters
    ----------
    dies : int
    code : rtl.ecc.code.BchCode
    decoder : rtl.ecc.decoder.Decoder or rtl.ecc.decoder_front.DecoderFront
        Of the channel alone, or its half of one that channels share.
    codewords : int
        Codewords of a page.
    depth : int
        Reads asked for and not yet delivered.

    Members
    -------
    i : In(stream), ``operation_layout()``
        READs; columns and words count user words.
    o_ops : Out(stream), ``operation_layout()``
        READs of codewords, READ_RETRY.
    i_done : In(stream), ``done_layout()``
        Completions of READ_RETRY.
    i_words : In(stream), ``read_layout()``
    o : Out(stream), ``page_word_layout()``
    o_differences, i_fixes
        As in `rtl.ecc.decoder_front.DecoderFront`, if the decoder is one.
    o_again : Out(stream), ``again_layout()``
        A page that was read again is delivered. While one waits, others are not told of.
    corrected : Out
        Bits corrected in a codeword, in the clock in which its verdict is taken.
    unrecovered, retried : Out(1)
        A codeword is given up; a page is read again.
    quiet : Out(1)
        Nothing in here changes until an input does.
    """

    def __init__(self, dies, code, decoder, *, codewords, depth):
        self._dies, self._code, self._depth = dies, code, depth
        self._codewords = codewords
        self._decoder = decoder
        self._shared = isinstance(decoder, DecoderFront)
        super().__init__(
            {
                **(shared_ports(code) if self._shared else {}),
                "i": In(stream.Signature(operation_layout(dies))),
                "o_ops": Out(stream.Signature(operation_layout(dies))),
                "i_done": In(stream.Signature(done_layout(dies))),
                "i_words": In(stream.Signature(read_layout())),
                "o": Out(stream.Signature(page_word_layout())),
                "o_again": Out(stream.Signature(again_layout(dies))),
                "corrected": Out(range(code.t + 1)),
                "unrecovered": Out(1),
                "retried": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        code = self._code
        m.submodules.decoder = decoder = self._decoder
        # Of the codewords in the decoder.
        m.submodules.lost = lost = Queue(1, depth=decoder.codewords + 3)
        m.submodules.scrambler = scrambler = Scrambler(code.message_words)
        m.submodules.check = check = CrcCheck(code.data_words, code.check_words)
        m.submodules.cuts = cuts = Queue(cut_layout(code), depth=4)
        m.submodules.trim = trim = Trim(code)
        connect(m, scrambler.o, check.i)
        connect(m, check.o, trim.i)
        connect(m, check.o_checks, trim.i_checks)
        connect(m, cuts.o, trim.i_cuts)
        connect(m, trim.o, flipped(self.o))
        self._feed(m, decoder, lost)
        if self._shared:
            connect(m, decoder.o_differences, flipped(self.o_differences))
            connect(m, flipped(self.i_fixes), decoder.i_fixes)

        counter = range(self._codewords + 1)
        read = data.StructLayout(
            {
                "die": len(self.i.payload.die),
                "row": ROW_BITS,
                "first": counter,  # codeword of the page
                "codewords": counter,
                "skip": range(code.data_words),  # words of the first before those wanted
                "end": range(code.data_words + 1),  # words of the last up to those wanted
            }
        )
        depth = 1 << ceil_log2(self._depth)
        pointer = ceil_log2(depth) + 1
        m.submodules.reads = reads = memory.Memory(shape=read, depth=depth, init=[])
        write = reads.write_port()
        sending_read, leaving_read = (reads.read_port(domain="comb") for _ in range(2))
        tail, send, head = (Signal(pointer, name=name) for name in ("tail", "send", "head"))
        codeword = Signal(counter)  # of the read at the head, which leaves the decoder next
        m.d.comb += [
            self.i.ready.eq((tail - head)[:pointer] != depth),
            write.en.eq(moves(self.i)),
            write.addr.eq(tail),
            sending_read.addr.eq(send),
            leaving_read.addr.eq(head),
        ]
        self._convert(m, write.data)
        with m.If(write.en):
            m.d.sync += tail.eq(tail + 1)

        sending, leaving = sending_read.data, leaving_read.data
        outstanding = Signal(range(depth * self._codewords + 1))  # codewords sent and not left
        sent = Signal(counter)
        left = Signal()
        m.d.sync += outstanding.eq(outstanding + sent - left)

        level = Signal(range(RETRY_LEVELS + 1))
        again = Signal()  # a codeword has failed: drop what comes
        delivered = Signal()  # the read at the head
        op = self.o_ops.payload
        from_codeword = Mux(level == 0, 0, codeword)
        rest = Signal(counter)
        retried_die = Signal.like(leaving.die)
        told = self.o_again.payload
        lost_one = Signal()  # a codeword of the read at the head was given up
        offered = Signal()  # a read that was not taken yet
        m.d.sync += offered.eq(self.o_ops.valid & ~self.o_ops.ready)
        m.d.comb += [
            op.op.eq(NandOp.READ),
            op.die.eq(sending.die),
            op.row.eq(sending.row),
            op.column.eq((sending.first + from_codeword) * code.words),
            rest.eq(sending.codewords - from_codeword),
            op.words.eq(rest * code.words),
            op.tag.eq(RETRY_TAG),
        ]
        with m.FSM(name="asking"):
            with m.State("RUN"):
                m.d.comb += self.o_ops.valid.eq((send != tail) & (~again | offered))
                with m.If(moves(self.o_ops)):
                    m.d.comb += sent.eq(rest)
                    m.d.sync += send.eq(send + 1)
                with m.If(again & ~offered):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                with m.If(outstanding == 0):
                    m.d.comb += self.retried.eq(1)
                    m.d.sync += [send.eq(head), level.eq(level + 1), again.eq(0)]
                    m.d.sync += retried_die.eq(leaving.die)
                    m.next = "LEVEL"
            with m.State("LEVEL"):
                m.d.comb += [
                    self.o_ops.valid.eq(1),
                    op.op.eq(NandOp.READ_RETRY),
                    op.die.eq(retried_die),
                    op.row.eq(level),
                ]
                with m.If(self.o_ops.ready):
                    m.next = "SET"
            with m.State("SET"):
                m.d.comb += self.i_done.ready.eq(1)
                with m.If(self.i_done.valid):
                    m.next = "AGAIN"
                    with m.If(level == 0):
                        m.d.sync += send.eq(head)
                        m.next = "RUN"
            with m.State("AGAIN"):
                m.d.comb += self.o_ops.valid.eq(1)
                with m.If(self.o_ops.ready):
                    m.d.comb += sent.eq(rest)
                    m.next = "WATCH"
            with m.State("WATCH"):
                with m.If(again):
                    m.next = "DRAIN"
                with m.Elif(delivered):
                    m.d.sync += level.eq(0)
                    with m.If(~self.o_again.valid):
                        m.d.sync += [
                            self.o_again.valid.eq(1),
                            told.die.eq(leaving.die),
                            told.row.eq(leaving.row),
                            told.level.eq(level),
                            told.lost.eq(lost_one),
                        ]
                    m.next = "LEVEL"
        with m.If(moves(self.o_again)):
            m.d.sync += self.o_again.valid.eq(0)

        word = Signal(range(code.message_words))
        report = decoder.o_reports
        passes = Signal()
        fails = Signal()
        ends = Signal()
        cut = cuts.i.payload
        last = Signal()
        m.d.comb += [
            fails.eq(report.payload.uncorrectable & ~lost.o.payload & (level != RETRY_LEVELS)),
            last.eq(codeword + 1 == leaving.codewords),
            scrambler.i_seeds.payload.eq(
                place_bits(leaving.row, (leaving.first + codeword)[: SEED_BITS - ROW_BITS])
            ),
            scrambler.i.payload.eq(decoder.o.payload),
            cut.begin.eq(Mux(codeword == 0, leaving.skip, 0)),
            cut.end.eq(Mux(last, leaving.end, code.data_words)),
            cut.error.eq(report.payload.uncorrectable | lost.o.payload),
        ]
        moved = moves(decoder.o)
        m.d.comb += ends.eq(moved & (word == code.message_words - 1))
        with m.If(moved):
            m.d.sync += word.eq(Mux(ends, 0, word + 1))
        with m.FSM(name="gate"):
            with m.State("LOOK"):
                with m.If(report.valid & lost.o.valid):
                    with m.If(again | fails):
                        m.d.comb += [report.ready.eq(1), lost.o.ready.eq(1)]
                        m.d.sync += again.eq(1)
                        m.next = "DROP"
                    with m.Elif(cuts.i.ready & scrambler.i_seeds.ready):
                        m.d.comb += [
                            passes.eq(1),
                            report.ready.eq(1),
                            lost.o.ready.eq(1),
                            cuts.i.valid.eq(1),
                            scrambler.i_seeds.valid.eq(1),
                            self.corrected.eq(report.payload.corrected),
                        ]
                        m.d.sync += lost_one.eq(cut.error | (lost_one & (codeword != 0)))
                        m.next = "PASS"
            with m.State("PASS"):
                m.d.comb += [
                    scrambler.i.valid.eq(decoder.o.valid),
                    decoder.o.ready.eq(scrambler.i.ready),
                    left.eq(ends),
                    delivered.eq(ends & last),
                ]
                with m.If(ends):
                    m.d.sync += [codeword.eq(codeword + 1)]
                    with m.If(last):
                        m.d.sync += [codeword.eq(0), head.eq(head + 1)]
                    m.next = "LOOK"
            with m.State("DROP"):
                m.d.comb += [decoder.o.ready.eq(1), left.eq(ends)]
                with m.If(ends):
                    m.next = "LOOK"

        m.d.comb += [
            self.unrecovered.eq(moves(self.o) & self.o.payload.error),
            self.quiet.eq(
                ~moves(self.i)
                & ~moves(self.o_ops)
                & ~moves(self.i_done)
                & ~moves(self.i_words)
                & ~moves(self.o)
                & ~moves(scrambler.i)
                & ~moves(scrambler.o)
                & ~moves(check.o)
                & ~passes
                & ~moved
                & ~decoder.active
            ),
        ]
        return m

    def _feed(self, m, decoder, lost):
        """Words to the decoder, and for each codeword whether the die has not given it."""
        code, words = self._code, self.i_words
        word = Signal(range(code.words))
        missing = Signal()
        last = Signal()
        moved = moves(words)
        m.d.comb += [
            last.eq(word == code.words - 1),
            decoder.i.payload.eq(words.payload.data),
            decoder.i.valid.eq(words.valid & lost.i.ready),
            words.ready.eq(decoder.i.ready & lost.i.ready),
            lost.i.valid.eq(moved & last),
            lost.i.payload.eq(missing | (words.payload.cause != Cause.NONE)),
        ]
        with m.If(moved):
            m.d.sync += [
                word.eq(Mux(last, 0, word + 1)),
                missing.eq(~last & lost.i.payload),
            ]

    def _convert(self, m, read):
        """From user words to codewords."""
        wanted, shift = self.i.payload, exact_log2(self._code.data_words)
        last_word = Signal(WORD_BITS)
        first = wanted.column[shift:]
        m.d.comb += [
            last_word.eq(wanted.column + wanted.words - 1),
            read.die.eq(wanted.die),
            read.row.eq(wanted.row),
            read.first.eq(first),
            read.codewords.eq(last_word[shift:] - first + 1),
            read.skip.eq(wanted.column[:shift]),
            read.end.eq(last_word[:shift] + 1),
        ]
