"""Linear maps over GF(2) as XOR trees, and the multiplier of a field."""

from amaranth.hdl import Cat, Const, Value

__all__ = ["apply", "multiply", "xor_all"]


def xor_all(values):
    """XOR of values, as a balanced tree."""
    values = list(values)
    while len(values) > 1:
        pairs = [a ^ b for a, b in zip(values[::2], values[1::2])]
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
    terms = [bit.replicate(width) & Const(c, width) for bit, c in zip(bits, columns) if c]
    return xor_all(terms) if terms else Const(0, width)


def multiply(a, b, field):
    """Product of two elements: partial products, then the reduction of their sum."""
    m = field.m
    partial = xor_all(Cat(Const(0, i), a & b[i].replicate(m)) for i in range(m))
    high = [field.power(exponent) for exponent in range(m, 2 * m - 1)]
    return partial[:m] ^ apply(partial[m:], high, m)
