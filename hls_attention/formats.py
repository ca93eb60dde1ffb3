"""Floating-point formats as data, and the fields of stored numbers.

A finite number is ``significand * 2**(exponent + unit)`` with a signed integer significand (hidden
bit included) and an exponent counted from the subnormals, ``max(field, 1) - 1``, so that these need
no case of their own. The largest exponent of a block of numbers is its block exponent.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["FP16", "FloatFormat"]


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format with subnormals, infinities and NaN.

    Parameters
    ----------
    exponent_bits, fraction_bits : int
        Widths of the stored fields; with the sign they make the word.
    """

    exponent_bits: int
    fraction_bits: int

    @property
    def top_field(self):
        """The exponent field of infinities and NaN."""
        return (1 << self.exponent_bits) - 1

    @property
    def top_exponent(self):
        """Largest exponent of a finite number."""
        return self.top_field - 2

    @property
    def bias(self):
        """What the exponent field is offset by."""
        return (1 << self.exponent_bits - 1) - 1

    @property
    def unit(self):
        """Exponent of the smallest subnormal: numbers are significand * 2**(exponent + unit)."""
        return 1 - self.bias - self.fraction_bits

    @property
    def most_significand(self):
        """Largest magnitude of a significand."""
        return (2 << self.fraction_bits) - 1

    def fields(self, word):
        """Fields of stored words.

        Parameters
        ----------
        word : array of int
            Bit patterns.

        Returns
        -------
        significand, exponent : array of int64
            Of an infinity or NaN: meaningless, exponent ``top_exponent``.
        finite : array of bool
        """
        word = np.asarray(word, dtype=np.int64)
        field = (word >> self.fraction_bits) & self.top_field
        fraction = word & ((1 << self.fraction_bits) - 1)
        magnitude = fraction | ((field > 0).astype(np.int64) << self.fraction_bits)
        significand = np.where(
            word >> (self.exponent_bits + self.fraction_bits), -magnitude, magnitude
        )
        exponent = np.minimum(np.maximum(field, 1) - 1, self.top_exponent)
        return significand, exponent, field != self.top_field


FP16 = FloatFormat(exponent_bits=5, fraction_bits=10)
"""IEEE 754 binary16: exponents 0..29, numbers are significand * 2**(exponent - 24)."""
