"""The codes: how many bytes a codeword protects, how many errors it corrects, what that takes.

::

    word 0 ............ D - 1 | D .. M - 1 | M ............... M + P - 1
    data, 64 bits each        | check      | parity, zeros behind its last bit
    <----------- message, M words -------->|

Bits go least significant first: bit ``i`` of word ``w`` is *slot* ``64 w + i`` and stands for
``x**(64 N - 1 - slot)``, ``N = M + P`` words in all. The slots behind the last parity bit are not
part of the code: they are written as zeros and not looked at, so that a word is all there is to a
transfer. The check words carry metadata and the CRC-32 of all that (`rtl.ecc.crc`).
"""

from dataclasses import dataclass
from functools import cached_property

from .field import field

__all__ = ["WORD", "BchCode"]

WORD = 64
"""Bits of a transfer."""

FIELDS = {512: 13, 1024: 14}
"""Data bytes of a codeword -> m of the smallest field that has room for it."""

MOST_ERRORS = 72


@dataclass(frozen=True)
class BchCode:
    """A shortened, narrow-sense binary BCH code.

    Parameters
    ----------
    data_bytes : int
        User data of a codeword, 512 or 1024.
    t : int
        Bit errors that are always corrected, 2..72.
    check_words : int
        Check words, 1 or 2: CRC-32 and 32 or 96 bits of metadata.
    """

    data_bytes: int
    t: int
    check_words: int = 1

    def __post_init__(self):
        if self.data_bytes not in FIELDS:
            raise ValueError(
                f"data_bytes = {self.data_bytes!r} is not possible: choose 512 (GF(2^13)) or "
                f"1024 (GF(2^14)), and split longer data"
            )
        if not (isinstance(self.t, int) and 2 <= self.t <= MOST_ERRORS):
            raise ValueError(
                f"t = {self.t!r} is not possible: choose 2..{MOST_ERRORS} bit errors, "
                f"what the spare bytes of the page have room for"
            )
        if self.check_words not in (1, 2):
            raise ValueError(
                f"check_words = {self.check_words!r} is not possible: choose 1 or 2, for 32 or 96 "
                f"bits of metadata"
            )

    @property
    def name(self):
        """For names of modules."""
        return f"{self.data_bytes}_{self.t}_{self.check_words}"

    @property
    def m(self):
        """Degree of the field."""
        return FIELDS[self.data_bytes]

    @property
    def field(self):
        return field(self.m)

    @cached_property
    def generator(self):
        """Generator polynomial; bit ``i`` is the coefficient of ``x**i``."""
        return self.field.generator(self.t)

    @cached_property
    def parity_bits(self):
        """Degree of the generator: ``m * t``, or a little less where roots are conjugates."""
        odd = range(1, 2 * self.t, 2)
        return len(set().union(*(self.field.conjugates(exponent) for exponent in odd)))

    @property
    def parity_bytes(self):
        """Bytes of the parity words."""
        return self.parity_words * WORD // 8

    @property
    def data_words(self):
        return self.data_bytes * 8 // WORD

    @property
    def message_words(self):
        """Data words and check words."""
        return self.data_words + self.check_words

    @property
    def meta_bits(self):
        """Metadata of a codeword: what the CRC leaves of its check words."""
        return WORD * self.check_words - 32

    @property
    def parity_words(self):
        return -(-self.parity_bits // WORD)

    @property
    def words(self):
        """Words of a codeword."""
        return self.message_words + self.parity_words

    @property
    def slots(self):
        """Bits of all words."""
        return self.words * WORD

    @property
    def pad_bits(self):
        """Slots behind the last parity bit."""
        return self.parity_words * WORD - self.parity_bits

    @property
    def bits(self):
        """Bits of the code, errors in which are corrected."""
        return self.slots - self.pad_bits

    @property
    def spare_bytes(self):
        """What a codeword takes besides its data: check words and parity words."""
        return (self.check_words + self.parity_words) * WORD // 8
