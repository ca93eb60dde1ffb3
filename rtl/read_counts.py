"""How often pages of each block of a channel were sensed since the block was last erased.

Reads disturb the cells around them, so a block that is read too often has to be written anew. Every
READ of the page reader counts: attends, readback, and a page that is read again. Management reads
do not: they are few, and scans of the whole drive at its start would be most of them.

::

    sensed --> RAM row (die, block) --> + 1 --> RAM row
                                         '----> a clock later: o, when it passes the limit

A count has as many bits as the limit of reads needs (`count_bits`) and saturates: from
`most_reads` on it goes round among the last `REMINDER` values, so that a block over the limit is
told again for ever. Blocks of a die follow those of the one before: for profile `paper` that is
8192 rows, 5 block RAMs of 36 Kib for each channel. A reset does not reach them; a sweep clears
them, and reads before its end (so many clocks as there are rows) are not counted.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS
from hls_attention.verilog import Ram

__all__ = ["LIMIT_BITS", "ReadCounts", "block_layout", "block_of", "count_bits", "most_reads"]

LIMIT_BITS = 24
"""Bits of a limit, and of a count, in the registers."""

LEAST_BITS = 12

REMINDER = 64
"""Reads over the limit between two times that a block is told: one that nobody took comes again. A
power of two."""


def most_reads(bits):
    """What a count of so many bits reaches: the largest limit that it can pass, and one that is
    read as so many or more says no more than this."""
    return (1 << bits) - REMINDER


def count_bits(limit):
    """Bits of counts that can pass a limit."""
    return next(bits for bits in range(LEAST_BITS, LIMIT_BITS + 1) if most_reads(bits) >= limit)


def block_layout(geometry):
    """A block of a channel."""
    return data.StructLayout(
        {
            "block": max(1, ceil_log2(geometry.blocks)),
            "die": max(1, ceil_log2(geometry.dies)),
        }
    )


def block_of(row, geometry):
    """Block of a row address: a Value.

    Where blocks do not have a power of two of pages, by the reciprocal, which is exact for rows of
    `ROW_BITS` bits if it has as many bits after the point as a row and a page's number together.
    """
    bits = ceil_log2(geometry.pages)
    if 1 << bits == geometry.pages:
        return row >> bits
    places = ROW_BITS + bits
    return row * -(-(1 << places) // geometry.pages) >> places


class ReadCounts(wiring.Component):
    """Counts of one channel.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    bits : int
        Of a count, see `count_bits`.

    Members
    -------
    sensed : In(1), place : In(``block_layout()``)
        A page of this block is sensed; any number of clocks in a row.
    limit : In(bits)
        Reads from which on a block is told at ``o``, up to `most_reads`; 0: none is.
    o : Out(stream), ``block_layout()``
        One at a time; what cannot wait is told again `REMINDER` reads later.
    ask, clear : In(1), asked : In(``block_layout()``)
        The firmware wants to know, or clears, the count of a block; not before ``busy`` is 0.
    busy : Out(1)
    value : Out(bits)
        The count asked for last.
    quiet : Out(1)
    """

    def __init__(self, geometry, bits):
        self._geometry = geometry
        self._bits = bits
        super().__init__(
            {
                "sensed": In(1),
                "place": In(block_layout(geometry)),
                "limit": In(bits),
                "o": Out(stream.Signature(block_layout(geometry))),
                "ask": In(1),
                "clear": In(1),
                "asked": In(block_layout(geometry)),
                "busy": Out(1),
                "value": Out(bits),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layout = block_layout(self._geometry)
        rows = self._geometry.dies * self._geometry.blocks
        m.submodules.ram = ram = Ram(width=self._bits, depth=max(2, rows))
        sweeps, at = Signal(init=1), Signal(ram.w_addr.shape())
        asking, clearing, mine = Signal(), Signal(), Signal(layout)
        answered, counted = Signal(), Signal()  # what was read in the clock before
        place = Signal(layout)
        count, more = Signal(self._bits), Signal(self._bits)
        written, last = Signal(), Signal(self._bits)  # the row written in the clock before
        compares, compared = Signal(), Signal(layout)  # it, with the limit

        m.d.sync += [
            counted.eq(self.sensed & ~sweeps),
            answered.eq(asking & ~self.sensed),
            written.eq(counted & self.sensed & (place == self.place)),
            last.eq(more),
            compares.eq(counted),
            compared.eq(place),
        ]
        m.d.comb += [
            ram.r_en.eq(1),
            ram.r_addr.eq(self._row(Mux(self.sensed, self.place, mine), layout)),
            count.eq(Mux(written, last, ram.r_data)),
            more.eq(Mux(count.all(), most_reads(self._bits), count + 1)),
            self.busy.eq(asking | answered | clearing | sweeps),
            self.quiet.eq(
                ~Cat(self.sensed, counted, compares, self.ask, self.clear).any()
                & ~Cat(asking, answered, clearing, sweeps).any()
                & ~(self.o.valid & self.o.ready)
            ),
        ]
        with m.If(self.sensed):
            m.d.sync += place.eq(self.place)
        with m.If(self.ask | self.clear):
            m.d.sync += [mine.eq(self.asked), asking.eq(self.ask), clearing.eq(self.clear)]
        with m.Elif(asking & ~self.sensed):
            m.d.sync += asking.eq(0)
        with m.If(answered):
            m.d.sync += self.value.eq(ram.r_data)

        with m.If(sweeps):
            m.d.comb += [ram.w_en.eq(1), ram.w_addr.eq(at)]
            m.d.sync += [at.eq(at + 1), sweeps.eq(at != max(2, rows) - 1)]
        with m.Elif(counted):
            m.d.comb += [
                ram.w_en.eq(1),
                ram.w_addr.eq(self._row(place, layout)),
                ram.w_data.eq(more),
            ]
        with m.Elif(clearing):
            m.d.comb += [ram.w_en.eq(1), ram.w_addr.eq(self._row(mine, layout))]
            m.d.sync += clearing.eq(0)

        over = Signal(self._bits + 1)
        m.d.comb += over.eq(last - self.limit)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(compares & (self.limit != 0) & ~over[-1] & (over % REMINDER == 0)):
            with m.If(~self.o.valid):
                m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(compared)]
        return m

    def _row(self, place, layout):
        """Row of a block's count."""
        blocks = self._geometry.blocks
        place = data.View(layout, place)
        if blocks == 1 << layout["block"].width:
            return place.as_value()
        return place.die * blocks + place.block
