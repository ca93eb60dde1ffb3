"""A register that takes a linear map over GF(2) of its inputs, and costs nothing while it holds.

::

    q <- base ^ M0 i0 ^ M1 i1 ..      if en

Maps of the size that a BCH code has, some hundred bits from as many, are what a simulator spends
its time on. So the Verilog of this register is written by hand: one process that evaluates the maps
only when enabled, for a simulator by tables of four input bits each (the method of the four
Russians), for synthesis as parities. Tests hold the forms to each other. In pysim it is plain
Amaranth.
"""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hls_attention.verilog import VerilogPlatform

from .linear import apply, xor_all

__all__ = ["LinearRegister"]

GROUP = 4
"""Input bits of a table."""

WORD = 32
"""Entries of tables are padded to whole words of the simulator."""

TEXT = """\
// {name}: q <- base ^ M i, linear over GF(2).
module {name}(
    input  wire clk,
    input  wire rst,
    input  wire en,
    input  wire [{top}:0] base,
{inputs}
    output reg  [{top}:0] q
);
    initial q = {width}'h{init:x};
`ifdef VERILATOR
{tables}
    reg [{top}:0] sum;
    always @(posedge clk) begin
        if (en) begin
            sum = base;
{fast}
            q <= sum;
        end
        if (rst) q <= {width}'h{init:x};
    end
`else
    always @(posedge clk) begin
        if (en) begin
{plain}
        end
        if (rst) q <= {width}'h{init:x};
    end
`endif
endmodule
"""


class LinearRegister(wiring.Component):
    """See the module.

    Parameters
    ----------
    name : str
        Of its Verilog module.
    width : int
        Bits of the register.
    maps : list of list of int
        For each input, what each of its bits alone gives.
    blocks : list of int, optional
        For each map, into how many bits of the register a table should look: those of an element
        where a map goes from elements to elements. All, if not given.
    init : int

    Members
    -------
    en : In(1)
    base : In(width)
    i : In array of inputs, ``i[k]`` has ``len(maps[k])`` bits
    q : Out(width)
    """

    def __init__(self, name, width, maps, *, blocks=None, init=0):
        if not maps or any(not 0 <= column < 1 << width for map in maps for column in map):
            raise ValueError(f"{name}: give one or more maps to {width} bits")
        self._name, self._width, self._maps, self._init = name, width, maps, init
        self._blocks = blocks or [width] * len(maps)
        super().__init__(
            {
                "en": In(1),
                "base": In(width),
                **{f"i_{k}": In(len(map)) for k, map in enumerate(maps)},
                "q": Out(width, init=init),
            }
        )
        self.i = [getattr(self, f"i_{k}") for k in range(len(maps))]

    def elaborate(self, platform):
        if isinstance(platform, VerilogPlatform):
            platform.need_text(self._name, self._verilog())
            ports = {f"i_i_{k}": value for k, value in enumerate(self.i)}
            return Instance(
                self._name,
                i_clk=ClockSignal(),
                i_rst=ResetSignal(),
                i_en=self.en,
                i_base=self.base,
                o_q=self.q,
                **ports,
            )
        m = Module()
        images = [
            apply(Value.cast(value), map, self._width) for value, map in zip(self.i, self._maps)
        ]
        with m.If(self.en):
            m.d.sync += self.q.eq(xor_all([self.base, *images]))
        return m

    def _verilog(self):
        tables, fast = [], []
        for k, (map, block) in enumerate(zip(self._maps, self._blocks, strict=True)):
            for low in range(0, self._width, block):
                high = min(low + block, self._width) - 1
                part = f"sum[{high}:{low}]"
                wanted = [n for n, column in enumerate(map) if column >> low & _ones(high - low)]
                terms = [
                    self._table(tables, k, wanted[at : at + GROUP], low, high)
                    for at in range(0, len(wanted), GROUP)
                ]
                if not terms:
                    continue
                sum_ = "\n                ^ ".join([part, *terms])
                fast.append(f"            {part} = {sum_};")
        plain = []
        for bit in range(self._width):
            terms = [f"base[{bit}]"]
            for k, map in enumerate(self._maps):
                mask = sum((column >> bit & 1) << n for n, column in enumerate(map))
                if mask:
                    terms.append(f"^(i_{k} & {len(map)}'h{mask:x})")
            plain.append(f"            q[{bit}] <= {' ^ '.join(terms)};")
        return TEXT.format(
            name=self._name,
            width=self._width,
            top=self._width - 1,
            init=self._init,
            inputs="\n".join(
                f"    input  wire [{len(map) - 1}:0] i_{k}," for k, map in enumerate(self._maps)
            ),
            tables="\n".join(tables),
            fast="\n".join(fast),
            plain="\n".join(plain),
        )

    def _table(self, tables, k, bits, low, high):
        """Adds a table of input bits for a range of the register; returns its use."""
        padded = -(-(high - low + 1) // WORD) * WORD
        entries = 0
        for chosen in range(1 << len(bits)):
            value = 0
            for n, bit in enumerate(bits):
                if chosen >> n & 1:
                    value ^= self._maps[k][bit] >> low & _ones(high - low)
            entries |= value << padded * chosen
        size = padded << len(bits)
        name = f"table_{len(tables)}"
        tables.append(f"    localparam [{size - 1}:0] {name} = {size}'h{entries:x};")
        index = ", ".join(f"i_{k}[{bit}]" for bit in reversed(bits))
        if bits == list(range(bits[0], bits[-1] + 1)) and len(bits) > 1:
            index = f"i_{k}[{bits[-1]}:{bits[0]}]"
        return f"{name}[{{{32 - len(bits)}'d0, {index}}} * 32'd{padded} +: {high - low + 1}]"


def _ones(bits):
    return (2 << bits) - 1
