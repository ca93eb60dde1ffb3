"""The contract of a width converter that packs ``count`` items into one word.

::

    i.item  a b c d e f g h        o.items  [a b c d] [e f g h]
    i.meta  . . . 1 . . . 2        o.meta        1         2

- Items leave in order, ``count`` a word, the first in the lowest place; with the last one's meta.
- ``o`` is held until taken and valid one clock after the last item of its word.
- It takes an item in every clock, unless the item completes a word while the one before waits.
"""

from amaranth.hdl import Assert, Cover, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tests.formal.observers import Passage, assert_held, assume_held, taken
from tests.formal.probe import Probe

__all__ = ["PackerContract"]


class PackerContract(wiring.Component):
    """A packer and the assertions around it. One item is followed, and one meta.

    Parameters
    ----------
    component : wiring.Component
        Has streams ``i`` {item, meta} and ``o`` {items, meta}.
    count : int
    invariants : callable, optional
        ``invariants(probe, place, followed, slot, payload)`` gives a list of Values. ``place`` is
        the number of items of the word that is not complete; of them, if ``followed``, the one in
        ``slot`` must be ``payload``.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    choose_item, choose_meta : In(1)
    """

    def __init__(self, component, *, count, invariants=None):
        self._component = component
        self._count = count
        self._invariants = invariants
        super().__init__(
            {
                "i": In(component.i.signature.flip()),
                "o": Out(component.o.signature),
                "choose_item": In(1),
                "choose_meta": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        component, count = self._component, self._count
        probe = Probe(component)
        m.submodules.component = probe.fragment
        wiring.connect(m, wiring.flipped(self.i), component.i)
        wiring.connect(m, component.o, wiring.flipped(self.o))
        assume_held(m, self.i)
        assert_held(m, self.o)

        place = Signal(range(count))
        completes = Signal()
        m.d.comb += completes.eq(taken(self.i) & (place == count - 1))
        with m.If(taken(self.i)):
            m.d.sync += place.eq(place + 1)
        with m.If(completes):
            m.d.sync += place.eq(0)
        m.d.comb += [
            Assert(place < count),
            Assert(self.i.ready | (place == count - 1) & self.o.valid),
        ]

        # words, by what travels beside them
        width = len(Value.cast(self.i.payload.meta))
        m.submodules.words = words = Passage(width, capacity=1)
        m.d.comb += [
            words.choose.eq(self.choose_meta),
            words.enters.eq(completes),
            words.i_payload.eq(self.i.payload.meta),
            words.o_valid.eq(self.o.valid),
            words.leaves.eq(taken(self.o)),
            words.o_payload.eq(self.o.payload.meta),
            Assert(self.o.valid == words.inside),
        ]
        self._follow_item(m, probe, place, completes)
        return m

    def _follow_item(self, m, probe, place, completes):
        followed, complete = Signal(), Signal()
        slot = Signal.like(place)
        payload = Signal.like(Value.cast(self.i.payload.item))
        with m.If(~followed & taken(self.i) & self.choose_item):
            m.d.sync += [
                followed.eq(1),
                complete.eq(completes),
                slot.eq(place),
                payload.eq(self.i.payload.item),
            ]
        with m.If(followed & ~complete):
            m.d.comb += Assert(slot < place)
            m.d.sync += complete.eq(completes)
        with m.If(followed & complete):
            items = Value.cast(self.o.payload.items)
            m.d.comb += [
                Assert(self.o.valid),
                Assert(items.word_select(slot, len(payload)) == payload),
                Cover(self.o.ready),
            ]
            with m.If(self.o.ready):
                m.d.sync += followed.eq(0)
        if self._invariants:
            facts = self._invariants(probe, place, followed & ~complete, slot, payload)
            m.d.comb += map(Assert, facts)
