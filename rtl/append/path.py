"""The append path: tokens of one KV head into the tail, full groups onto flash.

::

    words (K [tokens][d], then V) --scan--> tail in device DRAM  (group not full)
                                  --scan--> program slot         (whole group at once)
    tail in device DRAM ------------------> program slot         (group became full)
         K --transposer or bounder--> column buffer ----> program slots (a unit of K by channel,
                                                                          or of bounds of K)

A page lies in a program slot in device DRAM until its die has it, so that it is not lost if the
program fails (`rtl.program_slots`). Its channel fetches it from there (`rtl.program_feeder`): the
path goes on with the next page while dies are busy.

The whole path is one state machine over one set of registers; those of its states that read and
write a head's records are in `rtl.append.head`, those that deal its tokens to groups in
`rtl.append.chunk`, those that bring a page onto flash in `rtl.append.page`, those that gather a
unit of K by channel in `rtl.append.unit`.

A unit of K by channel, or of bounds, is made of K words that come for it (read back from flash), or
of those of an append on their way to their slots, where it brings whole units: then nothing is read
back.

The head's table entry is read first and written last, so that nothing is visible before it is
complete. Block exponents are followed on the way, and kept apart for each pass. A head whose group
became full in a STEP is left with ``flush_due`` and flushed by a request of its own once its
attention has been answered.

A request fails if words given are wrong or device DRAM answers with an error. All its words are
taken all the same. Where device DRAM has failed the entry is left as it was; so is the tail, which
what lies behind the group that it began would overwrite. If it is too late for that, or words given
are wrong, the entry counts the tokens and is marked ``spoiled``, so that the firmware can cut them
off again. A page that may not lie in its slot as it should is programmed as one that cannot be
read; any other that comes after what went wrong bears segment 0, so that the map alone knows it and
a loss of power forgets it. On a tail that is still full, as its flush has failed, nothing is done.
"""

from functools import reduce
from operator import or_
from types import SimpleNamespace

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS
from hls_attention.beats import Format
from hls_attention.formats import BF16
from hls_attention.streams import moves

from ..allocator import page_layout, wish_layout
from ..memory import BurstReader, BurstWriter
from ..memory_port import ADDRESS_BITS, MemoryPortSignature
from ..sparse.transposer import transpose_layout
from ..tables import (
    HEAD,
    PASS,
    SEQUENCE,
    column_buffer,
    program_slots,
)
from .chunk import chunk_done, chunk_states
from .head import follow_exponents, read_states, write_states
from .page import page_states
from .records import (
    append_layout,
    groups_in_units,
    head_info_layout,
    largest_field,
    program_layout,
)
from .unit import Unit, unit_shape, unit_states

__all__ = ["AppendPath"]


class AppendPath(wiring.Component):
    """Appends to one head at a time.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    pass_tokens : int
        A power of two.
    streams : int
        Of the allocator, a power of two.
    unit_tokens : int
        Tokens of a unit of K by channel.
    bounds : bool
        The drive keeps bounds, too.

    Members
    -------
    sequence : In(`SEQUENCE` record), layer : In(16)
        Held while a request is served.
    i : In(stream), ``append_layout()``
    i_words : In(stream), 64 bits
        K then V of the request's tokens.
    o : Out(stream), ``head_info_layout()``
    ask_slot : Out(1); slot : In(stream)
        The program slots.
    buffer : In(48)
        DRAM address of slot 0. The column buffer is behind the slots.
    o_wish : Out(stream), ``wish_layout()``; page : In(stream), ``page_layout()``
        The allocator.
    o_order : Out(stream), ``program_layout()``
        A page in its slot is to be programmed.
    o_transpose : Out(stream), ``transpose_layout()``; o_transpose_words : Out(stream), 64 bits
        The transposer, or the bounder where the sequence has bounds.
    room : In(1)
        It takes words without waiting for device DRAM, whose port a page on its way to a slot
        holds.
    transposed : In(1)
        All that it was given is in device DRAM.
    spoiled : In(1)
        Of the words given, some are wrong. A unit of them is not written.
    unit_failed : In(1)
        A write of the transposer's or bounder's failed in this clock.
    quiet : Out(1)
    """

    def __init__(self, geometry, pass_tokens, streams=1, unit_tokens=512, bounds=False):
        self._geometry = geometry
        self._unit_tokens = unit_tokens
        self._bounds = bounds
        self._pass_shift = ceil_log2(pass_tokens)
        super().__init__(
            {
                "sequence": In(SEQUENCE.struct),
                "layer": In(16),
                "i": In(stream.Signature(append_layout())),
                "i_words": In(stream.Signature(64)),
                "o": Out(stream.Signature(head_info_layout())),
                "ask_slot": Out(1),
                "slot": In(stream.Signature(ceil_log2(program_slots(geometry)))),
                "buffer": In(ADDRESS_BITS),
                "o_wish": Out(stream.Signature(wish_layout(geometry, streams))),
                "page": In(stream.Signature(page_layout(geometry))),
                "o_order": Out(stream.Signature(program_layout(geometry))),
                "o_transpose": Out(stream.Signature(transpose_layout())),
                "o_transpose_words": Out(stream.Signature(64)),
                "room": In(1),
                "transposed": In(1),
                "spoiled": In(1),
                "unit_failed": In(1),
                "read": Out(MemoryPortSignature()),
                "write": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    @property
    def geometry(self):
        """Of the drive's flash."""
        return self._geometry

    @property
    def unit_tokens(self):
        """Tokens of a unit of K by channel."""
        return self._unit_tokens

    @property
    def bounds(self):
        """Whether the drive keeps bounds."""
        return self._bounds

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = BurstReader(depth=128, burst=64)
        m.submodules.writer = writer = BurstWriter(burst=64)
        connect(m, reader.port, flipped(self.read))
        connect(m, writer.port, flipped(self.write))
        page_bytes = self._geometry.page_bytes
        channels = self._geometry.channels
        channel_shift = ceil_log2(channels)
        channel = Signal(max(1, channel_shift))
        first_channel = Signal(8)  # of the head's group 0

        sequence = self.sequence
        request = Signal(append_layout())
        head = Signal(HEAD.struct)
        index = Signal(24)
        map_address = Signal(ADDRESS_BITS)
        columns_address = Signal(ADDRESS_BITS)  # of the head's entries there
        tail_address = Signal(ADDRESS_BITS)
        passes_address = Signal(ADDRESS_BITS)
        kind = Signal()  # 0 K, 1 V
        group = Signal(32)  # of the chunk at hand
        place = Signal(32)  # group on whose channel it goes
        in_group = Signal(16)  # its first token's place there
        left = Signal(24)
        flushing = Signal()  # the group at hand comes from the tail
        due = Signal()
        failed = Signal()  # device DRAM did
        overwritten = Signal()  # tokens of the tail as it was, which are in a page now
        begun = Signal()  # see `head_info_layout`
        dealt_row = Signal(ROW_BITS)
        dealt_die = Signal(8)
        slot = Signal(len(self.slot.payload))
        words = Signal(12)

        room = Signal(16)  # places left in the group
        take = Signal(16)
        whole = Signal()  # a group that need not go through the tail
        ends_deferred = Signal()
        fills = Signal()
        token_words = sequence.head_dim[2:10]
        group_words = Signal(12)
        m.d.sync += group_words.eq(sequence.group_tokens * token_words)
        m.d.comb += [
            room.eq(sequence.group_tokens - in_group),
            fills.eq(left >= room),
            take.eq(Mux(fills, room, left)),
            ends_deferred.eq(request.defer & (left <= room)),
            whole.eq(fills & (in_group == 0) & ~ends_deferred),
            channel.eq((place + first_channel)[:channel_shift] if channels > 1 else 0),
            self.o_wish.payload.channel.eq(channel),
            self.o_wish.payload.stream.eq(sequence.stream),
            self.o_order.payload.channel.eq(channel),
            self.o_order.payload.die.eq(dealt_die),
            self.o_order.payload.row.eq(dealt_row),
            self.o_order.payload.slot.eq(slot),
            self.o.payload.head.eq(head),
            self.o.payload.channel.eq(first_channel),
            self.o.payload.map.eq(map_address),
            self.o.payload.tail.eq(tail_address),
            self.o.payload.passes.eq(passes_address),
            self.o.payload.columns.eq(columns_address),
            self.o.payload.flush_due.eq(due),
            self.o.payload.failed.eq(failed | self.spoiled),
            self.o.payload.begun.eq(begun),
        ]
        with m.If((moves(reader.o) & reader.o.payload.error) | writer.failed | self.unit_failed):
            m.d.sync += failed.eq(1)
        columns = Signal()  # the page at hand is one of a unit, number head.column_pages
        pages_left = Signal(16)  # of its unit
        on_channel = Signal.like(group)  # its number there, by which its die is chosen
        m.d.comb += on_channel.eq(group >> channel_shift)
        unit_pages, unit_tokens, page_words = unit_shape(m, self, group_words, columns)
        m.d.comb += place.eq(
            Mux(
                columns,
                reduce(
                    or_,
                    (Mux(pages, head.column_pages >> n, 0) for n, pages in enumerate(unit_pages)),
                ),
                group,
            )
        )
        with m.If(columns):  # all pages of a unit: of units of 1, 2, 4, 8 ... pages
            for shift in range(len(unit_pages)):
                with m.If(unit_pages[shift]):
                    before = head.column_pages >> shift + channel_shift
                    within = head.column_pages & (1 << shift) - 1
                    m.d.comb += on_channel.eq(
                        (before << shift) + (before if shift else 0) + within
                    )  # `column_die`
        source = Signal(ADDRESS_BITS)  # of a page that comes from device DRAM
        unit_page = Signal(ADDRESS_BITS)  # that of the unit at hand
        tail_page = Signal(ADDRESS_BITS)
        in_units = groups_in_units(sequence, head, self._bounds)
        m.d.comb += [
            tail_page.eq(tail_address + Mux(kind, page_bytes, 0)),
            source.eq(Mux(columns, unit_page, tail_page)),
            self.o.payload.unit_due.eq(
                (sequence.unit_groups != 0) & (head.flash_groups >= in_units + sequence.unit_groups)
            ),
        ]

        # Words until the pass ends, and what is known of the pass that ended last.
        pass_words = Signal(self._pass_shift + len(token_words))
        pass_left = Signal.like(pass_words)
        pass_number = Signal(32)
        ended = Signal(PASS.struct)
        ends = Signal()
        m.d.comb += pass_words.eq(token_words << self._pass_shift)

        # Words are looked at a clock after they went; their chunk ends later than that.
        scanned, seen = Signal(), Signal()
        bf16 = sequence.format == Format.BF16.value
        field = Signal(BF16.exponent_bits)
        m.d.sync += [seen.eq(scanned), field.eq(largest_field(self.i_words.payload, bf16))]
        with m.If(seen):
            exponent, bad = follow_exponents(m, head, kind, pass_left == 1, field, bf16)
            with m.If(pass_left == 1):
                m.d.sync += [pass_left.eq(pass_words), ends.eq(1)]
                m.d.sync += [
                    field.eq(value)
                    for name in "kv"
                    for field, value in (
                        (ended[f"{name}_exp"], exponent),
                        (ended[f"{name}_bad"], bad),
                    )
                ]
            with m.Else():
                m.d.sync += pass_left.eq(pass_left - 1)
        waits = Signal()
        m.d.comb += self.quiet.eq(waits & reader.quiet & ~seen)

        unit = Unit(self, column_buffer(self.buffer, self._geometry), group_words)
        unit.elaborate(m)
        whole_units = Signal()  # K of this request begins where a unit does
        gathers = Signal()

        x = SimpleNamespace(
            begun=begun,
            columns=columns,
            columns_address=columns_address,
            dealt_die=dealt_die,
            dealt_row=dealt_row,
            due=due,
            ended=ended,
            ends=ends,
            ends_deferred=ends_deferred,
            failed=failed,
            fills=fills,
            first_channel=first_channel,
            flushing=flushing,
            gathers=gathers,
            group=group,
            group_words=group_words,
            head=head,
            in_group=in_group,
            in_units=in_units,
            index=index,
            kind=kind,
            left=left,
            map_address=map_address,
            number=Mux(columns, head.column_pages, group),
            overwritten=overwritten,
            page_words=page_words,
            pages_left=pages_left,
            pass_left=pass_left,
            pass_number=pass_number,
            pass_shift=self._pass_shift,
            passes_address=passes_address,
            reader=reader,
            request=request,
            scanned=scanned,
            slot=slot,
            source=source,
            tail_address=tail_address,
            tail_page=tail_page,
            take=take,
            token_words=token_words,
            unit=unit,
            unit_page=unit_page,
            unit_pages=unit_pages,
            unit_tokens=unit_tokens,
            waits=waits,
            whole=whole,
            whole_units=whole_units,
            words=words,
            writer=writer,
            wrong=failed | self.spoiled | head.spoiled,
        )
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += [self.i.ready.eq(1), waits.eq(~self.i.valid)]
                with m.If(self.i.valid):
                    m.d.sync += [
                        request.eq(self.i.payload),
                        kind.eq(0),
                        due.eq(0),
                        failed.eq(0),
                        overwritten.eq(0),
                        begun.eq(0),
                        index.eq(self.layer * sequence.kv_heads + self.i.payload.head),
                    ]
                    m.next = "ADDRESSES"
            read_states(m, self, x)
            with m.State("FLUSH"):
                m.d.sync += [group.eq(head.flash_groups), in_group.eq(0)]
                m.next = "ALLOCATE"
            unit_states(m, self, x)
            chunk_states(m, self, x)
            page_states(m, self, x, on_channel)
            write_states(m, self, x)
            chunk_done(m, self, x)
        return m
