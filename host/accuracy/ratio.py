"""What a compression ratio means: said here, once.

**Nominal**, how a ratio x of dense attention is asked for. Dense attention of one KV head reads K
and V of S tokens, ``2 S d`` elements of d channels. Of them are read

======  ================================================================================
sparf   ``S r + 2 k d``, with r = x d channels and k = x S / 2 tokens: half for each
bounds  the bounds of all units, and K and V of as many tokens as the rest of x pays for
local   K and V of x S tokens, the first ``sinks`` of them and the last others
======  ================================================================================

**Forced**, how the tokens count that are attended whatever their scores: the last ``window`` and
the first ``sinks``; with bounds the units of these and the tokens without bounds

=======  ===============================================================================
within   they are part of what the ratio pays for: of k, of the units
besides  the ratio pays for what is selected by score alone; they come on top, and are moved
=======  ===============================================================================

Of a local window they are all there is, and part of its x.

**Moved**, what is really read: whole codewords of flash, those of K and V that hold a token
selected, those of the copy of K by channels that hold a channel selected (a codeword is of one
channel), and all codewords of the bounds; over the codewords of all K and V. Tokens that a drive
still has in its DRAM are counted as if in flash.

**Elements**, what would be moved if single elements could be read: what SparQ counts, in memory.
"""

from dataclasses import dataclass

import torch

__all__ = [
    "ELEMENT_BYTES",
    "EXPONENT_BITS",
    "BoundsLayout",
    "Layout",
    "kept_of",
    "nominal_of",
    "sparf_of",
    "with_forced",
]

ELEMENT_BYTES = 2
"""FP16 or BF16."""

EXPONENT_BITS = 5
"""Of a step of bounds: as many as an FP16 has."""


def sparf_of(ratio, head_dim):
    """r and k / S of a nominal ratio: channels, 1 or more, and the share of the tokens."""
    return max(1, int(ratio * head_dim)), ratio / 2


def nominal_of(channels, share, head_dim):
    """The nominal ratio of SparF with so many channels and such a share of the tokens."""
    return channels / (2 * head_dim) + share


def kept_of(share, lengths):
    """Tokens that a share is, 1 or more, for each length of a tensor."""
    return (share * lengths).long().clamp(min=1)


def with_forced(count, forced, besides):
    """Tokens or units attended: those a ratio pays for, with as many that are forced."""
    return count + forced if besides else torch.maximum(count, forced)


@dataclass(frozen=True)
class Layout:
    """How K and V of one KV head lie in codewords.

    Attributes
    ----------
    head_dim : int
    codeword_bytes : int
        User bytes of a codeword: one token or more, in whole rows.
    """

    head_dim: int
    codeword_bytes: int

    def __post_init__(self):
        row = self.head_dim * ELEMENT_BYTES
        if self.codeword_bytes < row or self.codeword_bytes % row:
            raise ValueError(
                f"a codeword of {self.codeword_bytes} bytes does not hold whole tokens of {row} "
                f"bytes: give a multiple of {row}"
            )

    @property
    def codeword_tokens(self):
        """Tokens whose K, or V, a codeword holds."""
        return self.codeword_bytes // (self.head_dim * ELEMENT_BYTES)

    def dense(self, lengths):
        """Bytes of all K and V, for each length."""
        return 2 * self.whole(lengths * self.head_dim * ELEMENT_BYTES)

    def tokens(self, mask):
        """Bytes of the codewords of K and V that hold a token of a mask [..., tokens]."""
        missing = -mask.shape[-1] % self.codeword_tokens
        padded = torch.nn.functional.pad(mask, (0, missing))
        touched = padded.unflatten(-1, (-1, self.codeword_tokens)).any(dim=-1)
        return 2 * self.codeword_bytes * int(touched.sum())

    def channels(self, count, lengths):
        """Bytes of the codewords of so many single channels, for each length."""
        return count * self.whole(lengths * ELEMENT_BYTES)

    def whole(self, size):
        """Bytes of the codewords that hold so many bytes."""
        return -(-size // self.codeword_bytes) * self.codeword_bytes


@dataclass(frozen=True)
class BoundsLayout:
    """What bounds take, as `cosim.golden_bounds` defines them.

    Attributes
    ----------
    unit_tokens, group_tokens : int
        Tokens of a unit, and of a group, which has an exponent for each channel.
    bits : int
        Of a bound.
    """

    unit_tokens: int = 4
    group_tokens: int = 32
    bits: int = 4

    def __post_init__(self):
        if self.unit_tokens < 1 or self.group_tokens % self.unit_tokens:
            raise ValueError(
                f"groups of {self.group_tokens} tokens are not whole units of {self.unit_tokens}: "
                "give a divisor"
            )
        if not 2 <= self.bits <= 16:
            raise ValueError(f"bounds of {self.bits} bits are not possible: give 2..16")

    @property
    def group_bits(self):
        """Bits of the bounds of a group, for each channel."""
        return 2 * self.bits * (self.group_tokens // self.unit_tokens) + EXPONENT_BITS

    @property
    def share(self):
        """Of the bounds, in the bytes of K and V."""
        return self.group_bits / (self.group_tokens * 2 * 8 * ELEMENT_BYTES)

    def tokens(self, lengths):
        """Tokens that have bounds, of each length: those of full groups."""
        return lengths // self.group_tokens * self.group_tokens

    def size(self, lengths, head_dim):
        """Bytes of all bounds, for each length; those of a group are whole bytes."""
        return lengths // self.group_tokens * (-(-self.group_bits * head_dim // 8))

    def units_of(self, ratio, lengths, besides=False):
        """Units of a nominal ratio, 1 or more, after bounds are paid.

        Tokens without bounds are paid as well, if they do not come ``besides``.
        """
        bare = 0 if besides else lengths - self.tokens(lengths)
        rest = (ratio - self.share) * lengths - bare
        return (rest / self.unit_tokens).long().clamp(min=1)
