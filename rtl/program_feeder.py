"""The program feeder of a channel: from pages in program slots to the channel's page writer.

::

    order {die, row, slot} --> list of its die --+
                     ...   --> list of its die --+--> an idle die's first --> its slot --> o
                                                 |                 (device DRAM)      '--> o_data
    done ------------------> the die is idle ----+

Pages lie in device DRAM before they are ordered (`rtl.append.page`), so that the append path does
not wait for a die, and a die that is busy holds up no other. A die's pages go in the order in which
they were ordered.

Until a page has been given to the controller, which keeps the order of a die's operations, nothing
may read it: `asked_waits` says so of a page. It may say so of another one, too, whose row ends in
the same `KEY_BITS` bits; that one is read later than it could be.

Of a page that its slot does not give, the words that are missing are marked, and its program fails
whatever the die says. Where not even its header can be read, and of a page ordered as ``spoiled``,
one word is programmed, which is marked.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS
from hls_attention.streams import moves

from .memory import BurstReader
from .memory_port import ADDRESS_BITS, MemoryPortSignature
from .nand.picker import Picker
from .pages.requests import page_word_layout
from .pages.writer import page_layout
from .program_slots import PROGRAM_TAG
from .tables import SLOT_HEADER, program_slots, slot_bytes

__all__ = ["KEY_BITS", "ProgramFeeder", "order_layout"]

KEY_BITS = 4
"""Bits of a row by which pages of a die are told apart."""

SAME_KEY = 7
"""Pages ordered with the same key, at most; the next one waits."""


def order_layout(geometry):
    """A page to be programmed: where, and the slot that it is in. ``spoiled``: what the slot holds
    is not known; a page is programmed that cannot be read."""
    return data.StructLayout(
        {
            "die": max(1, ceil_log2(geometry.dies)),
            "row": ROW_BITS,
            "slot": ceil_log2(program_slots(geometry)),
            "spoiled": 1,
        }
    )


class ProgramFeeder(wiring.Component):
    """Feeds pages, one program to a die at a time.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    i : In(stream), ``order_layout()``
    buffer : In(48)
        DRAM address of slot 0.
    o : Out(stream), `rtl.pages.writer.page_layout`; o_data : Out(stream), ``page_word_layout()``
    done, done_die : In
        A program has ended.
    done_lost : Out(1)
        Some of its page was not read from the slot.
    waiting : Out(dies)
        Dies with pages that were not given whole.
    asked_die, asked_row : In; asked_waits : Out(1)
        A page, and whether it has to be waited for.
    read : Out(MemoryPortSignature)
        Device DRAM.
    quiet : Out(1)
        Nothing in here changes until an input does.
    """

    def __init__(self, geometry):
        self._geometry = geometry
        order = order_layout(geometry)
        super().__init__(
            {
                "i": In(stream.Signature(order)),
                "buffer": In(ADDRESS_BITS),
                "o": Out(stream.Signature(page_layout(geometry.dies))),
                "o_data": Out(stream.Signature(page_word_layout())),
                "done": In(1),
                "done_die": In(order["die"].shape),
                "done_lost": Out(1),
                "waiting": Out(geometry.dies),
                "asked_die": In(order["die"].shape),
                "asked_row": In(ROW_BITS),
                "asked_waits": Out(1),
                "read": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        m.submodules.picker = picker = Picker(geometry.dies)
        m.submodules.reader = reader = BurstReader(depth=64, burst=32)
        connect(m, reader.port, flipped(self.read))
        busy = Signal(geometry.dies)
        die = Signal(len(picker.die))  # whose page is fed
        header = Signal(SLOT_HEADER.struct)
        drops = Signal()  # the page fed leaves its list
        clears = Signal(init=1)  # a reset does not reach memories
        first = self._lists(m, die, drops)
        slot = Signal(len(first))
        row, spoiled = self._places(m, slot)
        more = self._keys(m, die, row, drops, clears)
        lost = Signal(geometry.dies)  # of the page under way on each die
        without = Signal()  # the page fed has no words
        m.d.comb += [
            self.i.ready.eq(more & ~drops & ~clears),
            picker.asking.eq(self.waiting & ~busy),
        ]
        with m.If(self.done):
            m.d.sync += busy.bit_select(self.done_die, 1).eq(0)

        place = self.buffer + slot * slot_bytes(geometry)
        m.d.comb += [
            self.o.payload.die.eq(die),
            self.o.payload.row.eq(row),
            self.o.payload.meta.eq(header.meta),
            self.o.payload.words.eq(Mux(without, 1, header.words)),
            self.o.payload.tag.eq(PROGRAM_TAG | slot),
            self.o_data.payload.data.eq(reader.o.payload.data),
            self.o_data.payload.error.eq(reader.o.payload.error | without),
            self.done_lost.eq(lost.bit_select(self.done_die, 1)),
        ]
        with m.If(moves(reader.o) & reader.o.payload.error):
            m.d.sync += lost.bit_select(die, 1).eq(1)
        waits = Signal()
        with m.FSM(name="state"):
            with m.State("PICK"):
                m.d.comb += waits.eq(~picker.valid)
                with m.If(picker.valid):
                    m.d.comb += [picker.used.eq(1), picker.drop.eq(1)]
                    m.d.sync += [
                        die.eq(picker.die),
                        busy.bit_select(picker.die, 1).eq(1),
                        lost.bit_select(picker.die, 1).eq(0),
                    ]
                    m.next = "SLOT"
            with m.State("SLOT"):
                m.d.sync += slot.eq(first)
                m.next = "ASK_HEADER"
            with m.State("ASK_HEADER"):
                m.d.sync += without.eq(spoiled)
                m.d.comb += [
                    reader.i.valid.eq(~spoiled),
                    reader.i.payload.address.eq(place),
                    reader.i.payload.words.eq(SLOT_HEADER.words),
                ]
                with m.If(spoiled):
                    m.next = "PLACE"
                with m.Elif(reader.i.ready):
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += reader.o.ready.eq(1)
                with m.If(reader.o.valid):
                    m.d.sync += [
                        header.eq(Cat(header.as_value()[64:], reader.o.payload.data)),
                        without.eq(without | reader.o.payload.error),
                    ]
                    with m.If(reader.o.payload.last):
                        m.next = "ASK_WORDS"
                        with m.If(without | reader.o.payload.error):
                            m.next = "PLACE"
            with m.State("ASK_WORDS"):
                m.d.comb += [
                    reader.i.valid.eq(1),
                    reader.i.payload.address.eq(place + SLOT_HEADER.size),
                    reader.i.payload.words.eq(header.words),
                ]
                with m.If(reader.i.ready):
                    m.next = "PLACE"
            with m.State("PLACE"):
                m.d.comb += [self.o.valid.eq(1), waits.eq(~self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "WORDS"
            with m.State("WORDS"):
                m.d.comb += [
                    self.o_data.valid.eq(reader.o.valid | without),
                    reader.o.ready.eq(self.o_data.ready & ~without),
                    waits.eq(self.o_data.valid & ~self.o_data.ready),
                ]
                with m.If(moves(self.o_data) & (reader.o.payload.last | without)):
                    m.next = "DROP"
            with m.State("DROP"):
                m.d.comb += drops.eq(1)
                m.next = "PICK"
        m.d.comb += self.quiet.eq(
            waits & picker.quiet & reader.quiet & ~moves(self.i) & ~self.done & ~clears
        )
        return m

    def _lists(self, m, die, drops):
        """A list of slots for each die. Returns the first of ``die``, which ``drops`` drops."""
        slots = program_slots(self._geometry)
        slot = len(self.i.payload.slot)
        ends = data.StructLayout({"first": slot, "last": slot})
        m.submodules.lists = lists = memory.Memory(
            shape=ends, depth=max(2, self._geometry.dies), init=[]
        )
        m.submodules.followers = followers = memory.Memory(shape=slot, depth=slots, init=[])
        put, joined, fed = lists.write_port(), *(lists.read_port(domain="comb") for _ in "01")
        follow, after = followers.write_port(), followers.read_port(domain="comb")
        order = self.i.payload
        joins = self.waiting.bit_select(order.die, 1)
        m.d.comb += [
            joined.addr.eq(order.die),
            fed.addr.eq(die),
            after.addr.eq(fed.data.first),
            follow.addr.eq(joined.data.last),
            follow.data.eq(order.slot),
            follow.en.eq(moves(self.i) & joins),
            put.addr.eq(order.die),
            put.en.eq(moves(self.i) | drops),
            put.data.first.eq(order.slot),
            put.data.last.eq(order.slot),
        ]
        with m.If(joins):
            m.d.comb += put.data.first.eq(joined.data.first)
        with m.If(moves(self.i)):
            m.d.sync += self.waiting.bit_select(order.die, 1).eq(1)
        with m.If(drops):
            m.d.comb += [
                put.addr.eq(die),
                put.data.first.eq(after.data),
                put.data.last.eq(fed.data.last),
            ]
            with m.If(fed.data.first == fed.data.last):
                m.d.sync += self.waiting.bit_select(die, 1).eq(0)
        return fed.data.first

    def _places(self, m, slot):
        """Row of the page in each slot, and whether it is spoiled. Returns those of ``slot``."""
        place = data.StructLayout({"row": ROW_BITS, "spoiled": 1})
        m.submodules.places = places = memory.Memory(
            shape=place, depth=program_slots(self._geometry), init=[]
        )
        put, got = places.write_port(), places.read_port(domain="comb")
        order = self.i.payload
        m.d.comb += [
            put.addr.eq(order.slot),
            put.data.row.eq(order.row),
            put.data.spoiled.eq(order.spoiled),
            put.en.eq(moves(self.i)),
            got.addr.eq(slot),
        ]
        return got.data.row, got.data.spoiled

    def _keys(self, m, die, row, drops, clears):
        """Counts the pages of each key, which ``drops`` drops one of. Returns: another may come.

        While it ``clears``, after a reset, all pages have to be waited for.
        """
        m.submodules.keys = keys = memory.Memory(
            shape=range(SAME_KEY + 1), depth=self._geometry.dies << KEY_BITS, init=[]
        )
        put, counted, asked = keys.write_port(), *(keys.read_port(domain="comb") for _ in "01")
        order = self.i.payload
        m.d.comb += [
            asked.addr.eq(Cat(self.asked_row[:KEY_BITS], self.asked_die)),
            self.asked_waits.eq((asked.data != 0) | clears),
            counted.addr.eq(Cat(order.row[:KEY_BITS], order.die)),
            put.en.eq(moves(self.i) | drops),
            put.data.eq(counted.data + 1),
            put.addr.eq(counted.addr),
        ]
        with m.If(drops):
            m.d.comb += [
                counted.addr.eq(Cat(row[:KEY_BITS], die)),
                put.data.eq(counted.data - 1),
            ]
        key = Signal(len(put.addr))
        with m.If(clears):
            m.d.comb += [put.en.eq(1), put.addr.eq(key), put.data.eq(0)]
            m.d.sync += [key.eq(key + 1), clears.eq(key != (self._geometry.dies << KEY_BITS) - 1)]
        return counted.data != SAME_KEY
