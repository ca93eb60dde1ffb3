"""The page source of a channel: page requests in, tagged beats out.

::

    requests --+--> operations --> PageReader ---------> words --+
               +--> units (in order) ---------------------------+--> beats --> engine
                                          tail words ------------+

Of a sparse request, words of tokens that are not wanted are taken at one a clock and go no further.
Such a request ends no pass: the token that would say so may be one of them. If one of these words
bears the error of its codeword, the next beat of a pass does: there is one, that ends it.

Of a request whose place is not known nothing is read. Its beats are there all the same, for those
who count them: zeros that bear errors.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from hls_attention.beats import BEATS_BITS, LANES_FP16, Kind, beat_layout
from hls_attention.streams import Queue, SkidBuffer, moves

from ..config import MASK_TOKENS
from ..nand.operations import NandOp, operation_layout
from .requests import Source, page_request_layout, page_word_layout

__all__ = ["PageSource"]


class PageSource(wiring.Component):
    """Serves page requests in order.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    depth : int
        Requests queued ahead of use.

    Members
    -------
    i : In(stream), ``page_request_layout()``
    o_ops : Out(stream), ``operation_layout()``
        Page reads, in user words.
    i_words : In(stream), ``page_word_layout()``
        Their data, in order.
    i_tail : In(stream), ``page_word_layout()``
    o : Out(stream), ``beat_layout()``
    o_readback : Out(stream), ``page_word_layout()``
    quiet : Out(1)
    """

    def __init__(self, geometry, *, depth):
        self._geometry = geometry
        self._depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(page_request_layout(geometry.dies))),
                "o_ops": Out(stream.Signature(operation_layout(geometry.dies))),
                "i_words": In(stream.Signature(page_word_layout())),
                "i_tail": In(stream.Signature(page_word_layout())),
                "o": Out(stream.Signature(beat_layout())),
                "o_readback": Out(stream.Signature(page_word_layout())),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        dies = self._geometry.dies
        m.submodules.units = units = Queue(page_request_layout(dies), depth=self._depth)
        m.submodules.ops = ops = Queue(operation_layout(dies), depth=self._depth)
        m.submodules.beats = beats = SkidBuffer(beat_layout())
        connect(m, ops.o, flipped(self.o_ops))
        connect(m, beats.o, flipped(self.o))

        wanted = self.i.payload
        from_flash = Signal()
        m.d.comb += [
            from_flash.eq(
                ((wanted.source == Source.FLASH) | (wanted.source == Source.READBACK))
                & ~wanted.error
            ),
            units.i.payload.eq(wanted),
            ops.i.payload.op.eq(NandOp.READ),
            ops.i.payload.die.eq(wanted.die),
            ops.i.payload.row.eq(wanted.row),
            ops.i.payload.column.eq(wanted.skip * wanted.beats),
            ops.i.payload.words.eq(wanted.tokens * wanted.beats),
            self.i.ready.eq(units.i.ready & ops.i.ready),
            units.i.valid.eq(self.i.valid & ops.i.ready),
            ops.i.valid.eq(self.i.valid & units.i.ready & from_flash),
        ]

        unit = units.o.payload
        beat = Signal(BEATS_BITS)  # a codeword's 128 words are the most
        token = Signal(12)
        last_beat = Signal()
        last_token = Signal()
        moved = Signal()
        passed_over = Signal()
        error, missed = Signal(), Signal()  # of this word; of one that was passed over
        of_pass = (unit.kind == Kind.K) | (unit.kind == Kind.V)
        word = stream.Signature(page_word_layout()).create(path=("word",))
        m.d.comb += [
            word.valid.eq(self.i_words.valid | unit.error),
            word.payload.data.eq(Mux(unit.error, 0, self.i_words.payload.data)),
            word.payload.error.eq(self.i_words.payload.error | unit.error),
            self.i_words.ready.eq(word.ready & ~unit.error),
            passed_over.eq(
                unit.sparse & ~unit.mask.bit_select(token[: exact_log2(MASK_TOKENS)], 1)
            ),
            last_beat.eq(beat == unit.beats - 1),
            last_token.eq(token == unit.tokens - 1),
            beats.i.payload.lanes.eq((1 << LANES_FP16) - 1),
            beats.i.payload.kind.eq(unit.kind),
            beats.i.payload.format.eq(unit.format),
            beats.i.payload.job.eq(unit.job),
            beats.i.payload.token.eq(unit.token + token),
            beats.i.payload.first_of_unit.eq(beat == 0),
            beats.i.payload.last_of_unit.eq(last_beat),
            beats.i.payload.last_of_page.eq(last_beat & last_token),
            beats.i.payload.last_of_pass.eq(last_beat & last_token & unit.last),
            beats.i.payload.error.eq(error | (missed & of_pass)),
            self.o_readback.payload.eq(word.payload),
        ]
        with m.If(units.o.valid):
            with m.Switch(unit.source):
                with m.Case(Source.FLASH):
                    m.d.comb += [
                        beats.i.valid.eq(word.valid & ~passed_over),
                        beats.i.payload.data.eq(word.payload.data),
                        error.eq(word.payload.error),
                        word.ready.eq(beats.i.ready | passed_over),
                        moved.eq(moves(word)),
                    ]
                with m.Case(Source.TAIL):
                    m.d.comb += [
                        beats.i.valid.eq(self.i_tail.valid & ~passed_over),
                        beats.i.payload.data.eq(self.i_tail.payload.data),
                        error.eq(self.i_tail.payload.error),
                        self.i_tail.ready.eq(beats.i.ready | passed_over),
                        moved.eq(moves(self.i_tail)),
                    ]
                with m.Case(Source.NULL):
                    m.d.comb += [
                        beats.i.valid.eq(1),
                        beats.i.payload.lanes.eq(0),
                        error.eq(unit.error),
                        beats.i.payload.first_of_unit.eq(1),
                        beats.i.payload.last_of_unit.eq(1),
                        beats.i.payload.last_of_page.eq(1),
                        beats.i.payload.last_of_pass.eq(unit.last),
                        units.o.ready.eq(beats.i.ready),
                    ]
                with m.Case(Source.READBACK):
                    m.d.comb += [
                        self.o_readback.valid.eq(word.valid),
                        word.ready.eq(self.o_readback.ready),
                        moved.eq(moves(word)),
                    ]
        with m.If(moves(beats.i) & of_pass):
            m.d.sync += missed.eq(0)
        with m.If(moved & passed_over & error):
            m.d.sync += missed.eq(1)
        with m.If(moved):
            m.d.sync += beat.eq(beat + 1)
            with m.If(last_beat):
                m.d.sync += [beat.eq(0), token.eq(token + 1)]
                with m.If(last_token):
                    m.d.sync += token.eq(0)
                    m.d.comb += units.o.ready.eq(1)
        m.d.comb += self.quiet.eq(
            ~moved
            & ~(beats.o.valid & beats.o.ready)
            & ~(self.i.valid & self.i.ready)
            & ~(ops.o.valid & ops.o.ready)
            & ~(units.o.valid & units.o.ready)
        )
        return m
