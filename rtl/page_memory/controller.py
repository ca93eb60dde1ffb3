"""The controller of a channel whose pages lie in a memory: operations in, bursts out, and back.

::

    ops ---> Door --+--> PageReads  ==ar, r==> pages        words --> r_data
                    |       | reading
                    +--> PageWrites ==aw, w, b==> pages     --> done
    w_data ---------------------^

A *die* is a part of the memory that keeps the order of its operations; nothing has to be sensed, so
there are no times and no status to ask for. Pages lie as on flash: codewords, with their check
bytes (docs/page_memory.md).

- READ gives words as they lie there. Errors of the memory mark the words that they are of.
- PROGRAM and ERASE: see `rtl.page_memory.writes`. They fail if the memory answers any of their
  bursts with an error; what then lies there may be old, new or a part of both.
- RESET, STATUS and READ_RETRY end at once: ready, not write-protected. There are no levels.
- READ_ID is refused.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.streams import moves

from ..memory_port import ADDRESS_BITS, MemoryPortSignature
from ..nand.operations import Activity, done_layout, operation_layout, read_layout
from .door import Door
from .reads import OWED, PageReads
from .writes import WRITES_AHEAD, PageWrites

__all__ = ["MemoryController"]

NO_EVENT = 0xFFFF_FFFF


class MemoryController(wiring.Component):
    """Controller of one channel, with the streams of `rtl.nand.controller.ChannelController`.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    depth : int
        READs taken ahead, 1..256.

    Members
    -------
    ops, w_data, r_data, done
        As there.
    base : In(48)
        Byte address of the channel's pages, 8-byte aligned; `rtl.page_memory.places` says where
        each one lies.
    pages : Out(MemoryPortSignature)
        The memory.
    activity : Out(Activity)
        DATA: a word is moved from or to the memory; WAITING: one, or an answer, is waited for.
        There are no commands.
    page_read, page_programmed, block_erased : Out(1)
        One clock for each READ whose last word is taken, and for each PROGRAM and ERASE that has
        ended, if they were not refused.
    quiet : Out(1)
        Nothing in here changes until an input changes.
    skip : In(32), next_event : Out(32)
        There are no timers: not looked at, and all ones.
    """

    def __init__(self, geometry, depth):
        if not 1 <= depth <= 256:
            raise ValueError(f"depth = {depth} is not possible: choose 1..256 page reads")
        self._geometry = geometry
        self._depth = depth
        dies = geometry.dies
        super().__init__(
            {
                "ops": In(stream.Signature(operation_layout(dies))),
                "w_data": In(stream.Signature(64)),
                "r_data": Out(stream.Signature(read_layout())),
                "done": Out(stream.Signature(done_layout(dies))),
                "base": In(ADDRESS_BITS),
                "pages": Out(MemoryPortSignature()),
                "activity": Out(Activity),
                "page_read": Out(1),
                "page_programmed": Out(1),
                "block_erased": Out(1),
                "quiet": Out(1),
                "skip": In(32),
                "next_event": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry, pages = self._geometry, self.pages
        m.submodules.door = door = Door(
            geometry, reads=self._depth + OWED + 2, writes=WRITES_AHEAD + 2
        )
        m.submodules.reads = reads = PageReads(geometry, self._depth)
        m.submodules.writes = writes = PageWrites(geometry)
        connect(m, flipped(self.ops), door.ops)
        connect(m, door.o_reads, reads.i)
        connect(m, door.o_writes, writes.i)
        connect(m, reads.o, flipped(self.r_data))
        connect(m, flipped(self.w_data), writes.w_data)
        connect(m, writes.done, flipped(self.done))
        connect(m, reads.port.ar, flipped(pages.ar))
        connect(m, flipped(pages.r), reads.port.r)
        connect(m, writes.port.aw, flipped(pages.aw))
        connect(m, writes.port.w, flipped(pages.w))
        connect(m, flipped(pages.b), writes.port.b)
        m.d.comb += [
            reads.base.eq(self.base),
            writes.base.eq(self.base),
            writes.reading.eq(door.reading),
            door.read_ends.eq(reads.ends),
            door.read_die.eq(reads.ends_die),
            door.write_ends.eq(writes.ends),
            door.write_die.eq(writes.ends_die),
            self.page_read.eq(reads.ends),
            self.page_programmed.eq(writes.page_programmed),
            self.block_erased.eq(writes.block_erased),
            self.quiet.eq(reads.quiet & writes.quiet),
            self.next_event.eq(NO_EVENT),
        ]
        moved = Signal()
        m.d.comb += moved.eq(moves(pages.r) | moves(pages.w))
        with m.If(moved):
            m.d.comb += self.activity.eq(Activity.DATA)
        with m.Elif(reads.waits | writes.waits):
            m.d.comb += self.activity.eq(Activity.WAITING)
        return m
