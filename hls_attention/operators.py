"""The table of operators: what each one means in numpy, what it is in gates, and what it costs.

Delays and areas are estimates for a 7-series class FPGA of speed grade -2: levels of six-input
look-up tables, each with the wire that leads to it, and carry chains. They are meant to place the
cuts between pipeline stages sensibly for a clock target, not to replace a timing report; scale
`LEVEL_NS` for another family. Wires (slices, constant shifts, concatenations) are free.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, Const, Mux

__all__ = ["OPERATORS", "MULTIPLIER", "REGISTER_NS", "Operator"]

LEVEL_NS = 0.65
"""One look-up table and an average wire."""

CARRY_NS = 0.015
"""One bit of a carry chain."""

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
    delay_ns: Callable = lambda node: 0.0
    luts: Callable = lambda node: 0


def _widest(node):
    return max(arg.width for arg in node.args)


def _adder_ns(node):
    return LEVEL_NS + CARRY_NS * _widest(node) + 0.25


def _word_ns(node):
    return LEVEL_NS + FANOUT_NS * (_widest(node) > 16)


def _tree_ns(node):
    levels = 1 + (_widest(node) > 6) + (_widest(node) > 36)
    return LEVEL_NS * levels


def _choose(_, condition, if_true, if_false):
    if np.ndim(condition) == 0:
        return if_true if condition else if_false
    return np.where(condition, if_true, if_false)


def _check_claim(bounds, value):
    lo, hi = bounds
    value = np.asarray(value)
    if value.size and not (lo <= value.min() and value.max() <= hi):
        raise OverflowError(
            f"a value in {value.min()}..{value.max()} breaks the kernel's claim {lo}..{hi}; "
            f"see the bounds on the inputs in its docstring"
        )
    return value


def _as_int(flags):
    return flags.astype(np.int64) if isinstance(flags, (np.ndarray, np.generic)) else int(flags)


OPERATORS = {
    "add": Operator(lambda _, a, b: a + b, lambda _, a, b: a + b, _adder_ns, lambda n: n.width),
    "sub": Operator(lambda _, a, b: a - b, lambda _, a, b: a - b, _adder_ns, lambda n: n.width),
    "mul": Operator(lambda _, a, b: a * b, lambda _, a, b: a * b, lambda n: MULTIPLY_NS),
    "shl": Operator(lambda k, a: a << k, lambda k, a: a.shift_left(k)),
    "shr": Operator(lambda k, a: a >> k, lambda k, a: a.shift_right(k)),
    # One step of a variable shift: by 0..7 times 2**start places.
    "shift": Operator(
        lambda start, a, n: a >> (n << start),
        lambda start, a, n: a >> Cat(Const(0, start), n),
        lambda n: _word_ns(n) + 0.35,
        lambda n: 2 * n.width,
    ),
    "lt": Operator(
        lambda _, a, b: _as_int(a < b),
        lambda _, a, b: a < b,
        _adder_ns,
        lambda n: -(-_widest(n) // 2),
    ),
    "eq": Operator(
        lambda _, a, b: _as_int(a == b),
        lambda _, a, b: a == b,
        _tree_ns,
        lambda n: -(-_widest(n) // 3),
    ),
    "mux": Operator(_choose, lambda _, c, a, b: Mux(c, a, b), _word_ns, lambda n: -(-n.width // 2)),
    "and": Operator(
        lambda _, a, b: a & b, lambda _, a, b: a & b, _word_ns, lambda n: -(-n.width // 2)
    ),
    "or": Operator(
        lambda _, a, b: a | b, lambda _, a, b: a | b, _word_ns, lambda n: -(-n.width // 2)
    ),
    "xor": Operator(
        lambda _, a, b: a ^ b, lambda _, a, b: a ^ b, _word_ns, lambda n: -(-n.width // 2)
    ),
    # Inverters vanish into the look-up table they feed.
    "not": Operator(lambda width, a: a ^ ((1 << width) - 1), lambda width, a: ~a[:width]),
    "bits": Operator(
        lambda p, a: (a >> p[0]) & ((1 << p[1] - p[0]) - 1), lambda p, a: a[p[0] : p[1]]
    ),
    "concat": Operator(lambda k, low, high: low | (high << k), lambda _, low, high: Cat(low, high)),
    "lookup": Operator(
        lambda table, i: np.asarray(table, dtype=np.int64)[i],
        None,
        lambda n: LEVEL_NS + 0.35 + LEVEL_NS * (len(n.param) > 256),
        lambda n: n.width * -(-len(n.param) // 64),
    ),
    "known": Operator(_check_claim, lambda _, a: a),
    "bounded": Operator(lambda _, a: a, lambda _, a: a),
}
"""Every operator by name; a ``lookup`` is a read-only memory, which the pipeline builds itself."""
