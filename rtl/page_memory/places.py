"""Where pages lie in the memory: one behind the other, by die and row, spare bytes with them."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..memory import request_layout
from ..memory_port import ADDRESS_BITS
from .door import task_layout

__all__ = ["Places", "channel_bytes"]


def channel_bytes(geometry):
    """Bytes of a channel's pages; those of the next channel follow."""
    return geometry.dies * geometry.rows * geometry.page_total


class Places(wiring.Component):
    """Turns pages into addresses: ``base + (die * rows + row) * page_total + 8 * column``.

    Latency 3, one in 4 clocks.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    base : In(48)
        Where the channel's pages begin, 8-byte aligned. Does not change while any are asked for.
    i : In(stream), ``task_layout()``
        A page that there is.
    o : Out(stream), ``request_layout()``
        Its ``words`` from ``column`` on.
    """

    def __init__(self, geometry):
        self._geometry = geometry
        super().__init__(
            {
                "base": In(ADDRESS_BITS),
                "i": In(stream.Signature(task_layout(geometry.dies))),
                "o": Out(stream.Signature(request_layout())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self._geometry
        task = Signal(task_layout(g.dies))
        page = Signal(range(g.dies * g.rows))
        word = Signal(range(g.dies * g.rows * g.page_words))
        m.d.comb += [
            self.o.payload.address.eq(self.base + Cat(Const(0, 3), word)),
            self.o.payload.words.eq(task.words),
        ]
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += task.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "PAGE"
            with m.State("PAGE"):
                m.d.sync += page.eq(task.die * g.rows + task.row)
                m.next = "WORD"
            with m.State("WORD"):
                m.d.sync += word.eq(page * g.page_words + task.column)
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m
