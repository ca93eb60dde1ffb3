"""The correction buffer: messages wait here for their verdict and leave with their bits inverted.

::

    words --> RAM, several messages ------------------+--> ^ --> o       a word a clock
    fixes --> two lists of {word, mask}, verdicts ----+      --> o_reports

One list is filled by the search while the other is used. A verdict that a codeword is uncorrectable
empties its list, so that its message leaves as it came.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hls_attention.verilog import Ram

from .chien import fix_layout
from .code import WORD

__all__ = ["Corrector", "report_layout"]


def report_layout(code):
    """Verdict on a codeword: bits corrected, or (more than t errors) that it is uncorrectable."""
    return data.StructLayout({"corrected": range(code.t + 1), "uncorrectable": 1})


class Corrector(wiring.Component):
    """Keeps messages until they can be corrected. Latency 2 from the verdict, a word a clock.

    Parameters
    ----------
    code : BchCode
    codewords : int
        Messages that fit, 2..15.

    Members
    -------
    i : In(stream), 64 bits
        ``code.words`` words of each codeword; the parity is dropped. ``i.ready`` comes from
        registers.
    i_fixes : In(stream), ``fix_layout(code)``
    o : Out(stream), 64 bits
        ``code.message_words`` words of each codeword.
    o_reports : Out(stream), ``report_layout(code)``
        One of each codeword, with its first word; if it is not taken, the next codeword waits.
    active : Out(1)
        A word is read.
    """

    def __init__(self, code, *, codewords):
        if not 2 <= codewords <= 15:
            raise ValueError(f"codewords = {codewords!r} is not possible: choose 2..15")
        self._code = code
        self._codewords = codewords
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "i_fixes": In(stream.Signature(fix_layout(code))),
                "o": Out(stream.Signature(WORD)),
                "o_reports": Out(stream.Signature(report_layout(code))),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        code = self._code
        depth = self._codewords * code.message_words
        m.submodules.rows = rows = Ram(width=WORD, depth=depth)
        ended = Signal()  # a message has been read

        def following(row):
            return Mux(row == depth - 1, 0, row + 1)

        # words in
        w_word = Signal(range(code.words))
        held = Signal(range(self._codewords + 1))
        starts = Signal()
        m.d.comb += [
            self.i.ready.eq((w_word != 0) | (held != self._codewords)),
            rows.w_data.eq(self.i.payload),
            rows.w_en.eq(self.i.valid & self.i.ready & (w_word < code.message_words)),
            starts.eq(self.i.valid & self.i.ready & (w_word == 0)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += w_word.eq(Mux(w_word == code.words - 1, 0, w_word + 1))
        with m.If(rows.w_en):
            m.d.sync += rows.w_addr.eq(following(rows.w_addr))
        m.d.sync += held.eq(held + starts - ended)

        # fixes in
        fix = data.StructLayout({"word": range(code.message_words), "mask": WORD})
        index_bits = ceil_log2(code.t)
        m.submodules.fixes = fixes = memory.Memory(shape=fix, depth=2 << index_bits, init=[])
        write, read = fixes.write_port(), fixes.read_port(domain="comb")
        verdict = data.StructLayout({"fixes": range(code.t + 1), "report": report_layout(code)})
        verdicts = Signal(data.ArrayLayout(verdict, 2))
        w_list, r_list = Signal(), Signal()
        filled = Signal(range(code.t + 1))
        filled_now = Signal(range(code.t + 2))
        complete = Signal(range(3))  # lists with a verdict
        closes = Signal()
        given = self.i_fixes.payload
        moved = self.i_fixes.valid & self.i_fixes.ready
        m.d.comb += [
            self.i_fixes.ready.eq(complete != 2),
            write.addr.eq(Cat(filled[:index_bits], w_list)),
            write.data.word.eq(given.word),
            write.data.mask.eq(given.mask),
            write.en.eq(moved & given.mask.any()),
            filled_now.eq(filled + write.en),
            closes.eq(moved & given.last),
        ]
        m.d.sync += complete.eq(complete + closes - ended)
        with m.If(moved):
            m.d.sync += filled.eq(Mux(given.last, 0, filled_now))
        with m.If(closes):
            m.d.sync += [
                w_list.eq(~w_list),
                verdicts[w_list].fixes.eq(Mux(given.uncorrectable, 0, filled_now)),
                verdicts[w_list].report.corrected.eq(given.corrected),
                verdicts[w_list].report.uncorrectable.eq(given.uncorrectable),
            ]

        # words out
        r_word = Signal(range(code.message_words))
        used = Signal(range(code.t + 1))
        inverted = Signal(WORD)
        go = Signal()
        hit = Signal()
        reported = ~self.o_reports.valid | self.o_reports.ready
        m.d.comb += [
            go.eq((~self.o.valid | self.o.ready) & (complete != 0) & ((r_word != 0) | reported)),
            read.addr.eq(Cat(used[:index_bits], r_list)),
            hit.eq((used != verdicts[r_list].fixes) & (read.data.word == r_word)),
            rows.r_en.eq(go),
            ended.eq(go & (r_word == code.message_words - 1)),
            self.o.payload.eq(rows.r_data ^ inverted),
            self.active.eq(go),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.o_reports.ready):
            m.d.sync += self.o_reports.valid.eq(0)
        with m.If(go):
            m.d.sync += [
                self.o.valid.eq(1),
                rows.r_addr.eq(following(rows.r_addr)),
                inverted.eq(Mux(hit, read.data.mask, 0)),
                used.eq(used + hit),
                r_word.eq(r_word + 1),
            ]
            with m.If(r_word == 0):
                m.d.sync += [
                    self.o_reports.valid.eq(1),
                    self.o_reports.payload.eq(verdicts[r_list].report),
                ]
            with m.If(ended):
                m.d.sync += [r_word.eq(0), used.eq(0), r_list.eq(~r_list)]
        return m
