"""What the firmware should hear of the flash: failed programs, pages read again, blocks read often.

One event at a time stands at ``event`` until the firmware takes it. Failed programs wait in their
queue. A page that was read again while another of its channel waits is not told of; it is counted
all the same.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS
from hls_attention.streams import Arbiter, moves

from .pages.reader import again_layout
from .read_counts import block_layout
from .tables import program_slots

__all__ = ["Health", "event_layout"]


def event_layout():
    """An event as the firmware reads it: registers EVENT and EVENT_ROW."""
    return data.StructLayout(
        {
            "number": 8,  # slot of the program that failed, or channel of the page or block
            "level": 3,  # last read-retry level
            "lost": 1,  # a codeword was given up
            "reserved": 17,
            "often": 1,  # a block was read too often
            "again": 1,  # a page was read again; neither: a program failed
            "valid": 1,
            "row": ROW_BITS,
            "die": 8,
        }
    )


class Health(wiring.Component):
    """Collects events.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    i_failed : In(stream), a slot
    i_again : In(stream).array(channels), `rtl.pages.reader.again_layout`
    i_often : In(stream).array(channels), `rtl.read_counts.block_layout`
    event : Out(``event_layout()``)
    taken : In(1)
        The firmware has seen the event.
    quiet : Out(1)
    """

    def __init__(self, geometry):
        self._geometry = geometry
        again = stream.Signature(again_layout(geometry.dies))
        super().__init__(
            {
                "i_failed": In(stream.Signature(ceil_log2(program_slots(geometry)))),
                "i_again": In(again).array(geometry.channels),
                "i_often": In(stream.Signature(block_layout(geometry))).array(geometry.channels),
                "event": Out(event_layout()),
                "taken": In(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry, event = self._geometry, self.event
        m.submodules.agains = agains = Arbiter(
            again_layout(geometry.dies), inputs=geometry.channels
        )
        for mine, port in zip(self.i_again, agains.i, strict=True):
            connect(m, flipped(mine), port)
        again = agains.o
        m.submodules.oftens = oftens = Arbiter(block_layout(geometry), inputs=geometry.channels)
        for mine, port in zip(self.i_often, oftens.i, strict=True):
            connect(m, flipped(mine), port)
        often = oftens.o
        free = Signal()
        m.d.comb += [
            free.eq(~event.valid),
            self.i_failed.ready.eq(free),
            again.ready.eq(free & ~self.i_failed.valid),
            often.ready.eq(free & ~self.i_failed.valid & ~again.valid),
            self.quiet.eq(
                ~moves(self.i_failed)
                & ~moves(again)
                & ~moves(often)
                & ~self.taken
                & ~Cat(moves(port) for port in (*self.i_again, *self.i_often)).any()
            ),
        ]
        with m.If(self.taken):
            m.d.sync += event.valid.eq(0)
        with m.If(moves(self.i_failed)):
            m.d.sync += [
                event.valid.eq(1),
                event.again.eq(0),
                event.often.eq(0),
                event.number.eq(self.i_failed.payload),
            ]
        with m.If(moves(again)):
            m.d.sync += [
                event.valid.eq(1),
                event.again.eq(1),
                event.often.eq(0),
                event.number.eq(agains.source),
                event.level.eq(again.payload.level),
                event.lost.eq(again.payload.lost),
                event.row.eq(again.payload.row),
                event.die.eq(again.payload.die),
            ]
        with m.If(moves(often)):
            m.d.sync += [
                event.valid.eq(1),
                event.again.eq(0),
                event.often.eq(1),
                event.number.eq(oftens.source),
                event.row.eq(often.payload.block * geometry.pages),
                event.die.eq(often.payload.die),
            ]
        return m
