"""The contract of an arbiter of bursts.

::

    i[0] --.
    i[1] --+--> arbiter --> o, source
     ... --'

- What enters at a port leaves, exactly once, unchanged, in the order of the port, marked with it.
- ``o`` and ``source`` are held until taken; ``o`` is valid one clock after a transfer.
- A burst is not interrupted, neither at the inputs nor at the output.
- It moves on: with room at the output, the port in a burst is ready, or without one some port that
  is valid.
- It is fair: while a port waits, at most ``inputs - 1`` bursts of others end.
"""

from dataclasses import dataclass

from amaranth.hdl import Assert, Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tests.formal.observers import Passage, assert_held, assume_held, taken
from tests.formal.probe import Probe

__all__ = ["ArbiterContract", "PAYLOAD_BITS", "ends_burst"]

PAYLOAD_BITS = 2
"""One bit that ends a burst, one that is moved."""


def ends_burst(payload):
    """For the parameter ``last`` of the arbiter."""
    return payload[0]


@dataclass
class Watched:
    """What the contract remembers of the ports, for invariants.

    Attributes
    ----------
    open, owner : Value
        A burst has begun at the inputs and not ended; its port.
    passed : list of Value
        Per port: bursts of others that ended while it waited.
    """

    open: Value
    owner: Value
    passed: list


class ArbiterContract(wiring.Component):
    """An arbiter and the assertions around it.

    Parameters
    ----------
    component : wiring.Component
        Has streams ``i``, an array, ``o``, and ``source``.
    inputs : int
    bursts : bool
        Bursts end by `ends_burst`; else each transfer is one.
    invariants : callable, optional
        ``invariants(probe, watched)`` gives a list of Values.

    Members
    -------
    i : In(stream) array
    o : Out(stream)
    source : Out
    choose : In(inputs)
        Per port: chooses the transfer that is followed.
    """

    def __init__(self, component, *, inputs, bursts, invariants=None):
        self._component = component
        self._inputs = inputs
        self._bursts = bursts
        self._invariants = invariants
        super().__init__(
            {
                "i": In(stream.Signature(PAYLOAD_BITS)).array(inputs),
                "o": Out(stream.Signature(PAYLOAD_BITS)),
                "source": Out(len(component.source)),
                "choose": In(inputs),
            }
        )

    def elaborate(self, platform):
        m = Module()
        component, inputs = self._component, self._inputs
        probe = Probe(component)
        m.submodules.component = probe.fragment
        for mine, its in zip(self.i, component.i):
            wiring.connect(m, wiring.flipped(mine), its)
            assume_held(m, mine)
        wiring.connect(m, component.o, wiring.flipped(self.o))
        m.d.comb += self.source.eq(component.source)
        assert_held(m, self.o, self.source)

        enter = Cat(taken(port) for port in self.i)
        end = Cat(taken(port) & self._ends(port) for port in self.i)
        open_, owner = self._unbroken(m, enter, end)
        passed = [self._fair(m, index, enter, end) for index in range(inputs)]
        inside = [self._arrives(m, index, enter[index]) for index in range(inputs)]
        m.d.comb += Assert(sum(inside, Value.cast(0)) == self.o.valid)

        room = self.o.ready | ~self.o.valid
        with m.If(open_):
            with m.Switch(owner):
                for index, port in enumerate(self.i):
                    with m.Case(index):
                        m.d.comb += Assert(port.ready == room)
        with m.Elif(room & Cat(port.valid for port in self.i).any()):
            m.d.comb += Assert(enter.any())
        if self._invariants:
            m.d.comb += map(Assert, self._invariants(probe, Watched(open_, owner, passed)))
        return m

    def _ends(self, port):
        return ends_burst(port.payload) if self._bursts else Const(1)

    def _unbroken(self, m, enter, end):
        """Bursts stay whole where they enter and where they leave."""
        open_, owner = Signal(), Signal.like(self.source)
        for index in range(self._inputs):
            with m.If(enter[index]):
                m.d.comb += Assert(~open_ | (owner == index))
                m.d.sync += [open_.eq(~end[index]), owner.eq(index)]
        leaving, leaver = Signal(), Signal.like(self.source)
        with m.If(self.o.valid):
            m.d.comb += Assert(~leaving | (leaver == self.source))
            # the burst at the output is the one that entered last
            m.d.comb += Assert((owner == self.source) & (open_ == ~self._ends(self.o)))
            with m.If(self.o.ready):
                m.d.sync += [leaving.eq(~self._ends(self.o)), leaver.eq(self.source)]
        with m.Else():
            m.d.comb += Assert((leaving == open_) & (~open_ | (leaver == owner)))
        return open_, owner

    def _fair(self, m, index, enter, end):
        """A port that waits sees few bursts of others end."""
        passed = Signal(range(self._inputs + 1), name=f"passed_{index}")
        port = self.i[index]
        with m.If(~port.valid | port.ready):
            m.d.sync += passed.eq(0)
        with m.Elif(end.any()):
            m.d.sync += passed.eq(passed + 1)
        m.d.comb += Assert(passed <= self._inputs - 1)
        return passed

    def _arrives(self, m, index, enters):
        """What enters at a port leaves with its mark."""
        m.submodules[f"passage_{index}"] = passage = Passage(PAYLOAD_BITS, capacity=1)
        mine = self.o.valid & (self.source == index)
        m.d.comb += [
            passage.choose.eq(self.choose[index]),
            passage.enters.eq(enters),
            passage.i_payload.eq(self.i[index].payload),
            passage.o_valid.eq(mine),
            passage.leaves.eq(mine & self.o.ready),
            passage.o_payload.eq(self.o.payload),
            Assert(passage.inside == mine),
        ]
        return passage.inside
