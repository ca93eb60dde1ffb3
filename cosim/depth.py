"""How deep the logic of a mapped design is: the longest ways between registers, module by module.

Every module is looked at once. What its ports do is then known bit by bit, for the modules around
it: how far an input is from a register, how far a register from an output, and how far an input
from an output without a register between. So a way across modules is found where both ends are.

A way's length is a sum over its cells, in one of two units (`LEVELS`, `NANOSECONDS`). Ways that
never carry a signal (false paths) are not known and count.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from hls_attention import operators

__all__ = ["LEVELS", "NANOSECONDS", "Costs", "Depth", "Way", "depths"]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What parts of a way add to its length.

    Parameters
    ----------
    table : float
        A look-up table, as logic or as memory that is read, and the wire to it.
    mux : float
        A slice multiplexer.
    chain_in, chain, chain_out : float
        The first carry cell of a chain, each further one, the last one if it ends in a sum.
    product, sum : float
        A DSP block without registers, from its factors and from its other inputs.
    register, block_ram, inner_product : float
        At the start: clock to output of a flip-flop or LUT RAM, of block RAM, and of a DSP block
        that has registers but none behind the sum; skew included.
    to_block_ram, to_product, to_sum : float
        At the end: setup of block RAM, of a DSP block whose first register is behind the product,
        or behind the sum.
    """

    table: float = 0
    mux: float = 0
    chain_in: float = 0
    chain: float = 0
    chain_out: float = 0
    product: float = 0
    sum: float = 0
    register: float = 0
    block_ram: float = 0
    inner_product: float = 0
    to_block_ram: float = 0
    to_product: float = 0
    to_sum: float = 0


LEVELS = Costs(table=1)
"""Look-up tables, one after the other."""

LIBRARY_PS = {
    "RAMB36E1 CLKARDCLK->DOADO": 2454,
    "RAMB36E1 ADDRARDADDR setup": 566,
    "DSP48E1 C->P": 1325,
    "DSP48E1 MREG->P": 1671,
    "MUXF7 S->O": 296,
}
"""Of Yosys' cells_sim.v, as `hls_attention.operators.CELLS_PS`: block RAM and DSP blocks are not
scaled to the faster fabric."""

_LIBRARY = {name: ps / 1000 for name, ps in LIBRARY_PS.items()}
_DSP = operators.CELLS_PS

NANOSECONDS = Costs(
    table=operators.LEVEL_NS,
    mux=operators.FABRIC * _LIBRARY["MUXF7 S->O"],
    chain_in=operators.CARRY_NS + operators.CARRY_ENDS_NS / 2,
    chain=operators.CARRY_NS,
    chain_out=operators.CARRY_NS + operators.CARRY_ENDS_NS / 2,
    product=operators.MULTIPLY_NS,
    sum=_LIBRARY["DSP48E1 C->P"] + operators.WIRE_PS / 1000,
    register=operators.REGISTER_NS,
    block_ram=_LIBRARY["RAMB36E1 CLKARDCLK->DOADO"] + operators.SKEW_NS,
    inner_product=_LIBRARY["DSP48E1 MREG->P"] + operators.SKEW_NS,
    to_block_ram=_LIBRARY["RAMB36E1 ADDRARDADDR setup"],
    to_product=_DSP["DSP48E1 A setup, MREG"] / 1000,
    to_sum=_DSP["DSP48E1 A setup, PREG"] / 1000,
)
"""The 7 series, by the delays that pipelines are cut with; `hls_attention.operators`: whence."""


class Way(NamedTuple):
    """A way through logic and its ends: ``instance.instance.net``, or a port."""

    length: float
    start: str
    end: str


@dataclass
class Depth:
    """The longest ways of a module, all that is in it included; ports bit by bit.

    Parameters
    ----------
    inside : Way or None
        From register to register.
    from_input : dict
        (port, bit) -> (length, end): to a register.
    to_output : dict
        (port, bit) -> (length, start): from a register.
    across : dict
        (port, bit) of an output -> (port, bit) of an input -> length.
    """

    inside: Way | None
    from_input: dict
    to_output: dict
    across: dict


def depths(netlists, top, costs):
    """`Depth` of a module and of everything in it.

    Parameters
    ----------
    netlists : dict
        See `cosim.netlist`.
    top : str
    costs : Costs

    Returns
    -------
    dict of str to Depth

    Raises
    ------
    ValueError
        Logic goes round in a circle, or a cell is not known.
    """
    found: dict[str, Depth] = {}

    def visit(name):
        for cell in netlists[name]["cells"].values():
            if cell["type"] in netlists and cell["type"] not in found:
                visit(cell["type"])
        found[name] = _module(netlists[name], name, found, costs)

    visit(top)
    return found


class _Graph:
    """Nets of a module: where ways start and end, and what lies between."""

    def __init__(self):
        self.starts, self.ends, self.next = {}, {}, defaultdict(list)
        self.longest: Way | None = None

    def whole(self, way):
        """A way that is known from start to end."""
        if self.longest is None or self.longest.length < way.length:
            self.longest = way

    def start(self, bit, length, name):
        if bit not in self.starts or self.starts[bit][0] < length:
            self.starts[bit] = length, name

    def end(self, bit, length, name):
        if bit not in self.ends or self.ends[bit][0] < length:
            self.ends[bit] = length, name

    def step(self, bit, to, length):
        self.next[bit].append((to, length))

    def in_order(self, module):
        """All nets, each behind those that lead to it."""
        before = defaultdict(int)
        for steps in self.next.values():
            for to, _ in steps:
                before[to] += 1
        nets = {*self.next, *before, *self.starts, *self.ends}
        ready = [bit for bit in nets if not before[bit]]
        for bit in ready:
            for to, _ in self.next.get(bit, ()):
                before[to] -= 1
                if not before[to]:
                    ready.append(to)
        if len(ready) < len(nets):
            raise ValueError(f"the logic of {module} goes round in a circle")
        return ready


def _module(netlist, name, known, costs):
    graph = _Graph()
    for instance, cell in netlist["cells"].items():
        if cell["type"] in known:
            _place(graph, instance, cell, known[cell["type"]])
        else:
            _cell(graph, cell, costs)
    ports = {
        direction: {
            (port, n): bit
            for port, (way, bits) in netlist["ports"].items()
            if way == direction
            for n, bit in enumerate(bits)
            if isinstance(bit, int)
        }
        for direction in ("input", "output")
    }
    order = graph.in_order(name)
    arrival = dict(graph.starts)
    for bit in order:
        if bit in arrival:
            length, start = arrival[bit]
            for to, more in graph.next.get(bit, ()):
                if to not in arrival or arrival[to][0] < length + more:
                    arrival[to] = length + more, start
    for bit, (more, end) in graph.ends.items():
        if bit in arrival:
            length, start = arrival[bit]
            graph.whole(Way(length + more, start, end))

    left = dict(graph.ends)
    for bit in reversed(order):
        for to, more in graph.next.get(bit, ()):
            if to in left and (bit not in left or left[bit][0] < left[to][0] + more):
                left[bit] = left[to][0] + more, left[to][1]

    return Depth(
        graph.longest,
        {at: left[bit] for at, bit in ports["input"].items() if bit in left},
        {at: arrival[bit] for at, bit in ports["output"].items() if bit in arrival},
        _across(graph, order, ports),
    )


def _across(graph, order, ports):
    """Ways from inputs to outputs."""
    leads = set(ports["output"].values())
    for bit in reversed(order):
        if any(to in leads for to, _ in graph.next.get(bit, ())):
            leads.add(bit)
    reach = defaultdict(dict)
    for at, bit in ports["input"].items():
        if bit in leads:
            reach[bit][at] = 0
    for bit in order:
        if bit in reach:
            for to, more in graph.next.get(bit, ()):
                if to in leads:
                    there = reach[to]
                    for at, length in reach[bit].items():
                        if there.get(at, -1) < length + more:
                            there[at] = length + more
    return {at: reach[bit] for at, bit in ports["output"].items() if bit in reach}


def _place(graph, instance, cell, inner):
    """A module's instance, by what is known of its ports."""

    def net(at):
        port, n = at
        bits = cell["ports"].get(port, ())
        return bits[n] if n < len(bits) and isinstance(bits[n], int) else None

    for at, (length, end) in inner.from_input.items():
        if (bit := net(at)) is not None:
            graph.end(bit, length, f"{instance}.{end}")
    if inner.inside is not None:
        length, start, end = inner.inside
        graph.whole(Way(length, f"{instance}.{start}", f"{instance}.{end}"))
    for at, (length, start) in inner.to_output.items():
        if (bit := net(at)) is not None:
            graph.start(bit, length, f"{instance}.{start}")
    for at, ways in inner.across.items():
        if (to := net(at)) is not None:
            for source, length in ways.items():
                if (bit := net(source)) is not None:
                    graph.step(bit, to, length)


CLOCKS = ("C", "CLK", "WCLK", "CLKARDCLK", "CLKBWRCLK")
TABLE_RAM = ("RAM16", "RAM32", "RAM64", "RAM128", "RAM256", "RAM512", "SRL")
FACTORS = {"A": "AREG", "B": "BREG", "D": "DREG", "C": "CREG"}


def _cell(graph, cell, costs):
    kind, name = cell["type"], cell.get("name", "")
    reads = [(p, cell["ports"][p]) for p in cell["reads"] if p not in CLOCKS]
    writes = [(p, bits) for p, bits in cell["ports"].items() if p not in cell["reads"]]
    outputs = [bit for _, bits in writes for bit in bits if isinstance(bit, int)]

    def through(bits, length, to=outputs):
        for bit in bits:
            if isinstance(bit, int):
                for other in to:
                    if isinstance(other, int):
                        graph.step(bit, other, length)

    def sampled(bits, length=0.0):
        for bit in bits:
            if isinstance(bit, int):
                graph.end(bit, length, name)

    def clocked(length):
        for bit in outputs:
            graph.start(bit, length, name)

    if kind.startswith("LUT") or kind == "INV" or kind.startswith("MUXF"):
        length = {"L": costs.table, "I": 0, "M": costs.mux}[kind[0]]
        for _, bits in reads:
            through(bits, length)
    elif kind.startswith("CARRY"):
        for port, bits in reads:
            for n, bit in enumerate(bits):
                first = n if port in ("DI", "S") else 4 if port == "CI_TOP" else 0
                inner = port == "CI"
                through(
                    [bit], costs.chain if inner else costs.chain_in, cell["ports"]["CO"][first:]
                )
                through(
                    [bit],
                    costs.chain_out if inner else costs.chain_in,
                    cell["ports"]["O"][first:],
                )
    elif kind.startswith("FD"):
        clocked(costs.register)
        for _, bits in reads:
            sampled(bits)
    elif kind.startswith(TABLE_RAM):
        clocked(costs.register)
        for port, bits in reads:
            sampled(bits)
            through(bits, costs.table, [b for to, out in writes if _selects(port, to) for b in out])
    elif kind.startswith(("RAMB", "URAM")):
        clocked(costs.block_ram)
        for _, bits in reads:
            sampled(bits, costs.to_block_ram)
    elif kind.startswith("DSP48"):
        given = cell.get("parameters", {})
        registers = {n for n in ("AREG", "BREG", "CREG", "DREG", "MREG", "PREG") if _set(given, n)}
        if registers:
            clocked(costs.register if "PREG" in registers else costs.inner_product)
        for port, bits in reads:
            factor = port in ("A", "B", "D")
            if FACTORS.get(port) in registers or port.startswith(("CE", "RST")):
                sampled(bits)
            elif factor and "MREG" in registers:
                sampled(bits, costs.to_product)
            elif "PREG" in registers:
                sampled(bits, costs.to_sum)
            else:
                through(bits, costs.product if factor else costs.sum)
    elif kind not in ("VCC", "GND"):
        raise ValueError(f"the cell {kind} is not known: add it to cosim/depth.py")


def _selects(address, output):
    """Whether an input of LUT RAM says which word an output shows; one address is for writing."""
    if address.startswith("ADDR"):
        return output == f"DO{address[-1]}"
    return address.startswith("DPRA" if output == "DPO" else "A")


def _set(parameters, name):
    return "1" in str(parameters.get(name, "1"))
