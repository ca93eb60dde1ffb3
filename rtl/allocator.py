"""Page allocation of the append path: the next page of a stream's open stripe, on the die wanted.

A *stripe* is, on each channel, a number of erased blocks, its *columns*, each of any die. The
firmware names the blocks one by one and pushes the stripe into the ring of a *stream*; each channel
fills the stripes of a stream in that order, and the streams do not wait for each other. Within a
stripe a column may run ahead of the slowest one of its channel by up to `MAX_SKEW` pages, so that
pages which are read together can lie on different dies however they came to be written::

    page 5            .  .  .        base = 2: every column has given pages 0 and 1
    page 4            .  .  .        skew = 0 2 1 0: what each column has given beyond
    page 3            #  .  .
    page 2         .  #  #  .
            column  0  1  2  3

A channel takes all pages of a stripe before it goes on to the next. A page is wanted on a die; the
column of that number is tried first, or where a stripe has fewer, one that dies share.

A block that has gone bad meanwhile is stood in for: the firmware names another one for its column,
while no page is being dealt.

What is kept of streams lies in memories, which a reset does not reach: a sweep clears them.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS
from hls_attention.verilog import Ram

__all__ = [
    "MAX_SKEW",
    "Allocator",
    "block_layout",
    "page_layout",
    "wish_layout",
]

MAX_SKEW = 7
"""Pages by which a column may be ahead of the slowest one of its channel."""


def _bits(count):
    return max(1, ceil_log2(count))


def wish_layout(geometry, streams=1):
    """Where a page is wanted: of this stream and channel, on this die or the next with room."""
    return data.StructLayout(
        {
            "channel": _bits(geometry.channels),
            "die": _bits(geometry.dies),
            "stream": _bits(streams),
        }
    )


def page_layout(geometry):
    """The page dealt."""
    return data.StructLayout({"die": _bits(geometry.dies), "row": ROW_BITS})


def block_layout(geometry, streams=1, slots=16):
    """A block, and of which stream, stripe, channel and column it is.

    ``slot`` counts the stripes pushed to the stream, modulo ``slots``.
    """
    return data.StructLayout(
        {
            "stream": _bits(streams),
            "slot": ceil_log2(slots),
            "channel": _bits(geometry.channels),
            "column": _bits(geometry.dies),
            "die": _bits(geometry.dies),
            "block": 16,
        }
    )


class Allocator(wiring.Component):
    """Deals out pages, one request at a time. Latency 6.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    streams : int
        A power of two.
    slots : int
        Stripes that the ring of a stream holds: a power of two, at least 2.

    Members
    -------
    block_write : In(1), block_place : In(``block_layout()``)
        The block of a column; before its stripe is pushed, or while no page is dealt.
    push : In(1), push_stream : In, push_columns : In
        Adds a stripe of so many columns, 1..dies, to a stream whose ring has room.
    end : In(1), end_stream : In
        What is left of the stripes pushed to a stream is given up; not while ``ending``.
    ending : Out(1)
        That is under way, or the sweep after a reset is (a clock for each stream and channel):
        what is pushed before its end is lost.
    look_stream, look_channel : In; filled : Out
        Stripes that a channel has filled of a stream, modulo ``2 * slots``; one clock later.
    i : In(stream), ``wish_layout()``
    o : Out(stream), ``page_layout()``
    starved : Out(1), starved_stream : Out
        A request waits for a stripe of this stream.
    quiet : Out(1)
    """

    def __init__(self, geometry, streams=1, slots=16):
        for name, value, least in (("streams", streams, 1), ("slots", slots, 2)):
            if value < least or value & (value - 1):
                raise ValueError(
                    f"{name} = {value} is not possible: choose a power of two from {least} on"
                )
        self._geometry, self._streams, self._slots = geometry, streams, slots
        stream_bits = _bits(streams)
        super().__init__(
            {
                "block_write": In(1),
                "block_place": In(block_layout(geometry, streams, slots)),
                "push": In(1),
                "push_stream": In(stream_bits),
                "push_columns": In(range(geometry.dies + 1)),
                "end": In(1),
                "end_stream": In(stream_bits),
                "ending": Out(1),
                "look_stream": In(stream_bits),
                "look_channel": In(_bits(geometry.channels)),
                "filled": Out(ceil_log2(slots) + 1),
                "i": In(stream.Signature(wish_layout(geometry, streams))),
                "o": Out(stream.Signature(page_layout(geometry))),
                "starved": Out(1),
                "starved_stream": Out(stream_bits),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        count_bits = len(self.filled)
        place = data.StructLayout(
            {
                "at": count_bits,  # stripes this channel has filled
                "base": range(max(2, geometry.pages)),
                "skew": data.ArrayLayout(range(MAX_SKEW + 1), geometry.dies),
            }
        )
        wish = Signal(wish_layout(geometry, self._streams))
        mine = Signal(place)
        wanted = Signal(len(wish.die))  # column
        within = Signal(geometry.dies)  # columns that the stripe has
        chosen = Signal(len(wish.die))  # column
        page = Signal(range(max(2, geometry.pages)))

        rows = 1 << ceil_log2(geometry.channels) + ceil_log2(self._streams)
        m.submodules.places = places = memory.Memory(shape=place, depth=max(2, rows), init=[])
        stored, read, look = places.write_port(), places.read_port(), places.read_port()
        swept = Signal(ceil_log2(places.depth))
        m.d.comb += [
            stored.addr.eq(self._row(wish.stream, wish.channel)),
            read.addr.eq(self._row(wish.stream, wish.channel)),
            look.addr.eq(self._row(self.look_stream, self.look_channel)),
            self.filled.eq(look.data.at),
            self.starved_stream.eq(wish.stream),
        ]
        pushing, onto, count, pushed, columns = self._rings(m)
        m.d.comb += [
            pushed.addr.eq(wish.stream),
            columns.addr.eq(self._slot(wish.stream, read.data.at)),
        ]
        column = Signal(len(wish.die))
        block = self._blocks(m, wish, mine.at, column)

        giving_up, ended = Signal(), Signal.like(self.end_stream)
        again = Signal()  # a request that starved is looked at again
        with m.If(self.end):
            m.d.sync += [giving_up.eq(1), ended.eq(self.end_stream)]

        with m.FSM(name="state") as states:
            with m.State("SWEEP"):
                m.d.comb += [
                    stored.en.eq(1),
                    stored.addr.eq(swept),
                    count.en.eq(1),
                    count.addr.eq(swept >> ceil_log2(geometry.channels)),
                    count.data.eq(0),
                ]
                m.d.sync += swept.eq(swept + 1)
                with m.If(swept.all()):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += [
                    self.i.ready.eq(~giving_up),
                    self.quiet.eq(~self.i.valid & ~giving_up & ~pushing),
                ]
                with m.If(giving_up):
                    m.next = "END"
                with m.Elif(self.i.valid):
                    m.d.sync += wish.eq(self.i.payload)
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.next = "PLACE"
            with m.State("PLACE"):
                m.d.sync += mine.eq(read.data)
                m.next = "OPEN"
            with m.State("OPEN"):
                is_open = pushed.data != mine.at
                comes = pushing & (onto == wish.stream)
                m.d.comb += [
                    self.starved.eq(~is_open & ~comes),
                    self.quiet.eq(~is_open & ~pushing & ~giving_up),
                ]
                m.d.sync += [
                    wanted.eq(self._column(wish.die, columns.data)),
                    within.eq(Cat(columns.data > index for index in range(geometry.dies))),
                    again.eq(0),
                ]
                with m.If(is_open):
                    m.next = "CHOOSE"
                with m.Elif(giving_up):
                    m.d.sync += again.eq(1)
                    m.next = "END"
            with m.State("CHOOSE"):
                free, skew = self._choose(m, wanted, within, mine)
                m.d.comb += column.eq(free)
                m.d.sync += [chosen.eq(free), page.eq(mine.base + skew)]
                m.next = "DEAL"
            with m.State("DEAL"):
                m.d.sync += [
                    self.o.payload.die.eq(block.die),
                    self.o.payload.row.eq(block.block * geometry.pages + page),
                ]
                m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.quiet.eq(~self.o.ready & ~pushing),
                    stored.en.eq(self.o.ready),
                    stored.data.eq(self._take(m, mine, chosen, within)),
                ]
                with m.If(self.o.ready):
                    m.next = "IDLE"
            with m.State("END"):
                m.d.comb += pushed.addr.eq(ended)
                m.next = "GIVE_UP"
            with m.State("GIVE_UP"):
                m.d.comb += [
                    pushed.en.eq(0),  # all channels are to go on at the same stripe
                    stored.en.eq(1),
                    stored.addr.eq(self._row(ended, swept)),
                    stored.data.at.eq(pushed.data),
                ]
                m.d.sync += swept.eq(swept + 1)
                with m.If(swept == geometry.channels - 1):
                    m.d.sync += [swept.eq(0), giving_up.eq(0)]
                    m.next = "IDLE"
                    with m.If(again):
                        m.next = "LOAD"
        m.d.comb += self.ending.eq(giving_up | again | states.ongoing("SWEEP"))
        return m

    def _row(self, stream, channel):
        """Row of a channel's place in a stream."""
        channel = channel[: ceil_log2(self._geometry.channels)]
        return Cat(channel, stream[: ceil_log2(self._streams)])

    def _slot(self, stream, number):
        """Row of what is known of a stream's stripe."""
        return Cat(number[: ceil_log2(self._slots)], stream[: ceil_log2(self._streams)])

    def _rings(self, m):
        """Stripes pushed to each stream, modulo twice its slots, and the columns of each.

        A push counts two clocks later: the count so far is read first.
        """
        streams = max(2, self._streams)
        counts = memory.Memory(shape=len(self.filled), depth=streams, init=[])
        widths = memory.Memory(
            shape=range(self._geometry.dies + 1), depth=self._streams * self._slots, init=[]
        )
        m.submodules.counts, m.submodules.widths = counts, widths
        count, width = counts.write_port(), widths.write_port()
        before = counts.read_port(transparent_for=[count])
        pushed = counts.read_port(transparent_for=[count])
        columns = widths.read_port(transparent_for=[width])
        pushing, onto = Signal(), Signal.like(self.push_stream)
        m.d.sync += [
            pushing.eq(self.push),
            onto.eq(self.push_stream),
            width.data.eq(self.push_columns),
        ]
        m.d.comb += [
            before.addr.eq(self.push_stream),
            count.en.eq(pushing),
            count.addr.eq(onto),
            count.data.eq(before.data + 1),
            width.en.eq(pushing),
            width.addr.eq(self._slot(onto, before.data)),
        ]
        return pushing, onto, count, pushed, columns

    def _blocks(self, m, wish, number, column):
        """The block of a column of a stripe, one clock after its ``number`` and ``column``."""
        geometry = self._geometry
        named = data.StructLayout({"die": _bits(geometry.dies), "block": 16})
        written = self.block_place
        bits = len(self._slot(wish.stream, number)) + ceil_log2(geometry.channels)
        ram = Ram(width=named.size, depth=1 << bits + ceil_log2(geometry.dies))
        m.submodules.blocks = ram
        block = Signal(named)

        def row(stream, number, channel, column):
            channel = channel[: ceil_log2(geometry.channels)]
            return Cat(column[: ceil_log2(geometry.dies)], channel, self._slot(stream, number))

        m.d.comb += [
            ram.w_en.eq(self.block_write),
            ram.w_addr.eq(row(written.stream, written.slot, written.channel, written.column)),
            ram.w_data.eq(Cat(written.die, written.block)),
            ram.r_en.eq(1),
            ram.r_addr.eq(row(wish.stream, number, wish.channel, column)),
            block.eq(ram.r_data),
        ]
        return block

    def _column(self, die, columns):
        """The column that a die's pages are wanted of."""
        last = (columns - 1)[: len(die)]
        masked = die & Cat(last[bit:].any() for bit in range(len(die)))
        return Mux(masked < columns, masked, masked - columns)

    def _choose(self, m, wanted, within, mine):
        """The column wanted or the first after it that may give a page; the slowest always may."""
        geometry = self._geometry
        dies = geometry.dies
        can = Signal(dies)
        can_after = Signal(dies)
        column = Signal(len(wanted), name="chosen_column")
        skew = Signal(range(MAX_SKEW + 1), name="chosen_skew")
        for index in range(dies):
            ahead = mine.skew[index]
            has_page = (ahead != MAX_SKEW) & (mine.base + ahead < geometry.pages)
            m.d.comb += [
                can[index].eq(within[index] & has_page),
                can_after[index].eq(can[index] & (wanted <= index)),
            ]
        for candidates in (can, can_after):  # the later assignment wins
            with m.If(candidates.any()):
                for index in reversed(range(dies)):
                    with m.If(candidates[index]):
                        m.d.comb += [column.eq(index), skew.eq(mine.skew[index])]
        return column, skew

    def _take(self, m, mine, column, within):
        """What the channel's place becomes once a page of ``column`` is taken."""
        geometry = self._geometry
        dies = geometry.dies
        taken = Signal.like(mine)
        after = Signal.like(mine)
        m.d.comb += taken.eq(mine)
        for index in range(dies):
            with m.If(column == index):
                m.d.comb += taken.skew[index].eq(mine.skew[index] + 1)
        m.d.comb += after.eq(taken)
        with m.If(Cat((taken.skew[i] != 0) | ~within[i] for i in range(dies)).all()):
            m.d.comb += after.base.eq(mine.base + 1)
            for index in range(dies):
                m.d.comb += after.skew[index].eq(taken.skew[index] - within[index])
            with m.If(mine.base == geometry.pages - 1):
                m.d.comb += [after.base.eq(0), after.at.eq(mine.at + 1)]
        return after
