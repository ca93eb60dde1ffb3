"""The stream contract as a component: what holds at ``o`` if a producer keeps its side at ``i``.

::

    any producer that keeps the rules --i--> component --o--> any consumer
                                     \\                 /
                                      what went in comes out

- Once valid, ``o`` shows the same payload until it is taken.
- Every payload leaves exactly once, unchanged, in order (`tests.formal.observers.Passage`).
- It moves on: ``o`` is valid ``latency`` clocks after something entered an empty component, or
  after the one before left, at the latest, and an empty component is ready as soon, whatever
  ``o.ready`` does. So valid does not wait for ready.
"""

from amaranth.hdl import Assert, Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tests.formal.observers import Passage, Patience, assert_held, assume_held, taken
from tests.formal.probe import Probe

__all__ = ["StreamContract"]


class StreamContract(wiring.Component):
    """A component with one input and one output stream, and the assertions around it.

    Parameters
    ----------
    component : wiring.Component
        Has streams ``i`` and ``o``. A member ``level``, if there is one, counts what is inside.
    capacity : int
        Most payloads inside.
    latency : int
        Clocks from a transfer at ``i`` of an empty component to ``o.valid``.
    contents : callable, optional
        ``contents(probe)`` gives the `tests.formal.contents.Contents`, which make the
        contract inductive.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    choose : In(1)
        Chooses the transfer that is followed.
    """

    def __init__(self, component, *, capacity, latency, contents=None):
        self._component = component
        self._capacity = capacity
        self._latency = latency
        self._contents = contents
        self._width = len(Value.cast(component.i.payload))
        super().__init__(
            {
                "i": In(stream.Signature(self._width)),
                "o": Out(stream.Signature(self._width)),
                "choose": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        component = self._component
        probe = Probe(component)
        m.submodules.component = probe.fragment
        m.d.comb += [
            Value.cast(component.i.payload).eq(self.i.payload),
            component.i.valid.eq(self.i.valid),
            self.i.ready.eq(component.i.ready),
            self.o.payload.eq(component.o.payload),
            self.o.valid.eq(component.o.valid),
            component.o.ready.eq(self.o.ready),
        ]
        assume_held(m, self.i)
        assert_held(m, self.o)

        m.submodules.passage = passage = Passage(self._width, capacity=self._capacity)
        m.d.comb += [
            passage.choose.eq(self.choose),
            passage.enters.eq(taken(self.i)),
            passage.i_payload.eq(self.i.payload),
            passage.o_valid.eq(self.o.valid),
            passage.leaves.eq(taken(self.o)),
            passage.o_payload.eq(self.o.payload),
        ]
        if "level" in component.signature.members:
            m.d.comb += Assert(component.level == passage.inside)
        if self._contents:
            passage.agrees(m, self._contents(probe))

        m.submodules.speaks = speaks = Patience(self._latency - 1)
        m.submodules.listens = listens = Patience(self._latency - 1)
        m.d.comb += [
            speaks.waits.eq((passage.inside != 0) & ~self.o.valid),
            listens.waits.eq((passage.inside == 0) & ~self.i.ready),
        ]
        return m
