"""Control does not see payloads: two copies that get the same valid and ready behave the same.

::

    any payloads A --> copy A --> valid, ready, level, ... of A
    same valid, ready in both          ||  equal, for ever
    any payloads B --> copy B --> valid, ready, level, ... of B

It is why the other contracts may be proved with payloads of a bit or two.
"""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from tests.formal.probe import Probe

__all__ = ["BlindContract"]


class BlindContract(wiring.Component):
    """Two copies of a component.

    Parameters
    ----------
    make : callable
        Returns a new component; its members called ``payload`` are payloads.
    control : list of str
        Registers that must agree in both copies for the proof to be inductive, by path.
    seen : callable, optional
        Bits of a payload that control may see, such as the end of a burst.
    """

    def __init__(self, make, *, control, seen=None):
        self._copies = make(), make()
        self._control = control
        self._seen = seen
        first, _ = self._copies
        super().__init__(
            {
                "__".join(map(str, path)): In(member.shape)
                for path, member, _ in first.signature.flatten(first)
                if member.flow == In and path[-1] != "payload"
            }
        )

    def elaborate(self, platform):
        m = Module()
        probes = [Probe(copy) for copy in self._copies]
        m.submodules.a, m.submodules.b = (probe.fragment for probe in probes)
        ports = zip(*(copy.signature.flatten(copy) for copy in self._copies))
        for (path, member, a), (_, _, b) in ports:
            if member.flow == In and path[-1] == "payload":
                for port in (a, b):
                    value = Value.cast(port)
                    m.d.comb += value.eq(AnySeq(len(value)))
                if self._seen:
                    m.d.comb += Assume(self._seen(a) == self._seen(b))
            elif member.flow == In:
                shared = getattr(self, "__".join(map(str, path)))
                m.d.comb += [a.eq(shared), b.eq(shared)]
            elif path[-1] != "payload":
                m.d.comb += Assert(a == b)
        first, second = probes
        m.d.comb += [Assert(first[path] == second[path]) for path in self._control]
        return m
