"""The contract of a join: one transfer of every input makes one at the output, their sum.

::

    i[0] --.
    i[1] --+--> join --> o          o = i[0] + i[1] + ...
     ... --'

- All inputs are taken in the same clock: one transfer per set.
- Every set leaves once, in order, as its sum; ``o`` is held until taken.
- A set shows at ``o`` after exactly ``latency`` clocks without backpressure; it moves on whenever
  ``o`` is taken or shows nothing.
"""

from amaranth.hdl import Assert, Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tests.formal.contents import in_step
from tests.formal.observers import Passage, assert_held, assert_latency, assume_held, taken
from tests.formal.probe import Probe

__all__ = ["JoinContract"]

BITS = 2
"""Low bits of the numbers: those of a sum depend on those of its terms alone."""


class JoinContract(wiring.Component):
    """A join and the assertions around it.

    Parameters
    ----------
    component : wiring.Component
        Has streams ``i``, an array, and ``o``.
    inputs, latency : int
    contents : callable, optional
        ``contents(probe)`` gives a list of (valid, sum of what is there) per rank, the one at the
        output first.

    Members
    -------
    i : In(stream) array
    o : Out(stream)
    choose : In(1)
        Chooses the set that is followed.
    """

    def __init__(self, component, *, inputs, latency, contents=None):
        self._component = component
        self._inputs = inputs
        self._latency = latency
        self._contents = contents
        super().__init__(
            {
                "i": In(stream.Signature(BITS)).array(inputs),
                "o": Out(stream.Signature(BITS)),
                "choose": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        component = self._component
        probe = Probe(component)
        m.submodules.component = probe.fragment
        for mine, its in zip(self.i, component.i):
            m.d.comb += [
                its.payload.eq(mine.payload),
                its.valid.eq(mine.valid),
                mine.ready.eq(its.ready),
            ]
            assume_held(m, mine)
        m.d.comb += [
            self.o.payload.eq(component.o.payload),
            self.o.valid.eq(component.o.valid),
            component.o.ready.eq(self.o.ready),
        ]
        assert_held(m, self.o)

        enter = Cat(taken(port) for port in self.i)
        complete = Cat(port.valid for port in self.i).all()
        m.d.comb += [
            Assert(enter.all() | ~enter.any()),
            Assert(enter.any() | ~complete | (self.o.valid & ~self.o.ready)),
        ]
        m.submodules.passage = passage = Passage(BITS, capacity=self._latency)
        m.d.comb += [
            passage.choose.eq(self.choose),
            passage.enters.eq(enter.any()),
            passage.i_payload.eq(sum(port.payload for port in self.i)),
            passage.o_valid.eq(self.o.valid),
            passage.leaves.eq(taken(self.o)),
            passage.o_payload.eq(self.o.payload),
        ]
        age = assert_latency(m, passage, self.o, self._latency)
        if self._contents:
            passage.agrees(m, in_step(self._contents(probe), passage, age))
        return m
