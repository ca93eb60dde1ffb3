"""The stream contract as a component: what holds at ``o`` if a producer keeps its side at ``i``.

::

    any producer that keeps the rules --i--> component --o--> any consumer
                                     \\                 /
                                      what went in comes out

One transfer, chosen freely by the solver, is followed through the component: as many payloads must
leave before it as were inside when it entered, and then exactly its payload. Since any transfer may
be the chosen one, nothing is lost, doubled, changed or overtaken.
"""

from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

__all__ = ["StreamContract"]


class StreamContract(wiring.Component):
    """A component with one input and one output stream, and the assertions around it.

    Parameters
    ----------
    component : wiring.Component
        Has streams ``i`` and ``o`` of the same payload.
    width : int
        Bits of the payload.
    capacity : int
        Most payloads inside.
    level : Value, optional
        Payloads inside, as the component itself counts them: proved to be right.
    latency : int
        Most clocks from the first payload inside to ``o.valid``, whatever ``o.ready`` does: so
        valid does not wait for ready. An empty component is ready within as many clocks.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    choose : In(1)
        Chooses the transfer that is followed.
    """

    def __init__(self, component, *, width, capacity, latency, level=None):
        self._component = component
        self._capacity = capacity
        self._latency = latency
        self._level = level
        super().__init__(
            {
                "i": In(stream.Signature(width)),
                "o": Out(stream.Signature(width)),
                "choose": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = component = self._component
        connect(m, flipped(self.i), component.i)
        connect(m, component.o, flipped(self.o))
        enters = Signal()
        leaves = Signal()
        inside = Signal(range(self._capacity + 2))
        m.d.comb += [
            enters.eq(self.i.valid & self.i.ready),
            leaves.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += inside.eq(inside + enters - leaves)
        m.d.comb += [
            Assert(inside <= self._capacity),
            Assert(~self.o.valid | (inside != 0)),
        ]
        if self._level is not None:
            m.d.comb += Assert(self._level == inside)
        self._producer_holds(m)
        self._consumer_sees_it_held(m)
        self._chosen_comes_out(m, enters, leaves, inside)
        self._moves_on(m, inside)
        return m

    def _producer_holds(self, m):
        pending = Signal()
        payload = Signal.like(self.i.payload)
        m.d.sync += [pending.eq(0), payload.eq(0)]
        with m.If(self.i.valid & ~self.i.ready):
            m.d.sync += [pending.eq(1), payload.eq(self.i.payload)]
        with m.If(pending):
            m.d.comb += Assume(self.i.valid & (self.i.payload == payload))

    def _consumer_sees_it_held(self, m):
        pending = Signal()
        payload = Signal.like(self.o.payload)
        m.d.sync += [pending.eq(0), payload.eq(0)]
        with m.If(self.o.valid & ~self.o.ready):
            m.d.sync += [pending.eq(1), payload.eq(self.o.payload)]
        with m.If(pending):
            m.d.comb += Assert(self.o.valid & (self.o.payload == payload))

    def _chosen_comes_out(self, m, enters, leaves, inside):
        chosen = Signal()
        payload = Signal.like(self.i.payload)
        ahead = Signal.like(inside)
        with m.If(~chosen & enters & self.choose):
            m.d.sync += [chosen.eq(1), payload.eq(self.i.payload), ahead.eq(inside - leaves)]
        with m.If(chosen):
            m.d.comb += Assert(ahead < inside)
            with m.If(ahead == 0):
                m.d.comb += Assert(~self.o.valid | (self.o.payload == payload))
                with m.If(leaves):
                    m.d.sync += [chosen.eq(0), payload.eq(0)]
            with m.Elif(leaves):
                m.d.sync += ahead.eq(ahead - 1)

    def _moves_on(self, m, inside):
        silent = Signal(range(self._latency + 2))
        refusing = Signal(range(self._latency + 2))
        with m.If(self.o.valid | (inside == 0)):
            m.d.sync += silent.eq(0)
        with m.Else():
            m.d.sync += silent.eq(silent + 1)
        with m.If(self.i.ready | (inside != 0)):
            m.d.sync += refusing.eq(0)
        with m.Else():
            m.d.sync += refusing.eq(refusing + 1)
        m.d.comb += [Assert(silent <= self._latency), Assert(refusing <= self._latency)]
