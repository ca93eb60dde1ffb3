"""The append path: tokens of one KV head into the tail, full groups onto flash.

::

    words (K [tokens][d], then V) --scan--> tail in device DRAM        (group not full)
                                  --scan--> page program on a channel  (whole group at once)
    tail in device DRAM ------------------> page program on a channel  (group became full)

The head's table entry is read first and written last, so that nothing is visible before it is
complete. A head whose group became full in a STEP is left with ``flush_due`` and flushed by a
request of its own once its attention has been answered.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS

from .allocator import page_layout, wish_layout
from .memory import BurstReader, BurstWriter
from .memory_port import ADDRESS_BITS, MemoryPortSignature
from .tables import HEAD, HEAD_STRIDE, SEQUENCE, die_stride

__all__ = ["AppendPath", "append_layout", "head_info_layout", "program_layout"]

WORD_LANES = 4


def append_layout():
    """A request. ``tokens`` 0 only reads the head's entry; ``flush`` only flushes a full tail."""
    return data.StructLayout(
        {
            "head": 16,
            "tokens": 24,
            "defer": 1,  # a group that its last token fills stays in the tail, unless it came whole
            "flush": 1,
        }
    )


def head_info_layout():
    """The head's table entry after the request, its addresses, and whether a flush is due."""
    return data.StructLayout(
        {
            "head": HEAD.struct,
            "index": 24,  # layer * kv_heads + head
            "map": ADDRESS_BITS,  # DRAM address of the head's map
            "tail": ADDRESS_BITS,  # DRAM address of its tail
            "flush_due": 1,
        }
    )


def program_layout(geometry):
    """A page program: where, then its words follow on the data stream."""
    return data.StructLayout(
        {
            "channel": max(1, ceil_log2(geometry.channels)),
            "die": max(1, ceil_log2(geometry.dies)),
            "row": ROW_BITS,
        }
    )


class AppendPath(wiring.Component):
    """Appends to one head at a time.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    sequence : In(`SEQUENCE` record), layer : In(16)
        Held while a request is served.
    i : In(stream), ``append_layout()``
    i_words : In(stream), 64 bits
        K then V of the request's tokens.
    o : Out(stream), ``head_info_layout()``
    o_wish : Out(stream), ``wish_layout()``; page : In(stream), ``page_layout()``
        The allocator.
    o_program : Out(stream), ``program_layout()``; o_data : Out(stream), 64 bits
        A page program and its words; ``o_program.payload.channel`` is held while they flow.
    quiet : Out(1)
    """

    def __init__(self, geometry):
        self._geometry = geometry
        super().__init__(
            {
                "sequence": In(SEQUENCE.struct),
                "layer": In(16),
                "i": In(stream.Signature(append_layout())),
                "i_words": In(stream.Signature(64)),
                "o": Out(stream.Signature(head_info_layout())),
                "o_wish": Out(stream.Signature(wish_layout(geometry))),
                "page": In(stream.Signature(page_layout(geometry))),
                "o_program": Out(stream.Signature(program_layout(geometry))),
                "o_data": Out(stream.Signature(64)),
                "read": Out(MemoryPortSignature()),
                "write": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = BurstReader(depth=64, burst=32)
        m.submodules.writer = writer = BurstWriter(burst=64)
        connect(m, reader.port, flipped(self.read))
        connect(m, writer.port, flipped(self.write))
        page_bytes = self._geometry.page_bytes
        page_words = page_bytes // 8
        channels = self._geometry.channels
        channel_shift = ceil_log2(channels)
        channel = Signal(max(1, channel_shift))

        sequence = self.sequence
        request = Signal(append_layout())
        head = Signal(HEAD.struct)
        index = Signal(24)
        map_address = Signal(ADDRESS_BITS)
        tail_address = Signal(ADDRESS_BITS)
        kind = Signal()  # 0 K, 1 V
        at = Signal(32)  # token position of the current chunk
        left = Signal(24)
        flushing = Signal()  # the group at hand comes from the tail
        due = Signal()
        page_row = Signal(ROW_BITS)
        page_die = Signal(8)
        words = Signal(range(page_words + 1))

        in_group = Signal(16)
        take = Signal(16)
        whole = Signal()
        fills = Signal()
        group = Signal(32)
        m.d.comb += [
            in_group.eq(at & (sequence.group_tokens - 1)),
            take.eq(
                Mux(left < sequence.group_tokens - in_group, left, sequence.group_tokens - in_group)
            ),
            whole.eq(take == sequence.group_tokens),
            fills.eq(in_group + take == sequence.group_tokens),
            group.eq(Mux(request.flush, head.flash_groups, at >> sequence.group_shift[:5])),
            channel.eq((group + index * HEAD_STRIDE)[:channel_shift] if channels > 1 else 0),
            self.o_wish.payload.channel.eq(channel),
            self.o_program.payload.channel.eq(channel),
            self.o_program.payload.die.eq(page_die),
            self.o_program.payload.row.eq(page_row),
            self.o.payload.head.eq(head),
            self.o.payload.index.eq(index),
            self.o.payload.map.eq(map_address),
            self.o.payload.tail.eq(tail_address),
            self.o.payload.flush_due.eq(due),
        ]
        token_words = sequence.head_dim[2:10]
        tail_page = Signal(ADDRESS_BITS)
        m.d.comb += tail_page.eq(tail_address + Mux(kind, page_bytes, 0))

        scanned = Signal()
        with m.If(scanned):
            self._scan(m, head, kind)
        waits = Signal()
        m.d.comb += self.quiet.eq(waits & reader.quiet)

        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += [self.i.ready.eq(1), waits.eq(~self.i.valid)]
                with m.If(self.i.valid):
                    m.d.sync += [
                        request.eq(self.i.payload),
                        kind.eq(0),
                        due.eq(0),
                        index.eq(self.layer * sequence.kv_heads + self.i.payload.head),
                    ]
                    m.next = "ADDRESSES"
            with m.State("ADDRESSES"):
                m.d.sync += [
                    map_address.eq(sequence.map + index * (sequence.groups << 3)),
                    tail_address.eq(sequence.tail + index * (2 * page_bytes)),
                ]
                m.d.comb += [
                    reader.i.valid.eq(1),
                    reader.i.payload.words.eq(HEAD.words),
                    reader.i.payload.address.eq(sequence.heads + (index << 4)),
                ]
                with m.If(reader.i.ready):
                    m.next = "READ_HEAD"
            with m.State("READ_HEAD"):
                m.d.comb += reader.o.ready.eq(1)
                with m.If(reader.o.valid):
                    m.d.sync += head.eq(Cat(head.as_value()[64:], reader.o.payload.data))
                    with m.If(reader.o.payload.last):
                        with m.If(request.flush):
                            m.next = "ALLOCATE"
                        with m.Elif(request.tokens == 0):
                            m.next = "ANSWER"
                        with m.Else():
                            m.next = "KIND"
            with m.State("KIND"):
                m.d.sync += [at.eq(head.tokens), left.eq(request.tokens), flushing.eq(0)]
                m.next = "CHUNK"
            with m.State("CHUNK"):
                m.d.sync += flushing.eq(0)
                with m.If(whole):
                    m.next = "ALLOCATE"
                with m.Else():
                    m.d.comb += [
                        writer.i.valid.eq(1),
                        writer.i.payload.address.eq(tail_page + ((in_group * token_words) << 3)),
                        writer.i.payload.words.eq(take * token_words),
                        writer.i.payload.strobe.eq(0xFF),
                    ]
                    with m.If(writer.i.ready):
                        m.next = "TO_TAIL"
            with m.State("TO_TAIL"):
                m.d.comb += [
                    writer.i_data.valid.eq(self.i_words.valid),
                    writer.i_data.payload.eq(self.i_words.payload),
                    self.i_words.ready.eq(writer.i_data.ready),
                    scanned.eq(self.i_words.valid & writer.i_data.ready),
                    writer.done.ready.eq(1),
                ]
                with m.If(writer.done.valid):
                    with m.If(fills & request.defer & (left == take)):
                        m.d.sync += due.eq(1)
                        m.next = "CHUNK_DONE"
                    with m.Elif(fills):
                        m.d.sync += flushing.eq(1)
                        m.next = "ALLOCATE"
                    with m.Else():
                        m.next = "CHUNK_DONE"
            with m.State("ALLOCATE"):
                # The layer's pages on this channel, by group, head and kind, lie on dies in turn.
                before = (group * sequence.kv_heads + request.head) >> channel_shift
                number = (before << 1) | kind
                turn = (number + self.layer * die_stride(self._geometry.dies))[:16]
                m.d.sync += self.o_wish.payload.die.eq(turn % self._geometry.dies)
                m.next = "WISH"
            with m.State("WISH"):
                m.d.comb += self.o_wish.valid.eq(1)
                with m.If(self.o_wish.ready):
                    m.next = "PAGE"
            with m.State("PAGE"):
                m.d.comb += [self.page.ready.eq(1), waits.eq(~self.page.valid)]
                with m.If(self.page.valid):
                    m.d.sync += [
                        page_die.eq(self.page.payload.die),
                        page_row.eq(self.page.payload.row),
                    ]
                    m.next = "PROGRAM"
            with m.State("PROGRAM"):
                m.d.comb += [self.o_program.valid.eq(1), waits.eq(~self.o_program.ready)]
                with m.If(self.o_program.ready):
                    m.d.sync += words.eq(page_words)
                    with m.If(flushing | request.flush):
                        m.next = "ASK_TAIL"
                    with m.Else():
                        m.next = "TO_FLASH"
            with m.State("ASK_TAIL"):
                m.d.comb += [
                    reader.i.valid.eq(1),
                    reader.i.payload.address.eq(tail_page),
                    reader.i.payload.words.eq(page_words),
                ]
                with m.If(reader.i.ready):
                    m.next = "TO_FLASH"
            with m.State("TO_FLASH"):
                moved = Signal()
                with m.If(flushing | request.flush):
                    m.d.comb += [
                        self.o_data.valid.eq(reader.o.valid),
                        self.o_data.payload.eq(reader.o.payload.data),
                        reader.o.ready.eq(self.o_data.ready),
                    ]
                with m.Else():
                    m.d.comb += [
                        self.o_data.valid.eq(self.i_words.valid),
                        self.o_data.payload.eq(self.i_words.payload),
                        self.i_words.ready.eq(self.o_data.ready),
                        scanned.eq(moved),
                    ]
                m.d.comb += [
                    moved.eq(self.o_data.valid & self.o_data.ready),
                    waits.eq(self.o_data.valid & ~self.o_data.ready),
                ]
                with m.If(moved):
                    m.d.sync += words.eq(words - 1)
                    with m.If(words == 1):
                        m.next = "MAP"
            with m.State("MAP"):
                m.d.comb += [
                    writer.i.valid.eq(1),
                    writer.i.payload.words.eq(1),
                    writer.i.payload.address.eq(map_address + (group << 3)),
                    writer.i.payload.strobe.eq(Mux(kind, 0xF0, 0x0F)),
                ]
                with m.If(writer.i.ready):
                    m.next = "MAP_WORD"
            with m.State("MAP_WORD"):
                entry = Cat(page_row, page_die)
                m.d.comb += [
                    writer.i_data.valid.eq(1),
                    writer.i_data.payload.eq(Cat(entry, entry)),
                    writer.done.ready.eq(1),
                ]
                with m.If(writer.done.valid):
                    m.next = "CHUNK_DONE"
            with m.State("WRITE_HEAD"):
                m.d.comb += [
                    writer.i.valid.eq(1),
                    writer.i.payload.words.eq(HEAD.words),
                    writer.i.payload.address.eq(sequence.heads + (index << 4)),
                    writer.i.payload.strobe.eq(0xFF),
                ]
                with m.If(writer.i.ready):
                    m.d.sync += words.eq(0)
                    m.next = "HEAD_WORDS"
            with m.State("HEAD_WORDS"):
                m.d.comb += [
                    writer.i_data.valid.eq(words < 2),
                    writer.i_data.payload.eq(
                        Mux(words == 0, head.as_value()[:64], head.as_value()[64:])
                    ),
                    writer.done.ready.eq(1),
                ]
                with m.If(writer.i_data.valid & writer.i_data.ready):
                    m.d.sync += words.eq(words + 1)
                with m.If(writer.done.valid):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [self.o.valid.eq(1), waits.eq(~self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "IDLE"

            with m.State("CHUNK_DONE"):
                with m.If(~request.flush & (left != take)):
                    m.d.sync += [at.eq(at + take), left.eq(left - take)]
                    m.next = "CHUNK"
                with m.Elif(~kind):
                    m.d.sync += kind.eq(1)
                    with m.If(request.flush):
                        m.next = "ALLOCATE"
                    with m.Else():
                        m.next = "KIND"
                with m.Else():
                    tokens = head.tokens + Mux(request.flush, 0, request.tokens)
                    m.d.sync += [
                        head.tokens.eq(tokens),
                        head.flash_groups.eq((tokens >> sequence.group_shift[:5]) - due),
                    ]
                    m.next = "WRITE_HEAD"
        return m

    def _scan(self, m, head, kind):
        """Follows the block exponents and non-finite marks of the words that pass."""
        top, bad = 0, 0
        for lane in range(WORD_LANES):
            field = self.i_words.payload[16 * lane + 10 : 16 * lane + 15]
            exponent = Mux(field == 0, 0, field - 1)[:5]
            top = Mux(exponent > top, exponent, top)
            bad = bad | (field == 31)
        m.d.sync += [
            head.k_exp.eq(Mux(~kind & (top > head.k_exp), top, head.k_exp)),
            head.v_exp.eq(Mux(kind & (top > head.v_exp), top, head.v_exp)),
            head.k_bad.eq(head.k_bad | (bad & ~kind)),
            head.v_bad.eq(head.v_bad | (bad & kind)),
        ]
