"""The data pointer of a command: PRP1, PRP2 and page lists turned into address ranges.

All page addresses of a command are loaded and checked against the window before anything moves, so
a bad pointer is refused whole::

    start -> (list read through `port`) -> page table in RAM -> loaded / fault
    i {offset, words} -> pieces inside pages -> o {address, words}
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.verilog import Ram

from .memory import WORDS_BITS, BurstReader, request_layout
from .memory_port import ADDRESS_BITS, MemoryPortSignature

__all__ = ["DataPointer", "PAGES_MAX"]

PAGES_MAX = 513
"""PRP1 and one list page of 512 entries."""


class DataPointer(wiring.Component):
    """Page table of the command in execution.

    Members
    -------
    prp1, prp2, bytes : In
        Pointer pair and length, held from ``start`` on; at most 513 pages.
    window_base, window_end : In(48)
        Page-aligned range that every page must lie in.
    start : In(1)
        Loads the table.
    loaded, misaligned, outside, unreadable : Out(1)
        ``loaded`` is high from the end of loading to the next ``start``; the others say why the
        pointer must be refused (``unreadable``: host memory did not give the list).
    i : In(stream), {offset, words}
        A range of the data; offset in bytes, multiple of 8.
    o : Out(stream), ``request_layout()``
        The same range as pieces that do not cross a page.
    port : Out(MemoryPortSignature)
        Reads the list.
    quiet : Out(1)
    """

    def __init__(self):
        super().__init__(
            {
                "prp1": In(64),
                "prp2": In(64),
                "bytes": In(32),
                "window_base": In(ADDRESS_BITS),
                "window_end": In(ADDRESS_BITS),
                "start": In(1),
                "loaded": Out(1),
                "misaligned": Out(1),
                "outside": Out(1),
                "unreadable": Out(1),
                "i": In(stream.Signature(data.StructLayout({"offset": 32, "words": WORDS_BITS}))),
                "o": Out(stream.Signature(request_layout())),
                "port": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = Ram(width=ADDRESS_BITS - 12, depth=PAGES_MAX)
        m.submodules.reader = reader = BurstReader(depth=32, burst=32)
        connect(m, reader.port, flipped(self.port))

        pages = Signal(11)
        index = Signal(11)
        entry = Signal(64)
        check = Signal()
        m.d.comb += [
            pages.eq((self.bytes + 4095) >> 12),
            table.w_addr.eq(index),
            table.w_data.eq(entry[12:ADDRESS_BITS]),
            table.w_en.eq(check),
        ]
        with m.If(check):
            m.d.sync += index.eq(index + 1)
            with m.If(entry[:12].any()):
                m.d.sync += self.misaligned.eq(1)
            with m.If((entry < self.window_base) | (entry + 4096 > self.window_end)):
                m.d.sync += self.outside.eq(1)

        offset = Signal(32)
        left = Signal(WORDS_BITS)
        room = Signal(10)
        piece = Signal(10)
        m.d.comb += [
            table.r_addr.eq(offset >> 12),
            room.eq(512 - offset[3:12]),
            piece.eq(Mux(left < room, left, room)),
            self.o.payload.address.eq((table.r_data << 12) | offset[:12]),
            self.o.payload.words.eq(piece),
        ]
        with m.FSM(name="state"):
            with m.State("READY"):
                m.d.comb += self.quiet.eq(~self.start & ~self.i.valid)
                with m.If(self.start):
                    m.d.sync += [
                        index.eq(0),
                        self.loaded.eq(0),
                        self.misaligned.eq(0),
                        self.outside.eq(0),
                        self.unreadable.eq(0),
                    ]
                    m.next = "FIRST"
                with m.Elif(self.i.valid):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += [offset.eq(self.i.payload.offset), left.eq(self.i.payload.words)]
                    m.next = "LOOKUP"
            with m.State("FIRST"):
                m.d.comb += [entry.eq(self.prp1), check.eq(1)]
                with m.If(pages <= 1):
                    m.next = "LOADED"
                with m.Elif(pages == 2):
                    m.next = "SECOND"
                with m.Elif(self.prp2[:12].any()):
                    m.d.sync += self.misaligned.eq(1)
                    m.next = "LOADED"
                with m.Elif((self.prp2 < self.window_base) | (self.prp2 + 4096 > self.window_end)):
                    m.d.sync += self.outside.eq(1)
                    m.next = "LOADED"
                with m.Else():
                    m.next = "LIST"
            with m.State("SECOND"):
                m.d.comb += [entry.eq(self.prp2), check.eq(1)]
                m.next = "LOADED"
            with m.State("LIST"):
                m.d.comb += [
                    reader.i.valid.eq(1),
                    reader.i.payload.address.eq(self.prp2),
                    reader.i.payload.words.eq(pages - 1),
                ]
                with m.If(reader.i.ready):
                    m.next = "ENTRIES"
            with m.State("ENTRIES"):
                m.d.comb += [
                    entry.eq(reader.o.payload.data),
                    reader.o.ready.eq(1),
                    check.eq(reader.o.valid),
                ]
                with m.If(reader.o.valid & reader.o.payload.error):
                    m.d.sync += self.unreadable.eq(1)
                with m.If(reader.o.valid & reader.o.payload.last):
                    m.next = "LOADED"
            with m.State("LOADED"):
                m.d.sync += self.loaded.eq(1)
                m.next = "READY"
            with m.State("LOOKUP"):
                m.d.comb += table.r_en.eq(1)
                m.next = "PIECE"
            with m.State("PIECE"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.quiet.eq(~self.o.ready),
                ]
                with m.If(self.o.ready):
                    m.d.sync += [offset.eq(offset + (piece << 3)), left.eq(left - piece)]
                    with m.If(left == piece):
                        m.next = "READY"
                    with m.Else():
                        m.next = "LOOKUP"
        return m
