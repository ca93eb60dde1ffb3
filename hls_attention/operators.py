"""The table of operators: what each one means in numpy, what it is in gates, and what it costs.

Delays and areas are estimates for an FPGA with the fabric of Kintex-7 at speed grade -2, which is
that of the Zynq-7045 of the paper. They place the cuts between pipeline stages for a clock target;
they do not replace a timing report. Wires (slices, constant shifts, concatenations) are free. Every
constant is computed below from figures that can be looked up:

[cells] Delays of cells in ps, as Yosys has them for the 7 series (``share/xilinx/cells_sim.v``),
    slowest corner; the file names the SDF file of Project X-Ray behind each. They are those of
    Artix-7 (X-Ray measures a part of grade -1). A test reads them from the installed package.
[fabric] What AMD's AXI DataMover reaches on Artix-7, grade -1, and on Kintex-7, grade -2, in MHz
    (PG022, "Performance"; PG067 has the same ratio): how much faster the second fabric is. Applied
    to look-up tables, carry chains and flip-flops, not to DSP blocks.
[wire] Wires are not in [cells]. Allowed is what Yosys allows per level when it maps to the 7 series
    (``synth_xilinx`` calls abc9 with ``-W 300``): a figure to steer mapping, not a measurement.
[budget] What AMD's report_failfast (Tcl Store, designutils) budgets for a look-up table with its
    net in the 7 series, in ns, by speed grade: the check that the sum of the above is no less.
    UG949 ("Datapath Delay and Logic Levels") takes a path for routed badly only when wires are
    above 75 % of it; here they are a third of a level.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, Const, Mux

__all__ = ["OPERATORS", "MULTIPLIER", "REGISTER_NS", "Operator"]

CELLS_PS = {
    "LUT6 I0->O": 642,  # the slowest of its inputs
    "CARRY4 S[0]->CO[3]": 508,  # into a chain
    "CARRY4 CI->CO[3]": 114,  # through four bits of it
    "CARRY4 CI->O[3]": 313,  # out of it
    "$__ABC9_LUT8 I0->O": 642 + 223 + 104 + 192,  # four LUT6, MUXF7, MUXF8, out of the slice
    "FDRE C->Q": 303,
    "FDRE D setup": 0,
    "DSP48E1 A->P": 2823,  # no registers
    "DSP48E1 A setup, PREG": 2739,
    "DSP48E1 A setup, MREG": 1416,
}
"""[cells]: part, way through it (or before the clock edge) -> ps."""

FABRIC = 150 / 240
"""[fabric]"""

WIRE_PS = 300
"""[wire]"""

BUDGET_NS = {"-1": 0.575, "-2": 0.500, "-3": 0.425}
"""[budget]"""

SKEW_NS = 0.20
"""Clock skew and jitter: an allowance, no source. A board's constraints say what it is there."""


def _ns(*ways, wires=0, fabric=FABRIC):
    return fabric * (sum(CELLS_PS[way] for way in ways) + wires * WIRE_PS) / 1000


LEVEL_NS = _ns("LUT6 I0->O", wires=1)
"""One look-up table and the wire to it."""

CARRY_NS = _ns("CARRY4 CI->CO[3]")
"""Four bits of a carry chain."""

CARRY_ENDS_NS = _ns("CARRY4 S[0]->CO[3]", "CARRY4 CI->O[3]") - 2 * CARRY_NS
"""What its first and last four bits take above that."""

SLICE_MUX_NS = _ns("$__ABC9_LUT8 I0->O") - _ns("LUT6 I0->O")
"""The multiplexers that join the look-up tables of one slice."""

FANOUT_NS = _ns(wires=1)
"""Added where one signal steers a word of more than 16 bits: a second wire."""

REGISTER_NS = _ns("FDRE C->Q", "FDRE D setup") + SKEW_NS
"""The part of a period that is not logic."""

MULTIPLY_NS = _ns("DSP48E1 A->P", wires=1, fabric=1)
"""A product without registers."""


def _shortest(setup):
    return _ns("FDRE C->Q", setup, wires=1, fabric=1) + SKEW_NS


MULTIPLIER = (
    (REGISTER_NS + MULTIPLY_NS + 4 * LEVEL_NS, 0),  # worth chaining: room for some levels beside it
    (_shortest("DSP48E1 A setup, PREG"), 1),
    (_shortest("DSP48E1 A setup, MREG"), 2),
)
"""(shortest period in ns, register ranks a product takes): the DSP block's own pipeline."""


@dataclass(frozen=True)
class Operator:
    """One operator of a kernel.

    Parameters
    ----------
    numpy, gates : callable
        ``(param, *operands)``: the same integer result from int64 arrays and from Amaranth values.
    delay_ns, luts : callable
        Estimates for one node of the graph.
    """

    numpy: Callable
    gates: Callable
    delay_ns: Callable
    luts: Callable


def _widest(node):
    return max(arg.width for arg in node.args)


def _chain_ns(node):
    return LEVEL_NS + CARRY_ENDS_NS + CARRY_NS * -(-_widest(node) // 4)


def _word_ns(node):
    return LEVEL_NS + FANOUT_NS * (_widest(node) > 16)


def _tree_ns(node):
    return LEVEL_NS * (1 + (_widest(node) > 6) + (_widest(node) > 36))


def _choose(_, condition, if_true, if_false):
    if np.ndim(condition) == 0:
        return if_true if condition else if_false
    return np.where(condition, if_true, if_false)


def _check_claim(bounds, value):
    lo, hi = bounds
    if np.size(value) and not (lo <= np.min(value) and np.max(value) <= hi):
        raise OverflowError(
            f"a value in {np.min(value)}..{np.max(value)} breaks the kernel's claim {lo}..{hi}; "
            f"see the bounds on the inputs in its docstring"
        )
    return value


def _alike(meaning, delay_ns, luts):
    """An operator that Python spells alike for arrays and for gates."""
    return Operator(
        numpy=lambda _, a, b: meaning(a, b),
        gates=lambda _, a, b: meaning(a, b),
        delay_ns=delay_ns,
        luts=luts,
    )


def _flag(compare_arrays, compare_gates, delay_ns, bits_per_lut):
    """A comparison: 0 or 1."""
    return Operator(
        numpy=lambda _, a, b: compare_arrays(a, b).astype(np.int64),
        gates=lambda _, a, b: compare_gates(a, b),
        delay_ns=delay_ns,
        luts=lambda node: -(-_widest(node) // bits_per_lut),
    )


def _wires(numpy, gates):
    """An operator that costs nothing."""
    return Operator(numpy, gates, delay_ns=lambda node: 0.0, luts=lambda node: 0)


def _add_or_subtract(_, subtract, a, b):
    b = (b + Const(0, 1)).as_signed()  # room for a sign
    inverted = b ^ subtract.replicate(len(b)).as_signed()
    return (Cat(1, a).as_signed() + Cat(subtract, inverted).as_signed()) >> 1


def _bit_per_lut(node):
    return node.width


def _two_bits_per_lut(node):
    return -(-node.width // 2)


OPERATORS = {
    "add": _alike(operator.add, _chain_ns, _bit_per_lut),
    "sub": _alike(operator.sub, _chain_ns, _bit_per_lut),
    # One adder with its second operand inverted by the condition, which is also its carry.
    "addsub": Operator(
        numpy=lambda bounds, subtract, a, b: _check_claim(bounds, a + np.where(subtract, -b, b)),
        gates=_add_or_subtract,
        delay_ns=_chain_ns,
        luts=_bit_per_lut,
    ),
    "mul": _alike(operator.mul, lambda node: MULTIPLY_NS, lambda node: 0),
    "and": _alike(operator.and_, _word_ns, _two_bits_per_lut),
    "or": _alike(operator.or_, _word_ns, _two_bits_per_lut),
    "xor": _alike(operator.xor, _word_ns, _two_bits_per_lut),
    "lt": _flag(np.less, operator.lt, _chain_ns, bits_per_lut=2),
    "eq": _flag(np.equal, operator.eq, _tree_ns, bits_per_lut=3),
    "mux": Operator(
        numpy=_choose,
        gates=lambda _, condition, a, b: Mux(condition, a, b),
        delay_ns=_word_ns,
        luts=_two_bits_per_lut,
    ),
    # One step of a variable shift to the right: by 0..3 times 2**start places.
    "shift": Operator(
        numpy=lambda start, a, n: a >> (n << start),
        gates=lambda start, a, n: a >> Cat(Const(0, start), n),
        delay_ns=_word_ns,
        luts=lambda node: _bit_per_lut(node) if node.args[1].width > 1 else _two_bits_per_lut(node),
    ),
    # A read-only memory of 64 entries per look-up table; the pipeline builds it.
    "lookup": Operator(
        numpy=lambda table, index: np.asarray(table, dtype=np.int64)[index],
        gates=None,
        delay_ns=lambda node: LEVEL_NS * (1 + (len(node.param) > 256)) + SLICE_MUX_NS,
        luts=lambda node: node.width * -(-len(node.param) // 64),
    ),
    "shl": _wires(lambda places, a: a << places, lambda places, a: a.shift_left(places)),
    "shr": _wires(lambda places, a: a >> places, lambda places, a: a.shift_right(places)),
    "bits": _wires(lambda p, a: (a >> p[0]) & ((1 << p[1] - p[0]) - 1), lambda p, a: a[slice(*p)]),
    "concat": _wires(lambda width, low, high: low | high << width, lambda _, *parts: Cat(parts)),
    # Inverters vanish into the look-up table they feed.
    "not": _wires(lambda width, a: a ^ ((1 << width) - 1), lambda width, a: ~a[:width]),
    "known": _wires(_check_claim, lambda _, a: a),
    "bounded": _wires(lambda _, a: a, lambda _, a: a),
}
"""Every operator by name."""
