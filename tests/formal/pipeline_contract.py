"""The contract of a kernel's pipeline, with its metadata as the payload.

::

    i {numbers, meta} --> rank 1 --> ... --> rank n --> o {results, meta}

- Every transfer leaves once, in order, with its metadata; ``o`` is held until taken.
- It shows at ``o`` after exactly ``latency`` clocks without backpressure; all ranks move whenever
  ``o`` is taken or shows nothing, and then ``i`` is ready.
- ``busy`` is on while anything is inside.

That the results belong to the numbers is checked against numpy (tests/hls_attention); here they
are any numbers at all.
"""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tests.formal.contents import in_step
from tests.formal.observers import Passage, assert_held, assert_latency, assume_held, taken
from tests.formal.probe import Probe

__all__ = ["PipelineContract"]


class PipelineContract(wiring.Component):
    """A pipeline and the assertions around it.

    Parameters
    ----------
    component : hls_attention.pipeline.Pipeline
        With ``meta``.
    contents : callable, optional
        ``contents(probe)`` gives a list of (valid, metadata) per rank, the one at the output first.

    Members
    -------
    i : In(stream), metadata
    o : Out(stream), metadata
    choose : In(1)
        Chooses the transfer that is followed.
    """

    def __init__(self, component, *, contents=None):
        self._component = component
        self._contents = contents
        self._width = len(Value.cast(component.i.payload.meta))
        super().__init__(
            {
                "i": In(stream.Signature(self._width)),
                "o": Out(stream.Signature(self._width)),
                "choose": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        component, latency = self._component, self._component.latency
        probe = Probe(component)
        m.submodules.component = probe.fragment
        for name in component.kernel.inputs:
            number = component.i.payload[name]
            m.d.comb += number.eq(AnySeq(len(Value.cast(number))))
        m.d.comb += [
            component.i.payload.meta.eq(self.i.payload),
            component.i.valid.eq(self.i.valid),
            self.i.ready.eq(component.i.ready),
            self.o.payload.eq(component.o.payload.meta),
            self.o.valid.eq(component.o.valid),
            component.o.ready.eq(self.o.ready),
        ]
        assume_held(m, self.i)
        assert_held(m, self.o)

        m.submodules.passage = passage = Passage(self._width, capacity=latency)
        m.d.comb += [
            passage.choose.eq(self.choose),
            passage.enters.eq(taken(self.i)),
            passage.i_payload.eq(self.i.payload),
            passage.o_valid.eq(self.o.valid),
            passage.leaves.eq(taken(self.o)),
            passage.o_payload.eq(self.o.payload),
            Assert(self.i.ready == (self.o.ready | ~self.o.valid)),
            Assert(component.busy == (passage.inside != 0)),
        ]
        age = assert_latency(m, passage, self.o, latency)
        if self._contents:
            passage.agrees(m, in_step(self._contents(probe), passage, age))
        return m
