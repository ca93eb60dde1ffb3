"""Typed values: integers that know their exact range.

A kernel computes with `Value` objects as if they were integers. Each one is a node of an expression
graph and carries the smallest and the largest integer it can take; every operation grows that range
exactly, so nothing ever wraps, and the width of a wire follows from what is on it::

    a: 0..2047, b: -8..7   ->   a * b: -16376..14329   ->   signed, 15 bits

A range beyond a signed 64-bit integer is an error when the kernel is traced: both interpretations,
numpy's int64 and the gateware, hold any value exactly or not at all.

Python's own operators are here, multiplexers, rounding and the like in `expressions`; what the
primitives mean and cost is the table in `operators`.
"""

from dataclasses import dataclass

from hls_attention.operators import OPERATORS

__all__ = ["Int", "Value", "as_unsigned", "as_value", "bits", "const", "make_node", "signed"]

SHIFT_STEP_BITS = 2
"""A variable shift is a chain of 4:1 multiplexers, a look-up table a bit for each two bits of it.

Steps of three bits, two tables and a slice multiplexer, would take as long and a third more area.
"""

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
        """Bits that hold every integer of the range, sign included; at least 1."""
        if self.signed:
            return max(self.hi.bit_length(), (~self.lo).bit_length()) + 1
        return max(1, self.hi.bit_length())

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
        Range of the result.
    """

    __slots__ = ("op", "args", "param", "type")

    def __init__(self, op, args, param, type):
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
    def signed(self):
        """Whether the value can be negative."""
        return self.type.signed

    @property
    def width(self):
        """Width in bits, sign included."""
        return self.type.width

    def known(self, lo, hi):
        """The same value, with a range its author knows but intervals cannot derive.

        A claim, not a clamp: numpy checks it on every call, the gateware just drops the bits.
        """
        return make_node("known", (self,), lo, hi, param=(lo, hi))

    # Arithmetic

    def __add__(self, other):
        other = as_value(other)
        return make_node("add", (self, other), self.lo + other.lo, self.hi + other.hi)

    __radd__ = __add__

    def __sub__(self, other):
        other = as_value(other)
        return make_node("sub", (self, other), self.lo - other.hi, self.hi - other.lo)

    def __rsub__(self, other):
        return as_value(other) - self

    def __neg__(self):
        return 0 - self

    def __mul__(self, other):
        """Product; one wider than a hardware multiplier becomes a sum of products that fit one."""
        long, short = sorted((self, as_value(other)), key=_magnitude_bits, reverse=True)
        long_most, short_most = (width - 1 for width in DSP_WIDTHS)
        if _magnitude_bits(short) > short_most:
            return _split_product(long, short, short_most)
        if _magnitude_bits(long) > long_most:
            return _split_product(short, long, short_most)
        corners = [a * b for a in (long.lo, long.hi) for b in (short.lo, short.hi)]
        return make_node("mul", (long, short), min(corners), max(corners))

    __rmul__ = __mul__

    def __lshift__(self, amount):
        """Shift left; by a `Value` it is a right shift of the value moved up by the most."""
        if isinstance(amount, Value):
            return (self << amount.hi) >> (amount.hi - amount)
        return make_node("shl", (self,), self.lo << amount, self.hi << amount, param=amount)

    def __rshift__(self, amount):
        """Shift right, rounding toward minus infinity."""
        if not isinstance(amount, Value):
            return make_node("shr", (self,), self.lo >> amount, self.hi >> amount, param=amount)
        return self.shifted(amount)

    def shifted(self, amount, unit=0):
        """``self >> (amount << unit)`` by a `Value`: places in units of ``2**unit``."""
        most_places = amount.hi << unit
        if not 0 <= amount.lo <= most_places <= 63:
            raise ValueError(
                f"shift by {amount.lo << unit}..{most_places} places must be within 0..63; "
                f"clamp() the amount first"
            )
        result = self
        for start in range(0, amount.width, SHIFT_STEP_BITS):
            step = amount[start : start + SHIFT_STEP_BITS]
            most = step.hi << start + unit
            lo, hi = min(result.lo, result.lo >> most), max(result.hi, result.hi >> most)
            result = make_node("shift", (result, step), lo, hi, param=start + unit)
        return result

    # Comparisons give 0 or 1

    def __lt__(self, other):
        other = as_value(other)
        if other.lo == other.hi == 0:
            return self[self.width - 1] if self.signed else const(0)
        return make_node("lt", (self, other), 0, 1)

    def __gt__(self, other):
        return as_value(other) < self

    def __ge__(self, other):
        return ~(self < other)

    def __le__(self, other):
        return ~(self > other)

    def __eq__(self, other):
        return make_node("eq", (self, as_value(other)), 0, 1)

    def __ne__(self, other):
        return ~(self == other)

    __hash__ = object.__hash__

    def __bool__(self):
        raise TypeError(
            "a traced value has no truth value: use mux() for if, and & | ~ for and or not"
        )

    # Bits

    def __getitem__(self, index):
        """Bits of the two's complement pattern as an unsigned value: ``x[3]``, ``x[2:5]``."""
        index = slice(index, index + 1) if isinstance(index, int) else index
        start, stop, _ = index.indices(self.width)
        if stop <= start:
            return const(0)
        if (start, stop) == (0, self.width) and not self.signed:
            return self
        most = (1 << stop - start) - 1
        hi = most if self.signed else min(most, self.hi >> start)
        return make_node("bits", (self,), 0, hi, param=(start, stop))

    def __and__(self, other):
        a, b = as_unsigned(self), as_unsigned(other)
        return make_node("and", (a, b), 0, min(a.hi, b.hi))

    def __or__(self, other):
        a, b = as_unsigned(self), as_unsigned(other)
        return make_node("or", (a, b), 0, (1 << max(a.width, b.width)) - 1)

    def __xor__(self, other):
        a, b = as_unsigned(self), as_unsigned(other)
        return make_node("xor", (a, b), 0, (1 << max(a.width, b.width)) - 1)

    def __invert__(self):
        """Every bit of an unsigned value inverted."""
        width = as_unsigned(self).width
        return make_node("not", (self,), 0, (1 << width) - 1, param=width)


def const(number):
    """A constant."""
    return Value("const", (), int(number), Int(int(number), int(number)))


def as_value(number):
    """An integer as a constant; a value as itself."""
    return number if isinstance(number, Value) else const(number)


def as_unsigned(number):
    """The same, refused if it can be negative."""
    value = as_value(number)
    if value.signed:
        raise ValueError(
            f"bitwise operators take unsigned values, got the range {value.lo}..{value.hi}"
        )
    return value


def make_node(op, args, lo, hi, param=None):
    """A node with its range; of constants, a constant."""
    if all(arg.op == "const" for arg in args):
        return const(OPERATORS[op].numpy(param, *(arg.param for arg in args)))
    return Value(op, args, param, Int(lo, hi))


def _magnitude_bits(value):
    return value.width - value.signed


def _split_product(factor, wide, chunk):
    return ((factor * (wide >> chunk)) << chunk) + factor * wide[0:chunk]
