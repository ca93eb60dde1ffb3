"""Stored numbers, FP16 or BF16, in gateware: their exponent field, and keys to compare them by."""

from amaranth.hdl import Cat, Mux

from .formats import BF16, FP16

__all__ = ["exponent_field", "key_of"]


def exponent_field(word, bf16):
    """The exponent field of a number: 8 bits of BF16, where ``bf16`` is 1, or 5 of FP16."""
    return Mux(bf16, word[BF16.fraction_bits : 15], word[FP16.fraction_bits : 15])


def key_of(word):
    """The number's key, 16 bits that compare as signed integers as numbers do by sign and
    magnitude; of a key its number."""
    return Cat(word[:15] ^ word[15].replicate(15), word[15]).as_signed()
