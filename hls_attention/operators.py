"""The table of operators: what each one means in numpy, what it is in gates, and what it costs.

Delays and areas are estimates for a 7-series class FPGA of speed grade -2: levels of six-input
look-up tables, each with the wire that leads to it, and carry chains. They are meant to place the
cuts between pipeline stages sensibly for a clock target, not to replace a timing report; scale
`LEVEL_NS` for another family. Wires (slices, constant shifts, concatenations) are free.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, Const, Mux

__all__ = ["OPERATORS", "MULTIPLIER", "REGISTER_NS", "Operator"]

LEVEL_NS = 0.65
"""One look-up table and an average wire."""

CARRY_ENTRY_NS = 0.25
CARRY_NS = 0.015
"""Into and out of a carry chain, and each bit of it."""

SLICE_MUX_NS = 0.35
"""The multiplexers that join the look-up tables of one slice."""

FANOUT_NS = 0.25
"""Added where one signal steers a word of more than 16 bits."""

REGISTER_NS = 0.60
"""Clock to output, setup and clock uncertainty: the part of a period that is not logic."""

MULTIPLIER = ((5.5, 0), (3.6, 1), (0.0, 2))
"""(shortest period in ns, register ranks a product takes): the DSP block's own pipeline."""

MULTIPLY_NS = 3.9
"""An unregistered product, for clocks slow enough to chain it."""


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
    return LEVEL_NS + CARRY_ENTRY_NS + CARRY_NS * _widest(node)


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
    # One step of a variable shift to the right: by 0..7 times 2**start places.
    "shift": Operator(
        numpy=lambda start, a, n: a >> (n << start),
        gates=lambda start, a, n: a >> Cat(Const(0, start), n),
        delay_ns=lambda node: _word_ns(node) + SLICE_MUX_NS,
        luts=lambda node: 2 * node.width,
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
