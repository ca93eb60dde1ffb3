"""The column walker: the estimate of a head in, requests for its columns and its last tokens out.

A head that is attended sparsely is estimated from few of its channels, those in which q is largest.
Its K by channel is read of them alone; the tokens beyond the last whole unit, which are in no
column, are estimated from their K::

    unit u   : flash channel (channel + u) mod channels   one codeword for each channel chosen
             or its page of bounds, all that there is of it, in place of these
    group g  : flash channel (channel + g) mod channels   K of its tokens, for each beyond the units
    the tail : the group after those on flash
    then all : a null request that ends the head's estimate

Of bounds a token of the request is a unit of 4 tokens (`hls_attention.bounds_code`).

"Channel" is both a flash channel and an element of a head's vectors (of which some are *chosen*).

From one walk to the next it takes, if nobody waits and entries come before the mask is whole,

    beats + requests + pages without a channel chosen + 4

clocks, null requests included; with a tail one more, and those that its grant is waited for.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2, exact_log2

from hls_attention.beats import TOKEN_BITS, Kind
from hls_attention.bounds_code import UNIT_TOKENS
from hls_attention.streams import moves

from ..memory import BurstReader
from ..memory_port import MemoryPortSignature
from ..pages.requests import Source, page_request_layout
from ..tables import COLUMN_ENTRY, MAP_ENTRY
from ..walker import offer, tail_request_layout
from .selection_ports import column_walk_layout

__all__ = ["ColumnWalker"]


class ColumnWalker(wiring.Component):
    """Turns estimates of heads into page requests.

    Parameters
    ----------
    config : rtl.config.DriveConfig
        Units of K by channel must not be larger than passes.
    masks : StructLayout
        `hls_attention.top_channels.mask_layout` of the drive's engine.

    Members
    -------
    i : In(stream), ``column_walk_layout(config)``
        The next one is taken when this one is dealt.
    i_mask : In(stream), ``masks``
        For each walk ``beats`` payloads, rows in order. At least one channel is chosen.
    o : Out(stream).array(channels), ``page_request_layout()``
    o_tail : Out(stream), ``tail_request_layout()``
    tail_ask : Out(1)
        Held from before a request for the tail is offered until it and its ``o_tail`` are taken.
    tail_grant : In(1)
        Answers ``tail_ask``: no other walker asks for the tail meanwhile.
    read : Out(MemoryPortSignature)
        Device DRAM.
    quiet : Out(1)
    """

    def __init__(self, config, masks):
        if config.pass_tokens < config.unit_tokens:
            raise ValueError(
                f"passes of {config.pass_tokens} tokens are not possible: choose at least "
                f"{config.unit_tokens}, a unit of K by channel"
            )
        self._config = config
        geometry = config.flash.geometry
        super().__init__(
            {
                "i": In(stream.Signature(column_walk_layout(config))),
                "i_mask": In(stream.Signature(masks)),
                "o": Out(stream.Signature(page_request_layout(geometry.dies))).array(
                    geometry.channels
                ),
                "o_tail": Out(stream.Signature(tail_request_layout(geometry.channels))),
                "tail_ask": Out(1),
                "tail_grant": In(1),
                "read": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        geometry = config.flash.geometry
        pass_bits = exact_log2(config.pass_tokens)
        codewords = geometry.page_bytes // config.codeword_bytes  # of a page
        m.submodules.entries = entries = BurstReader(depth=64, burst=32)
        connect(m, entries.port, flipped(self.read))

        walk = Signal(column_walk_layout(config))
        chosen = Signal(config.max_head_dim)
        number = Signal(24)  # of the unit, then of the group; then it comes round the channels
        token = Signal(TOKEN_BITS)  # first one of the unit, then of the group
        left = Signal(range(geometry.channels + 1))  # channels to be told that this is the end
        channel = Signal(max(1, ceil_log2(geometry.channels)))
        page = Signal(range(config.max_head_dim))  # of the unit
        odd = Signal()  # the page's half of its entry
        done = Signal(codewords)  # those of the page that are asked for
        in_units = Signal(24)  # groups in units
        unit_tokens = Signal(range(config.unit_tokens + 1))
        bounds = walk.bounds if config.bounds else Const(0, 1)

        # The page's next codeword: the first one chosen that is not yet asked for. A page of bounds
        # is asked for as if it were one.
        wanted, first, rest = Signal(codewords), Signal(codewords), Signal(codewords)
        place = Signal(range(max(2, codewords)))
        m.d.comb += [
            wanted.eq(Mux(bounds, 1, chosen.word_select(page, codewords)) & ~done),
            rest.eq(wanted & (wanted - 1)),
            first.eq(wanted ^ rest),
        ]
        for index in range(codewords):
            with m.If(first[index]):
                m.d.comb += place.eq(index)

        request = Signal(page_request_layout(geometry.dies))
        column = COLUMN_ENTRY.struct(entries.o.payload.data)
        entry = MAP_ENTRY.struct(entries.o.payload.data)
        in_columns, on_tail, at_end, offered = Signal(), Signal(), Signal(), Signal()

        def either(of_column, of_group):
            return Mux(in_columns, of_column, of_group)

        m.d.comb += [
            channel.eq((walk.channel + number)[: len(channel)] if geometry.channels > 1 else 0),
            request.source.eq(Mux(at_end, Source.NULL, Mux(on_tail, Source.TAIL, Source.FLASH))),
            request.die.eq(either(Mux(odd, column.odd_die, column.even_die), entry.k_die)),
            request.row.eq(either(Mux(odd, column.odd_row, column.even_row), entry.k_row)),
            request.kind.eq(
                Mux(
                    in_columns & bounds,
                    Kind.BOUNDS,
                    Mux(in_columns | at_end, Kind.COLUMN, Kind.ESTIMATE),
                )
            ),
            request.format.eq(walk.format),
            request.job.eq(token >> pass_bits),
            request.token.eq(either(page * codewords + place, token)),
            request.skip.eq(either(place, 0)),
            request.tokens.eq(
                either(
                    Mux(bounds, unit_tokens // UNIT_TOKENS, 1),
                    Mux(on_tail, walk.tail_tokens, walk.group_tokens),
                )
            ),
            # an element of bounds is a byte
            request.beats.eq(
                either(Mux(bounds, walk.beats // 2, config.codeword_bytes // 8), walk.beats)
            ),
            request.error.eq(~on_tail & ~at_end & entries.o.payload.error),
            request.last.eq(at_end),
            self.o_tail.payload.address.eq(walk.tail),
            self.o_tail.payload.words.eq(walk.tail_tokens * walk.beats),
            self.o_tail.payload.channel.eq(channel),
        ]
        taken = offer(m, self.o, channel, request, offered)

        pages = Mux(bounds, walk.units, in_units)  # of all units
        asks = self._asks(m, entries, walk, in_units, pages)
        waits = Signal()
        m.d.comb += self.quiet.eq(waits & entries.quiet)
        with m.FSM(name="state"):
            with m.State("NEXT"):
                m.d.comb += [self.i.ready.eq(1), waits.eq(~self.i.valid)]
                with m.If(self.i.valid):
                    m.d.sync += walk.eq(self.i.payload)
                    m.next = "START"
            with m.State("START"):
                m.d.sync += [
                    in_units.eq(walk.units * walk.unit_groups),
                    unit_tokens.eq(walk.group_tokens * walk.unit_groups),
                ]
                m.next = "ASK"
            with m.State("ASK"):
                m.d.sync += [
                    asks.eq(Cat(in_units != 0, in_units != walk.flash_groups)),
                    number.eq(0),
                    page.eq(0),
                    odd.eq(walk.columns[2]),
                    token.eq(0),
                    left.eq(geometry.channels),
                ]
                m.next = "MASK"
            with m.State("MASK"):
                row = self.i_mask.payload
                m.d.comb += [self.i_mask.ready.eq(1), waits.eq(~self.i_mask.valid)]
                with m.If(self.i_mask.valid):
                    m.d.sync += chosen.word_select(row.row, len(row.mask)).eq(row.mask)
                    with m.If(row.last):
                        m.next = "GROUPS"
                        with m.If(walk.units != 0):
                            m.next = "COLUMNS"
            with m.State("COLUMNS"):
                turns, last_page, last_unit = Signal(), Signal(), Signal()
                m.d.comb += [
                    in_columns.eq(1),
                    last_page.eq(bounds | (page + 1 == walk.unit_groups)),
                    last_unit.eq(number + 1 == walk.units),
                    offered.eq(entries.o.valid & wanted.any()),
                    waits.eq(offered & ~taken),
                    turns.eq(entries.o.valid & Mux(wanted.any(), taken & (rest == 0), 1)),
                    entries.o.ready.eq(turns & (odd | (last_page & last_unit))),
                ]
                with m.If(turns):
                    m.d.sync += [odd.eq(~odd), page.eq(page + 1), done.eq(0)]
                    with m.If(last_page):
                        m.d.sync += [
                            page.eq(0),
                            number.eq(number + 1),
                            token.eq(token + unit_tokens),
                        ]
                        with m.If(last_unit):
                            m.d.sync += number.eq(in_units)
                            m.next = "GROUPS"
                with m.Elif(taken):
                    m.d.sync += done.eq(done | first)
            with m.State("GROUPS"):
                with m.If(number != walk.flash_groups):
                    m.d.comb += [
                        offered.eq(entries.o.valid),
                        waits.eq(offered & ~taken),
                        entries.o.ready.eq(taken),
                    ]
                    with m.If(taken):
                        m.d.sync += [number.eq(number + 1), token.eq(token + walk.group_tokens)]
                with m.Elif(walk.tail_tokens != 0):
                    m.next = "TAIL"
                with m.Else():
                    m.next = "END"
            with m.State("TAIL"):
                m.d.comb += [
                    on_tail.eq(1),
                    self.tail_ask.eq(1),
                    offered.eq(self.tail_grant),
                    waits.eq(~taken),
                ]
                with m.If(taken):
                    m.next = "TAIL_WORDS"
            with m.State("TAIL_WORDS"):
                m.d.comb += [
                    self.tail_ask.eq(1),
                    self.o_tail.valid.eq(1),
                    waits.eq(~self.o_tail.ready),
                ]
                with m.If(self.o_tail.ready):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += [
                    at_end.eq(1),
                    offered.eq(1),
                    waits.eq(~taken),
                ]
                with m.If(taken):
                    m.d.sync += [number.eq(number + 1), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "NEXT"
        return m

    def _asks(self, m, entries, walk, in_units, pages):
        """Asks for the entries of pages, then for those of groups; bits: which are still to be."""
        asks = Signal(2)
        asked = entries.i.payload
        m.d.comb += entries.i.valid.eq(asks.any())
        with m.If(asks[0]):
            m.d.comb += [
                asked.address.eq((walk.columns >> 3) << 3),
                asked.words.eq((pages + walk.columns[2] + 1) >> 1),
            ]
        with m.Else():
            m.d.comb += [
                asked.address.eq(walk.map + (in_units << 3)),
                asked.words.eq(walk.flash_groups - in_units),
            ]
        with m.If(moves(entries.i)):
            m.d.sync += asks.eq(asks & (asks - 1))
        return asks
