"""Floating-point formats as data, and the fields of stored numbers.

A finite number is ``significand * 2**(exponent + unit)`` with a signed integer significand (hidden
bit included) and an exponent counted from the subnormals, ``max(field, 1) - 1``, so that these need
no case of their own. The largest exponent of a block of numbers is its block exponent.
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

__all__ = ["ALIGNED_FRACTION_BITS", "BF16", "FP16", "FloatFormat", "format_of", "words_of"]

ALIGNED_FRACTION_BITS = 10
"""Fraction bits to which the engine aligns every significand: those of FP16."""


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format with subnormals, infinities and NaN.

    Parameters
    ----------
    name : str
        What the drive's API calls it.
    exponent_bits, fraction_bits : int
        Widths of the stored fields; with the sign they make a word of 16 bits.
    nan : int
        The word of the NaN that an output becomes.
    dtype : numpy.dtype
        Of arrays of such numbers.
    """

    name: str
    exponent_bits: int
    fraction_bits: int
    nan: int
    dtype: np.dtype

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
    def aligned_unit(self):
        """The same for significands aligned to `ALIGNED_FRACTION_BITS`."""
        return 1 - self.bias - ALIGNED_FRACTION_BITS

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


FP16 = FloatFormat(
    name="fp16", exponent_bits=5, fraction_bits=10, nan=0x7E00, dtype=np.dtype(np.float16)
)
"""IEEE 754 binary16: exponents 0..29, numbers are significand * 2**(exponent - 24)."""

BF16 = FloatFormat(
    name="bf16", exponent_bits=8, fraction_bits=7, nan=0x7FC0, dtype=np.dtype(ml_dtypes.bfloat16)
)
"""bfloat16: exponents 0..253, numbers are significand * 2**(exponent - 133)."""


def format_of(array):
    """`FP16` or `BF16`, by an array's dtype; raises `TypeError` for any other."""
    for format in (FP16, BF16):
        if array.dtype == format.dtype:
            return format
    raise TypeError(f"elements are {array.dtype}: give float16 or bfloat16 (ml_dtypes.bfloat16)")


def words_of(array):
    """The bit patterns of an array of 16-bit numbers, as int64."""
    return np.ascontiguousarray(array).view(np.uint16).astype(np.int64)
