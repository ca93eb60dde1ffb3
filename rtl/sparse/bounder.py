"""The bounder: K in, `hls_attention.bounds_code.encode` of it into a buffer in device DRAM.

::

    words --> present unit --> units of a block --> half steps --> do they fit? --> scales
              (a row a word)   (two blocks)    '--> half steps --> bytes <--------------'
                                                                     '--> queue --> device DRAM

A block is 8 units of 4 tokens. While one is filled the one before is gone over twice: channel by
channel for the scale of each, unit by unit for the bytes. That takes half of the time that it is
filled in, so that words never wait for it; and the queue has room for the bytes of a request more
than is in it. An address goes to the writer after the block's last byte has come to the queue, so
that a burst does not hold the memory port for long.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hls_attention.beats import BEATS_BITS
from hls_attention.bounds_code import BLOCK_TOKENS, BLOCK_UNITS, UNIT_TOKENS
from hls_attention.streams import Queue, moves
from hls_attention.verilog import Ram
from hls_attention.words import exponent_field, key_of

from ..memory import BurstWriter
from ..memory_port import ADDRESS_BITS, MemoryPortSignature
from .bounds_coder import LANES, BoundsCoder, row_layout
from .transposer import transpose_layout

__all__ = ["Bounder", "bound_layout"]

BLOCKS_OUT = 32
"""Blocks whose bytes wait for device DRAM, at most."""


def bound_layout():
    """Some tokens, a part of a block or several blocks: where the first block goes that begins with
    them, and what they are."""
    return data.StructLayout({**transpose_layout().members, "bf16": 1})


class Bounder(wiring.Component):
    """Makes bounds of the K of some tokens after others.

    Parameters
    ----------
    words : int
        Words of a request, at most.
    channels : int
        Of a head, at most.

    Members
    -------
    i : In(stream), ``bound_layout()``
        4 beats or more, an even number.
    i_words : In(stream), 64 bits
        ``4 * quads * beats`` words.
    write : Out(MemoryPortSignature)
        Device DRAM.
    room : Out(1)
        The words of the next request are taken without waiting for device DRAM, or the rest of
        them if some were.
    settled : Out(1)
        All that came in is in device DRAM.
    failed : Out(1)
        The answer of this clock says that a write failed.
    quiet : Out(1)
    """

    def __init__(self, words, channels):
        self._most_beats = channels // LANES
        # Words of a request, or of two blocks: of one the bytes are made while the next one comes.
        self._most = 1 << ceil_log2(max(words, 2 * BLOCK_TOKENS * self._most_beats))
        super().__init__(
            {
                "i": In(stream.Signature(bound_layout())),
                "i_words": In(stream.Signature(64)),
                "write": Out(MemoryPortSignature()),
                "room": Out(1),
                "settled": Out(1),
                "failed": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beats = self._most_beats
        m.submodules.coder = coder = BoundsCoder(beats)
        m.submodules.blocks = blocks = Queue(
            data.StructLayout({"address": ADDRESS_BITS, "beats": BEATS_BITS, "bf16": 1}), depth=2
        )
        m.submodules.units = units = Ram(
            width=2 * 16 * LANES, depth=1 << ceil_log2(2 * BLOCK_UNITS * beats)
        )
        m.submodules.fields = fields = memory.Memory(
            shape=8 * LANES, depth=1 << ceil_log2(2 * beats), init=[]
        )
        held = Signal(range(3))  # blocks that are filled, and have not been read
        filled = Signal()
        m.d.sync += held.eq(held + filled - moves(coder.i))
        # A word in is a byte out, a word of the queue eight.
        owed = Signal(range(2 * self._most))
        filling = self._fill(m, blocks.i, units, fields, owed, held, filled)
        out, writer = self._write(m, blocks.o, coder, units, fields)
        m.d.sync += owed.eq(owed + moves(self.i_words) - Mux(moves(out.o), 8, 0))
        m.d.comb += [
            self.settled.eq((owed == 0) & writer.settled),
            self.failed.eq(writer.failed),
            self.quiet.eq(
                ~moves(self.i_words)
                & ~filling
                & (held == 0)
                & ~coder.busy
                & (out.level == 0)
                & writer.quiet
            ),
        ]
        return m

    def _fill(self, m, blocks, units, fields, owed, held, filled):
        """Words of requests into rows; tells while some are on their way."""
        request = self.i.payload
        beat, token, quad = Signal(range(self._most_beats)), Signal(range(BLOCK_TOKENS)), Signal(12)
        half = Signal()
        begun = Signal()  # words of the request have come
        ahead = Signal(ADDRESS_BITS)  # bytes of the request's blocks before this one
        address = Signal(ADDRESS_BITS)  # of the block
        last_beat, last_of_quad, last = Signal(), Signal(), Signal()
        m.d.comb += [
            last_beat.eq(beat == request.beats - 1),
            last_of_quad.eq(last_beat & (token[:2] == UNIT_TOKENS - 1)),
            last.eq(last_of_quad & (quad == request.quads - 1)),
            filled.eq(moves(self.i_words) & last_of_quad & token[2:].all()),
            self.room.eq(begun | (owed < self._most)),
            self.i_words.ready.eq(self.room & self.i.valid & (held != 2) & blocks.ready),
            self.i.ready.eq(moves(self.i_words) & last),
            blocks.valid.eq(filled),
            blocks.payload.address.eq(address),
            blocks.payload.beats.eq(request.beats),
            blocks.payload.bf16.eq(request.bf16),
        ]
        with m.If(moves(self.i_words)):
            m.d.sync += [begun.eq(1), beat.eq(beat + 1)]
            with m.If((token == 0) & (beat == 0)):
                m.d.sync += [
                    address.eq(request.address + ahead),
                    ahead.eq(ahead + request.beats * BLOCK_TOKENS),
                ]
            with m.If(last_beat):
                m.d.sync += [beat.eq(0), token.eq(token + 1), quad.eq(quad + last_of_quad)]
            with m.If(filled):
                m.d.sync += half.eq(~half)
            with m.If(last):
                m.d.sync += [begun.eq(0), ahead.eq(0), quad.eq(0)]
        tag = data.StructLayout({"valid": 1, "beat": len(beat), "token": len(token), "half": 1})
        ranks = [Signal(tag, name=f"rank_{clocks}") for clocks in range(4)]
        m.d.sync += [rank.eq(before) for rank, before in zip(ranks[1:], ranks)]
        m.d.comb += [
            ranks[0].valid.eq(moves(self.i_words)),
            ranks[0].beat.eq(beat),
            ranks[0].token.eq(token),
            ranks[0].half.eq(half),
        ]
        row = self._follow(m, ranks)
        stored, field = ranks[-1], fields.write_port()
        m.d.comb += [
            units.w_en.eq(stored.valid & (stored.token[:2] == UNIT_TOKENS - 1)),
            units.w_addr.eq(Cat(stored.beat, stored.token[2:], stored.half)),
            units.w_data.eq(Cat(row.low.as_value(), row.high.as_value())),
            field.en.eq(stored.valid & stored.token.all()),
            field.addr.eq(Cat(stored.beat, stored.half)),
            field.data.eq(row.field.as_value()),
        ]
        return Cat(rank.valid for rank in ranks).any()

    def _follow(self, m, ranks):
        """The row of the present unit with each word in it, in the last rank: the row as it was is
        there in the second, and it is written in the last, 4 beats at least before the next one."""
        m.submodules.present = present = memory.Memory(
            shape=row_layout(), depth=1 << ceil_log2(self._most_beats), init=[]
        )
        before, after = present.read_port(), present.write_port()
        new = [Signal(row_layout(), name=f"new_{clocks}") for clocks in range(2)]
        old, row = Signal(row_layout()), Signal(row_layout())
        m.d.comb += [
            before.en.eq(ranks[0].valid),
            before.addr.eq(ranks[0].beat),
            after.en.eq(ranks[3].valid),
            after.addr.eq(ranks[3].beat),
            after.data.eq(row),
        ]
        m.d.sync += [old.eq(before.data), new[1].eq(new[0])]
        first_of_unit, first_of_block = ranks[2].token[:2] == 0, ranks[2].token == 0
        for lane in range(LANES):
            word = self.i_words.payload.word_select(lane, 16)
            m.d.sync += [
                new[0].low[lane].eq(key_of(word)),
                new[0].high[lane].eq(key_of(word)),
                new[0].field[lane].eq(exponent_field(word, self.i.payload.bf16)),
            ]
            for name, further in (
                ("low", first_of_unit | (new[1].low[lane] < old.low[lane])),
                ("high", first_of_unit | (new[1].high[lane] > old.high[lane])),
                ("field", first_of_block | (new[1].field[lane] > old.field[lane])),
            ):
                m.d.sync += row[name][lane].eq(Mux(further, new[1][name][lane], old[name][lane]))
        return row

    def _write(self, m, blocks, coder, units, fields):
        """Rows of blocks through the coder to device DRAM; returns queue and writer.

        What the coder makes always finds room in the queue, since it was there when the words came.
        """
        m.submodules.places = places = Queue(
            data.StructLayout({"address": ADDRESS_BITS, "words": BEATS_BITS + 2}), depth=BLOCKS_OUT
        )
        m.submodules.out = out = Queue(64, depth=2 * self._most // 8)
        m.submodules.writer = writer = BurstWriter(burst=64, posted=True)
        connect(m, writer.port, flipped(self.write))
        connect(m, out.o, writer.i_data)
        half = Signal()
        field = fields.read_port()
        with m.If(moves(coder.i)):
            m.d.sync += [
                half.eq(~half),
                # Its last bytes come before the next block's.
                places.i.payload.address.eq(blocks.payload.address),
                places.i.payload.words.eq(blocks.payload.beats * LANES),
            ]
        m.d.comb += [
            coder.i.valid.eq(blocks.valid),
            coder.i.payload.beats.eq(blocks.payload.beats),
            coder.i.payload.bf16.eq(blocks.payload.bf16),
            blocks.ready.eq(coder.i.ready),
            units.r_en.eq(coder.r_en),
            units.r_addr.eq(Cat(coder.r_beat, coder.r_unit, half)),
            field.en.eq(coder.r_en),
            field.addr.eq(Cat(coder.r_beat, half)),
            coder.row.as_value().eq(Cat(units.r_data, field.data)),
            out.i.valid.eq(coder.o_valid),
            out.i.payload.eq(coder.o),
            places.i.valid.eq(coder.o_valid & coder.o_last),
            writer.i.valid.eq(places.o.valid),
            writer.i.payload.address.eq(places.o.payload.address),
            writer.i.payload.words.eq(places.o.payload.words),
            writer.i.payload.strobe.eq(0xFF),
            places.o.ready.eq(writer.i.ready),
        ]
        return out, writer
