"""The contract of the command buffer: a memory filled from its start, read as ranges.

::

    i, clear --> rows 0, 1, 2, ... --> i_range {address, words} --> o: row address, address + 1, ...

- A range brings exactly its words, in order, each as last written; the next range's come after.
- ``o`` is held until taken, and valid ``LATENCY`` clocks after a range was taken by an idle buffer.
- Words to be stored are always accepted.

Assumed: ranges lie inside the buffer, and a word is not written while it waits to be read.
"""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tests.formal import contents
from tests.formal.observers import Patience, assert_held, assume_held, taken
from tests.formal.probe import Probe

__all__ = ["CommandBufferContract"]

LATENCY = 4


class CommandBufferContract(wiring.Component):
    """A command buffer and the assertions around it.

    One row, any, is watched as it is written; one word of a range that reads it is followed.

    Parameters
    ----------
    component : rtl.command_buffer.CommandBuffer
    words : int
        A power of two.
    inside : bool
        Add the invariants.

    Members
    -------
    clear, i, i_range, o
        Of the component, with one bit of data.
    choose : In(1), nth : In
        Follows the ``nth`` word of the range that is taken now, if it is the watched row.
    """

    def __init__(self, component, *, words, inside=True):
        self._component = component
        self._bits = bits = len(component.i_range.payload.address)
        self._words = words
        self._inside = inside
        ranges = data.StructLayout({"address": bits, "words": bits + 1})
        super().__init__(
            {
                "clear": In(1),
                "i": In(stream.Signature(1)),
                "i_range": In(stream.Signature(ranges)),
                "o": Out(stream.Signature(1)),
                "choose": In(1),
                "nth": In(bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        component, bits, words = self._component, self._bits, self._words
        probe = Probe(component)
        m.submodules.component = probe.fragment
        wiring.connect(m, wiring.flipped(self.i_range), component.i_range)
        m.d.comb += [
            component.clear.eq(self.clear),
            component.i.valid.eq(self.i.valid),
            component.i.payload.eq(self.i.payload),
            self.i.ready.eq(component.i.ready),
            self.o.valid.eq(component.o.valid),
            self.o.payload.eq(component.o.payload[0]),
            component.o.ready.eq(self.o.ready),
        ]
        assume_held(m, self.i_range)
        assert_held(m, self.o)
        wanted = self.i_range.payload
        m.d.comb += [
            Assert(self.i.ready),
            Assume(~self.i_range.valid | (wanted.address + wanted.words <= words)),
        ]

        # the watched row, as its writer sees it
        watched, content, place = Signal(bits), Signal(), Signal(bits)
        written = Signal()
        m.d.comb += [
            watched.eq(AnyConst(bits)),
            written.eq(self.i.valid & (place == watched)),
        ]
        with m.If(written):
            m.d.sync += content.eq(self.i.payload)
        with m.If(self.clear):
            m.d.sync += place.eq(0)
        with m.Elif(self.i.valid):
            m.d.sync += place.eq(place + 1)

        # words asked for and not yet out
        owed, ahead = Signal(range(2 * words + 16)), Signal(range(2 * words + 16))
        followed = Signal()
        begins = taken(self.i_range)
        leaves = taken(self.o)
        m.d.sync += owed.eq(owed + begins * wanted.words - leaves)
        m.d.comb += [
            Assert(~self.o.valid | (owed != 0)),
            Assume(~(followed & written)),
        ]
        with m.If(followed):
            m.d.comb += Assert(ahead < owed)
            with m.If(ahead == 0):
                m.d.comb += [
                    Assert(~self.o.valid | (self.o.payload == content)),
                    Cover(leaves & content),
                ]
                with m.If(leaves):
                    m.d.sync += followed.eq(0)
            with m.Elif(leaves):
                m.d.sync += ahead.eq(ahead - 1)
        with m.Elif(begins & self.choose & (self.nth < wanted.words)):
            with m.If((wanted.address + self.nth == watched) & ~written):
                m.d.sync += [followed.eq(1), ahead.eq(owed - leaves + self.nth)]

        m.submodules.speaks = speaks = Patience(LATENCY - 1)
        m.d.comb += [
            speaks.waits.eq((owed != 0) & ~self.o.valid),
            Assert(self.i_range.ready | (owed != 0)),
        ]
        if self._inside:
            m.d.comb += [
                Assert(probe["place"] == place),
                Assert(probe.row("ram.rows", watched)[0] == content),
            ]
            self._words_stand_in_line(m, probe, watched, content, owed, followed, ahead)
        return m

    def _words_stand_in_line(self, m, probe, watched, content, owed, followed, ahead):
        """From the output inwards: queue, the word on its way from the memory, rows to come."""
        address, left, arriving = probe["address"], probe["left"], probe["arriving"]
        queue = contents.queue(probe.inside("queue"))
        m.d.comb += map(Assert, queue.sound)
        m.d.comb += [
            Assert(owed == queue.level + arriving + left),
            Assert(left <= self._words),
            Assert((left == 0) | (address + left <= self._words)),
            Assert(queue.level + arriving <= 7),
            Assert(~arriving | probe.inside("queue").component.i.ready),
        ]
        with m.If(followed):
            to_come = ahead - queue.level - arriving
            with m.If(ahead < queue.level):
                m.d.comb += Assert(queue.at(ahead)[0] == content)
            with m.Elif(arriving & (ahead == queue.level)):
                m.d.comb += Assert(probe.inside("ram")["r_data"][0] == content)
            with m.Else():
                m.d.comb += Assert(address + to_come == watched)
