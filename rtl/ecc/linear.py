"""Linear maps over GF(2) as XOR trees, and the multiplier of a field."""

from operator import add, xor

from amaranth.hdl import Const, Mux, Signal, Value

__all__ = ["apply", "count_ones", "multiply", "xor_all"]


def xor_all(values):
    """XOR of values, as a balanced tree."""
    return _tree(xor, values)


def count_ones(bits):
    """Number of ones of a vector, as a balanced tree of adders."""
    return _tree(add, bits)


def _tree(operator, values):
    values = list(values)
    while len(values) > 1:
        pairs = [operator(a, b) for a, b in zip(values[::2], values[1::2])]
        values = pairs + values[len(values) & ~1 :]
    return values[0]


def apply(bits, columns, width):
    """Matrix times vector.

    Parameters
    ----------
    bits : Value
        The vector.
    columns : list of int
        Result for each bit alone, in the order of ``bits``; as many as there are bits.
    width : int
        Bits of the result.
    """
    bits = Value.cast(bits)
    if len(bits) != len(columns):
        raise ValueError(f"{len(columns)} columns do not fit a vector of {len(bits)} bits")
    terms = [Mux(bit, Const(c, width), Const(0, width)) for bit, c in zip(bits, columns) if c]
    return xor_all(terms) if terms else Const(0, width)


def multiply(m, a, b, field):
    """Product of two elements: partial products, then the reduction of their sum.

    Factors and partial products become signals of the module ``m``: pysim evaluates an expression
    as often as it is used.
    """
    bits = field.m
    left, right, partial = Signal(bits), Signal(bits), Signal(2 * bits - 1)
    m.d.comb += [
        left.eq(a),
        right.eq(b),
        partial.eq(xor_all(Mux(right[i], left << i, 0) for i in range(bits))),
    ]
    high = [field.power(exponent) for exponent in range(bits, 2 * bits - 1)]
    return partial[:bits] ^ apply(partial[bits:], high, bits)
