"""The inside of a component, for the invariants of a proof: signals and memory rows by their path.

The gateware stays as it is: signals are found in what it elaborates to, and a memory row is seen
through one more read port, which only the proof has.
"""

from amaranth.hdl import Const, Fragment, Shape, Signal, Value
from amaranth.hdl._mem import MemoryInstance  # has no public home in 0.5
from amaranth.utils import ceil_log2

__all__ = ["Probe"]


class Probe:
    """A component, elaborated once; place ``probe.fragment`` as a submodule instead of it.

    Parameters
    ----------
    component : wiring.Component

    Examples
    --------
    >>> probe = Probe(CommandBuffer(8))
    >>> probe["left"], probe["queue.rows.level"]    # signals, by path
    >>> probe.row("ram.rows", address)              # contents of a memory row
    >>> probe.state("state", "IDLE")                # whether a state machine is in a state
    >>> probe.inside("queue")                       # a Probe of a submodule
    """

    def __init__(self, component, *, path=()):
        self.fragment = Fragment.get(component, None)
        self._path = path
        self._signals = {}

    @property
    def component(self):
        """The component itself, for its ports."""
        return self.fragment.origins[0]

    def inside(self, path):
        """Probe of a submodule."""
        name, _, below = path.partition(".")
        known = [known for _, known, _ in self.fragment.subfragments]
        if name not in known:
            raise LookupError(f"no submodule {self._full(name)}: there are {known}")
        probe = Probe(self.fragment.find_subfragment(name), path=(*self._path, name))
        return probe.inside(below) if below else probe

    def __getitem__(self, path):
        """Signal by the path of its submodule and its name."""
        above, _, name = path.rpartition(".")
        if above:
            return self.inside(above)[name]
        found = self.named(name)
        if len(found) != 1:
            raise LookupError(f"{len(found)} signals are called {self._full(name)}")
        return found[0]

    def named(self, name):
        """Signals of a name, in the order in which the component's text makes them."""
        if not self._signals:
            self._find_signals()
        if name not in self._signals:
            raise LookupError(f"no signal {self._full(name)}: there are {sorted(self._signals)}")
        return self._signals[name]

    def row(self, path, address):
        """Contents of a row of a memory, as raw bits.

        Parameters
        ----------
        path : str
            Of the memory.
        address : Value
        """
        rows = self.inside(path).fragment
        if not isinstance(rows, MemoryInstance):
            raise LookupError(f"{self._full(path)} is no memory")
        contents = Signal(Shape.cast(rows._data.shape).width, name="probed_row")
        bits = ceil_log2(rows._data.depth)
        # zero-extended: slices of a short address would fall short of the port
        address = (Value.cast(address) | Const(0, bits))[:bits]
        rows.read_port(domain="comb", addr=address, data=contents, en=Const(1), transparent_for=())
        return contents

    def rows(self, path):
        """Contents of all rows of a memory."""
        depth = self.inside(path).fragment._data.depth
        return [self.row(path, Const(n, ceil_log2(depth))) for n in range(depth)]

    def state(self, machine, name):
        """Whether a state machine is in a state."""
        return self[f"{machine}_state"] == self._encoding(machine)[name]

    def in_a_state(self, machine):
        """Whether a state machine is in one of its states."""
        return self[f"{machine}_state"] < len(self._encoding(machine))

    def _encoding(self, machine):
        return self.fragment.find_generated(machine).encoding

    def _find_signals(self):
        found = {}
        for statements in self.fragment.statements.values():
            for signals in (statements._lhs_signals(), statements._rhs_signals()):
                for signal in signals:
                    found.setdefault(signal.name, {})[id(signal)] = signal
        for name, signals in found.items():
            self._signals[name] = sorted(signals.values(), key=lambda signal: signal.src_loc)

    def _full(self, name):
        return ".".join((*self._path, name))
