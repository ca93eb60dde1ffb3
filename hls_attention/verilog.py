"""Amaranth to Verilog: one text, each shared module once, deep RAMs by hand.

Amaranth writes one Verilog module per instance, and one ``initial`` line per memory row. A drive of
eight equal channels would be compiled eight times over, and a deep memory would take minutes to
convert. Two components mend that: `Shared` marks a block whose module is written once however often
it is placed; `Ram` is a memory whose Verilog is a short module by hand. In pysim both are plain
Amaranth.

Verilator undoes the sharing: it inlines modules, and replaces what is left of their inputs by the
signals outside, so that no two instances are equal code. `Shared(..., apart=True)` writes its
module so that they stay equal and are compiled once; it takes Verilator's flags
``-fno-dfg-scoped -fno-table`` besides.

Ports of a component become Verilog ports named by their path joined with ``__``
(``i_beats__0__payload``).
"""

import re

from amaranth.hdl import ClockSignal, Const, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.hdl._ir import PortDirection
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .verilog_names import assemble, convert

__all__ = ["Ram", "Shared", "VerilogPlatform", "to_verilog", "port_names"]

DEEP_ROWS = 512
"""Rows of a block RAM at its widest."""

RAM_TEXT = """\
// Ram: {depth} rows of {width} bits.
module {name}(
    input  wire clk,
    input  wire w_en,
    input  wire [{address}:0] w_addr,
    input  wire [{top}:0] w_data,
    input  wire r_en,
    input  wire [{address}:0] r_addr,
    output reg  [{top}:0] r_data
);
    (* ram_style = "block" *)
    reg [{top}:0] mem [0:{last}];
    integer row;
    initial begin
        r_data = {width}'d0;
`ifndef SYNTHESIS  // block RAM starts as 0 by itself; tools would unroll the loop
        for (row = 0; row < {depth}; row = row + 1) mem[row] = {width}'d0;
`endif
    end
    always @(posedge clk) begin
        if (w_en) mem[w_addr] <= w_data;
        if (r_en) r_data <= mem[r_addr];
    end
endmodule
"""


class VerilogPlatform:
    """What `to_verilog` passes down as ``platform``: collects the modules found on the way."""

    def __init__(self):
        self.modules = {}
        self._signatures = {}

    def need_ram(self, width, depth):
        """Have the module of a `Ram` in the result; return its name."""
        name = f"ram_{width}x{depth}"
        sizes = {"top": width - 1, "last": depth - 1, "address": ceil_log2(depth) - 1}
        self.need_text(name, RAM_TEXT.format(name=name, width=width, depth=depth, **sizes))
        return name

    def need_text(self, name, text):
        """Have a module written by hand in the result."""
        if self.modules.setdefault(name, text) != text:
            raise ValueError(f"two modules are both called {name!r}: give each its own name")

    def need(self, name, signature, factory, apart):
        """Have the module of a shared component in the result; return its Verilog text."""
        if name in self._signatures and self._signatures[name] != signature:
            raise ValueError(
                f"shared module {name!r} is placed with two different sets of ports: "
                f"give each its own name"
            )
        if name not in self.modules:
            self._signatures[name] = signature
            text = _convert(factory(), name, self)
            if name in self.modules:
                raise ValueError(f"shared module {name!r} contains itself: choose another name")
            self.modules[name] = _keep_apart(text, name) if apart else text
        return self.modules[name]


class Shared(wiring.Component):
    """A component whose Verilog module is written once, whatever the number of its instances.

    Parameters
    ----------
    name : str
        Name of the Verilog module. Equal names must stand for equal components.
    factory : callable
        Returns a new component; all calls return equal ones.
    apart : bool
        Compile it once in Verilator, too. For large blocks with registers at their ports: small
        ones run faster inlined.

    Members
    -------
    The members of the component that ``factory`` returns.
    """

    def __init__(self, name, factory, *, apart=False):
        if not re.fullmatch(r"(?!ram_)[a-z][a-z0-9_]*", name):
            raise ValueError(
                f"{name!r} is no name for a shared module: use lower-case letters, digits and _, "
                f"and do not begin with ram_"
            )
        self._name = name
        self._factory = factory
        self._apart = apart
        self._component = factory()
        super().__init__(self._component.signature)
        # The ports are the component's own, so that pysim sees no extra layer.
        for member in self.signature.members:
            setattr(self, member, getattr(self._component, member))

    def elaborate(self, platform):
        if not isinstance(platform, VerilogPlatform):
            return self._component
        text = platform.need(self._name, self.signature, self._factory, self._apart)
        # Only its ports serve here; tell amaranth not to miss its elaboration.
        self._component._MustUse__used = True
        ports = {}
        header = text[text.index(f"module {self._name}(") :]
        header = header[: header.index(";")]
        for domain_port, signal in (("clk", ClockSignal()), ("rst", ResetSignal())):
            if re.search(rf"\b{domain_port}\b", header):
                ports[f"i_{domain_port}"] = signal
        for name, flow, value in _ports(self):
            ports[f"{'i' if flow == In else 'o'}_{name}"] = value
        return Instance(self._name, **ports)


class Ram(wiring.Component):
    """Memory with one synchronous write port and one synchronous read port.

    A row read in the clock in which it is written shows its old contents. Rows are 0 at start.

    Parameters
    ----------
    width : int
        Bits of a row.
    depth : int
        Rows, at least 2.

    Members
    -------
    w_en, w_addr, w_data : In
        Write ``w_data`` at the clock edge.
    r_en, r_addr : In
        Read at the clock edge; without ``r_en`` the last data stay.
    r_data : Out(width)
        The row, one clock after ``r_en``.
    """

    def __init__(self, *, width, depth):
        if width < 1 or depth < 2:
            raise ValueError(
                f"a RAM of {depth} rows of {width} bits is not possible: "
                f"it takes 2 or more rows of 1 or more bits"
            )
        self._width = width
        self._depth = depth
        super().__init__(
            {
                "w_en": In(1),
                "w_addr": In(ceil_log2(depth)),
                "w_data": In(width),
                "r_en": In(1),
                "r_addr": In(ceil_log2(depth)),
                "r_data": Out(width),
            }
        )

    def elaborate(self, platform):
        if isinstance(platform, VerilogPlatform):
            rest = self._depth - (1 << self._depth.bit_length() - 1)
            if rest and self._depth > DEEP_ROWS:
                return self._in_two_parts(self._depth - rest, rest)
            return Instance(
                platform.need_ram(self._width, self._depth),
                i_clk=ClockSignal(),
                i_w_en=self.w_en,
                i_w_addr=self.w_addr,
                i_w_data=self.w_data,
                i_r_en=self.r_en,
                i_r_addr=self.r_addr,
                o_r_data=self.r_data,
            )
        m = Module()
        m.submodules.rows = rows = memory.Memory(shape=self._width, depth=self._depth, init=[])
        write = rows.write_port()
        read = rows.read_port()
        m.d.comb += [
            write.en.eq(self.w_en),
            write.addr.eq(self.w_addr),
            write.data.eq(self.w_data),
            read.en.eq(self.r_en),
            read.addr.eq(self.r_addr),
            self.r_data.eq(read.data),
        ]
        return m

    def _in_two_parts(self, main, rest):
        """A power of two and what is left: block RAMs of a power of two need no multiplexers."""
        m = Module()
        m.submodules.main = low = Ram(width=self._width, depth=main)
        m.submodules.rest = high = Ram(width=self._width, depth=max(2, rest))
        chosen = Signal()  # the last row read lies in the second part
        with m.If(self.r_en):
            m.d.sync += chosen.eq(self.r_addr >= main)
        for part, mine in ((low, 0), (high, 1)):
            m.d.comb += [
                part.w_en.eq(self.w_en & ((self.w_addr >= main) == mine)),
                part.w_addr.eq(self.w_addr),
                part.w_data.eq(self.w_data),
                part.r_en.eq(self.r_en & ((self.r_addr >= main) == mine)),
                part.r_addr.eq(self.r_addr),
            ]
        m.d.comb += self.r_data.eq(Mux(chosen, high.r_data, low.r_data))
        return m


def to_verilog(component, name="top"):
    """Verilog of a component and of everything in it, each `Shared` module once.

    Parameters
    ----------
    component : wiring.Component
        Ports come from its signature.
    name : str
        Name of the top module.

    Returns
    -------
    str
        The same text for the same component, without paths or dates.
    """
    platform = VerilogPlatform()
    top = _convert(component, name, platform)
    if name in platform.modules:
        raise ValueError(f"the top module and a shared module are both called {name!r}")
    return assemble([*platform.modules.values(), top], fixed={*platform.modules, name})


def port_names(component):
    """List of ``(name, "i" or "o", bits)``, the Verilog ports of a component but clk and rst."""
    return [
        (name, "i" if flow == In else "o", len(value)) for name, flow, value in _ports(component)
    ]


def _ports(component):
    """Ports as (Verilog name, flow, Value); flags tied to a constant are no ports."""
    for path, member, value in component.signature.flatten(component):
        value = Value.cast(value)
        if isinstance(value, Const) or len(value) == 0:
            continue
        yield "__".join(map(str, path)), member.flow, value


def _keep_apart(text, name):
    """Have Verilator neither inline a module nor see through its inputs."""
    start = re.search(rf"^module {name}\(.*?\);\n", text, re.MULTILINE | re.DOTALL).end()
    end = text.index("endmodule", start)
    body = re.sub(
        r"^(  input (?!clk;|rst;)[^;]*);",
        r"\1 /* verilator public_flat_rd */;",
        text[start:end],
        flags=re.MULTILINE,
    )
    return f"{text[:start]}  /* verilator no_inline_module */\n{body}{text[end:]}"


def _convert(component, name, platform):
    # amaranth would list constants and empty ports too; PortDirection has no public home in 0.5.
    directions = {In: PortDirection.Input, Out: PortDirection.Output}
    ports = {port: (value, directions[flow]) for port, flow, value in _ports(component)}
    text = convert(component, name, ports, platform)
    # A bit of a partly registered vector that is constant comes out as a process without an event,
    # which never runs: it is an initial value.
    return re.sub(r"always @\*(\n\s+\S+ (?:\[[0-9:]+\] )?= \d+'h[0-9a-f]+;)", r"initial\1", text)
