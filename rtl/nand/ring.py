"""A small queue with an asynchronous read: nothing in it moves but on a transfer.

Unlike a queue with a registered output it can say at once whether it holds something, and it never
changes by itself, which makes idle skipping exact. Latency 1.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Ring"]


class Ring(wiring.Component):
    """First in, first out, for a few entries (distributed memory).

    Parameters
    ----------
    shape : ShapeLike
        Payload.
    depth : int
        Entries, 2..64.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    level : Out(range(depth + 1))
        Entries held.
    """

    def __init__(self, shape, *, depth):
        if not 2 <= depth <= 64:
            raise ValueError(f"a ring of depth {depth} is not possible: choose 2..64")
        self._shape = shape
        self._depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = memory.Memory(shape=self._shape, depth=self._depth, init=[])
        write = rows.write_port()
        read = rows.read_port(domain="comb")
        last = self._depth - 1
        w_row = Signal(range(self._depth))
        r_row = Signal(range(self._depth))
        push = self.i.valid & self.i.ready
        pop = self.o.valid & self.o.ready
        m.d.comb += [
            self.i.ready.eq(self.level != self._depth),
            self.o.valid.eq(self.level != 0),
            write.addr.eq(w_row),
            write.data.eq(self.i.payload),
            write.en.eq(push),
            read.addr.eq(r_row),
            self.o.payload.eq(read.data),
        ]
        with m.If(push):
            m.d.sync += w_row.eq(Mux(w_row == last, 0, w_row + 1))
        with m.If(pop):
            m.d.sync += r_row.eq(Mux(r_row == last, 0, r_row + 1))
        with m.If(push & ~pop):
            m.d.sync += self.level.eq(self.level + 1)
        with m.Elif(pop & ~push):
            m.d.sync += self.level.eq(self.level - 1)
        return m
