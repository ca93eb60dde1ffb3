"""Finite fields GF(2^m) and generator polynomials of BCH codes, in plain Python and numpy.

Elements are integers whose bit ``i`` is the coefficient of ``x**i``; polynomials over GF(2) are
integers, too, however long. ``alpha = 2`` (that is ``x``) is a primitive element.
"""

from functools import cache

import numpy as np

__all__ = ["PRIMITIVE", "Field", "field"]

PRIMITIVE = {
    4: 0b1_0011,  # small enough to be checked by hand
    13: 0b10_0000_0001_1011,  # x^13 + x^4 + x^3 + x + 1
    14: 0b100_0000_0010_1011,  # x^14 + x^5 + x^3 + x + 1
}
"""Primitive polynomial of each degree, of least weight with the lowest terms."""


class Field:
    """GF(2^m).

    Parameters
    ----------
    m : int
        A key of `PRIMITIVE`.

    Attributes
    ----------
    order : int
        Of the multiplicative group, ``2**m - 1``.
    exp : numpy.ndarray
        int32 [2 * order]: powers of alpha, written twice so that sums of two logarithms need no
        reduction.
    log : numpy.ndarray
        int32 [2**m]: logarithms; that of 0 is never to be used.
    """

    def __init__(self, m):
        if m not in PRIMITIVE:
            raise ValueError(f"no field of m = {m}: choose one of {', '.join(map(str, PRIMITIVE))}")
        self.m = m
        self.order = (1 << m) - 1
        powers, element = [], 1
        for _ in range(self.order):
            powers.append(element)
            element <<= 1
            if element >> m:
                element ^= PRIMITIVE[m]
        self.exp = np.array(powers * 2, np.int32)
        self.log = np.zeros(1 << m, np.int32)
        self.log[self.exp[: self.order]] = np.arange(self.order)

    def power(self, exponent):
        """``alpha ** exponent`` for any integer exponent."""
        return int(self.exp[exponent % self.order])

    def multiply(self, a, b):
        """Product of two elements, or of two arrays of elements."""
        a, b = np.asarray(a), np.asarray(b)
        product = self.exp[self.log[a] + self.log[b]]
        return np.where((a == 0) | (b == 0), 0, product)

    def columns(self, constant):
        """Multiplication by a constant as a matrix: the products of its bits, lowest first."""
        return [int(self.multiply(constant, 1 << bit)) for bit in range(self.m)]

    def conjugates(self, exponent):
        """Exponents of the conjugates of ``alpha ** exponent``, ascending."""
        found = {exponent % self.order}
        while (exponent := exponent * 2 % self.order) not in found:
            found.add(exponent)
        return sorted(found)

    def minimal_polynomial(self, exponent):
        """Polynomial over GF(2) of least degree with root ``alpha ** exponent``."""
        coefficients = [1]
        for root in self.conjugates(exponent):
            scaled = [int(self.multiply(c, self.power(root))) for c in coefficients]
            shifted = [0, *coefficients]
            coefficients = [a ^ b for a, b in zip(shifted, [*scaled, 0])]
        return sum(c << place for place, c in enumerate(coefficients))

    def generator(self, t):
        """Generator polynomial of the code with roots ``alpha**1 .. alpha**(2 t)``."""
        leaders = {self.conjugates(odd)[0] for odd in range(1, 2 * t, 2)}
        result = 1
        for leader in sorted(leaders):
            result = _product(result, self.minimal_polynomial(leader))
        return result


def _product(a, b):
    """Product of two polynomials over GF(2)."""
    result = 0
    while b:
        if b & 1:
            result ^= a
        a, b = a << 1, b >> 1
    return result


@cache
def field(m):
    """The field of degree ``m``, made once."""
    return Field(m)
