"""Typed values: integers that know their exact range, and the expressions a kernel is made of.

A kernel computes with `Value` objects as if they were integers. Each one is a node of an expression
graph and carries the smallest and the largest integer it can take; every operation grows that range
exactly, so nothing ever wraps, and the width of a wire follows from what is on it::

    a: 0..2047, b: -8..7   ->   a * b: -16376..14329   ->   signed, 15 bits

A range beyond a signed 64-bit integer is an error when the kernel is traced: both interpretations,
numpy's int64 and the gateware, hold any value exactly or not at all.

The primitive operators live in `operators`; what is here beyond them (rounding shifts, leading
zeros, saturation) is composed of primitives small enough for the scheduler to cut between.
"""

import math
from dataclasses import dataclass

from hls_attention.operators import OPERATORS

__all__ = [
    "Int",
    "Value",
    "bits",
    "signed",
    "const",
    "mux",
    "lookup",
    "concat",
    "minimum",
    "maximum",
    "clamp",
    "absolute",
    "conditional_negate",
    "round_shift",
    "shift_to_top",
]

SHIFT_STEP_BITS = 3
"""A variable shift is a chain of 8:1 multiplexers, one for every three bits of its amount."""

DSP_WIDTHS = (25, 18)
"""Signed operand widths of one hardware multiplier (DSP48E1)."""


@dataclass(frozen=True)
class Int:
    """The integers ``lo..hi``, both included: the type of a value.

    Parameters
    ----------
    lo, hi : int
        Within a signed 64-bit integer.
    """

    lo: int
    hi: int

    def __post_init__(self):
        if not -(1 << 63) <= self.lo <= self.hi < 1 << 63:
            raise OverflowError(
                f"range {self.lo}..{self.hi} is not within a signed 64-bit integer; "
                f"narrow the value with known(), or split it"
            )

    @property
    def signed(self):
        """Whether a sign bit is needed."""
        return self.lo < 0

    @property
    def width(self):
        """Bits that hold every integer of the range (at least 1)."""
        return (
            max(1, self.hi.bit_length(), (~self.lo).bit_length() if self.signed else 0)
            + self.signed
        )

    def contains(self, other):
        """Whether every integer of ``other`` is in this range."""
        return self.lo <= other.lo and other.hi <= self.hi

    def __str__(self):
        return f"{'s' if self.signed else 'u'}{self.width}"


def bits(width):
    """Type of an unsigned integer of ``width`` bits."""
    return Int(0, (1 << width) - 1)


def signed(width):
    """Type of a two's complement integer of ``width`` bits."""
    return Int(-(1 << width - 1), (1 << width - 1) - 1)


class Value:
    """One node of a kernel's expression graph.

    Parameters
    ----------
    op : str
        Name in `operators.OPERATORS`, or ``"input"`` or ``"const"``.
    args : tuple of Value
        Operands.
    param : object
        What the operator needs beyond its operands: shift amount, table, name, constant.
    type : Int
        Exact range of the result.
    """

    __slots__ = ("op", "args", "param", "type")

    def __init__(self, op, args, param, type):  # noqa: A002
        self.op, self.args, self.param, self.type = op, args, param, type

    @property
    def lo(self):
        """Smallest integer the value takes."""
        return self.type.lo

    @property
    def hi(self):
        """Largest integer the value takes."""
        return self.type.hi

    @property
    def width(self):
        """Width in bits, sign included."""
        return self.type.width

    # Arithmetic

    def __add__(self, other):
        other = _value(other)
        return _node("add", self, other, lo=self.lo + other.lo, hi=self.hi + other.hi)

    __radd__ = __add__

    def __sub__(self, other):
        other = _value(other)
        return _node("sub", self, other, lo=self.lo - other.hi, hi=self.hi - other.lo)

    def __rsub__(self, other):
        return _value(other) - self

    def __neg__(self):
        return 0 - self

    def __mul__(self, other):
        """Product; one wider than a hardware multiplier becomes a sum of products that fit one."""
        other = _value(other)
        if other.width + (not other.type.signed) > self.width + (not self.type.signed):
            return other * self
        wide, narrow = (width - 1 for width in DSP_WIDTHS)  # unsigned bits per operand
        if other.width - other.type.signed > narrow:
            return _split_product(self, other, narrow)
        if self.width - self.type.signed > wide:
            return _split_product(other, self, narrow)
        corners = [a * b for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return _node("mul", self, other, lo=min(corners), hi=max(corners))

    __rmul__ = __mul__

    def __lshift__(self, amount):
        """Shift left; by a `Value` this is a right shift of the value moved up by the most."""
        if isinstance(amount, int):
            return (
                _node("shl", self, param=amount, lo=self.lo << amount, hi=self.hi << amount)
                if amount
                else self
            )
        return (self << amount.hi) >> (amount.hi - amount)

    def __rshift__(self, amount):
        """Shift right, rounding toward minus infinity."""
        if isinstance(amount, int):
            return (
                _node("shr", self, param=amount, lo=self.lo >> amount, hi=self.hi >> amount)
                if amount
                else self
            )
        if not 0 <= amount.lo <= amount.hi <= 63:
            raise ValueError(
                f"shift amount in {amount.lo}..{amount.hi} must be in 0..63; clamp() it first"
            )
        shifted = self
        for start in range(0, amount.width, SHIFT_STEP_BITS):
            step = amount[start : start + SHIFT_STEP_BITS]
            most = step.hi << start
            shifted = _node(
                "shift",
                shifted,
                step,
                param=start,
                lo=min(shifted.lo, shifted.lo >> most),
                hi=max(shifted.hi, shifted.hi >> most),
            )
        return shifted

    # Comparisons: 0 or 1

    def __lt__(self, other):
        other = _value(other)
        if other.lo == other.hi == 0:
            return self[self.width - 1] if self.type.signed else const(0)
        return _node("lt", self, other, lo=0, hi=1)

    def __gt__(self, other):
        return _value(other) < self

    def __ge__(self, other):
        return ~(self < other)

    def __le__(self, other):
        return ~(self > other)

    def __eq__(self, other):
        return _node("eq", self, _value(other), lo=0, hi=1)

    def __ne__(self, other):
        return ~(self == other)

    __hash__ = object.__hash__

    # Bits

    def __getitem__(self, index):
        """Bits of the two's complement pattern as an unsigned value: ``x[3]``, ``x[2:5]``."""
        if isinstance(index, int):
            index = slice(index, index + 1)
        start, stop, _ = index.indices(self.width)
        if stop <= start:
            return const(0)
        if start == 0 and not self.type.signed and stop == self.width:
            return self
        hi = min((1 << stop - start) - 1, math.inf if self.type.signed else self.hi >> start)
        return _node("bits", self, param=(start, stop), lo=0, hi=hi)

    def __and__(self, other):
        other = _unsigned(other)
        return _node("and", _unsigned(self), other, lo=0, hi=min(self.hi, other.hi))

    def __or__(self, other):
        other = _unsigned(other)
        return _node("or", _unsigned(self), other, lo=0, hi=(1 << max(self.width, other.width)) - 1)

    def __xor__(self, other):
        other = _unsigned(other)
        return _node(
            "xor", _unsigned(self), other, lo=0, hi=(1 << max(self.width, other.width)) - 1
        )

    def __invert__(self):
        """Every bit of an unsigned value inverted."""
        width = _unsigned(self).width
        return _node("not", self, param=width, lo=0, hi=(1 << width) - 1)

    def known(self, lo, hi):
        """The same value, with a range its author knows but intervals cannot derive.

        A claim, not a clamp: numpy checks it on every call, the gateware just drops the bits.
        """
        return _node("known", self, param=(lo, hi), lo=lo, hi=hi)

    def __bool__(self):
        raise TypeError(
            "a traced value has no truth value; use mux() instead of if, and & | ~ instead of and or not"
        )


def _node(op, *args, lo, hi, param=None):
    node = Value(op, args, param, Int(lo, hi))
    if args and all(arg.op == "const" for arg in args):
        return const(int(OPERATORS[op].numpy(param, *(arg.param for arg in args))))
    return node


def _value(number):
    return number if isinstance(number, Value) else const(number)


def _unsigned(value):
    value = _value(value)
    if value.type.signed:
        raise ValueError(
            f"bitwise operators take unsigned values, got the range {value.lo}..{value.hi}"
        )
    return value


def _bounded(value, lo, hi):
    """``value`` with a tighter range that follows from how it was made."""
    return _node("bounded", value, lo=lo, hi=hi) if (lo, hi) != (value.lo, value.hi) else value


def _split_product(other, wide, chunk):
    return ((other * (wide >> chunk)) << chunk) + other * wide[0:chunk]


def const(number):
    """A constant."""
    return Value("const", (), int(number), Int(int(number), int(number)))


def mux(condition, if_true, if_false):
    """``if_true`` where the one-bit ``condition`` is 1, else ``if_false``."""
    if_true, if_false = _value(if_true), _value(if_false)
    return _node(
        "mux",
        _value(condition),
        if_true,
        if_false,
        lo=min(if_true.lo, if_false.lo),
        hi=max(if_true.hi, if_false.hi),
    )


def lookup(index, table):
    """``table[index]``; the table is a sequence of integers, one for every value of ``index``."""
    table = tuple(int(entry) for entry in table)
    if index.lo < 0 or index.hi >= len(table):
        raise ValueError(
            f"index in {index.lo}..{index.hi} must be within the table's 0..{len(table) - 1}"
        )
    return _node("lookup", index, param=table, lo=min(table), hi=max(table))


def concat(low, high):
    """The bits of unsigned ``high`` above those of unsigned ``low``: wires only."""
    low, high = _unsigned(low), _unsigned(high)
    width = low.width
    return _node("concat", low, high, param=width, lo=0, hi=(high.hi << width) + (1 << width) - 1)


def minimum(a, b):
    """The smaller of two values."""
    a, b = _value(a), _value(b)
    return _bounded(mux(a < b, a, b), min(a.lo, b.lo), min(a.hi, b.hi))


def maximum(a, b):
    """The larger of two values."""
    a, b = _value(a), _value(b)
    return _bounded(mux(a < b, b, a), max(a.lo, b.lo), max(a.hi, b.hi))


def clamp(value, lo, hi):
    """``value`` saturated to the constants ``lo..hi``; sides it cannot cross cost nothing."""
    if value.hi > hi:
        value = minimum(value, hi)
    if value.lo < lo:
        value = maximum(value, lo)
    return value


def conditional_negate(condition, value):
    """``-value`` where ``condition`` is 1, else ``value``."""
    return mux(condition, -value, value)


def absolute(value):
    """Magnitude of a value."""
    if not value.type.signed:
        return value
    return _bounded(
        conditional_negate(value < 0, value), max(0, value.lo, -value.hi), max(value.hi, -value.lo)
    )


def round_shift(value, amount):
    """``value / 2**amount`` rounded to the nearest integer, halves up: ``(value + half) >> amount``.

    Computed as a shift that keeps one bit more, plus one, so that no adder is wider than the result.
    Amounts that leave nothing may be as large as they like.
    """
    if isinstance(amount, Value):
        amount = clamp(amount, 0, value.width + (not value.type.signed))
    return (((value << 1) >> amount) + 1) >> 1


def shift_to_top(value, width):
    """Leading zeros of an unsigned value, and the value without them.

    Parameters
    ----------
    value : Value
        Unsigned, less than ``2**width``.
    width : int
        2..63.

    Returns
    -------
    shifted : Value
        ``value << zeros``: bit ``width - 1`` is set unless ``value`` is 0.
    zeros : Value
        Leading zeros within ``width`` bits; for ``value == 0`` the largest number of its bits.
    """
    value = value.known(0, (1 << width) - 1) if value.hi >> width else value
    zeros = None
    for power in reversed(range((width - 1).bit_length())):
        step = 1 << power
        empty = (value >> (width - step)) == 0
        value = _bounded(mux(empty, value[0 : width - step] << step, value), 0, (1 << width) - 1)
        zeros = empty if zeros is None else concat(empty, zeros)
    return value, zeros
