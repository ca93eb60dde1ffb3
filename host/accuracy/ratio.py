"""What a compression ratio means: said here, once.

**Nominal**, how a ratio x of dense attention is asked for. Dense attention of one KV head reads K
and V of S tokens, ``2 S d`` elements of d channels. Of them are read

======  ================================================================================
sparf   ``S r + 2 k d``, with r = x d channels and k = x S / 2 tokens: half for each
bounds  the bounds of all tokens, as many bytes as ``S d / 8`` elements, and K and V of k tokens
        for the rest: k = (x - 1/16) S
local   K and V of x S tokens, the first ``sinks`` of them and the last others
======  ================================================================================

**Forced**, how the tokens count that are attended whatever their scores: the last ``window`` and
the first ``sinks``

=======  ===============================================================================
within   they are part of what the ratio pays for: of k
besides  the ratio pays for what is selected by score alone; they come on top, and are moved
=======  ===============================================================================

Of a local window they are all there is, and part of its x.

**Moved**, what is really read: whole codewords of flash, those of K and V that hold a token
selected, those of the copy of K by channels that hold a channel selected (a codeword is of one
channel), and all codewords of the bounds, with those of K of the tokens that have none on flash
yet; over the codewords of all K and V. Tokens that a drive still has in its DRAM are counted as if
in flash.

**Elements**, what would be moved if single elements could be read: what SparQ counts, in memory.
"""

from dataclasses import dataclass

import torch

__all__ = [
    "BOUNDS_SHARE",
    "ELEMENT_BYTES",
    "Layout",
    "bounds_of",
    "kept_of",
    "nominal_of",
    "sparf_of",
    "with_forced",
]

ELEMENT_BYTES = 2
"""FP16 or BF16."""

BOUNDS_SHARE = 1 / 16
"""Of the bounds, a byte for each channel of 4 tokens, in the bytes of K and V."""


def sparf_of(ratio, head_dim):
    """r and k / S of a nominal ratio: channels, 1 or more, and the share of the tokens."""
    return max(1, int(ratio * head_dim)), ratio / 2


def bounds_of(ratio):
    """k / S of a nominal ratio of bounds: `ValueError` for one that these alone are."""
    if not BOUNDS_SHARE < ratio <= 1:
        raise ValueError(
            f"a ratio of {ratio:g} is not possible by bounds, which alone are 1/16 of K and V: "
            "give 1/16 < ratio <= 1"
        )
    return ratio - BOUNDS_SHARE


def nominal_of(channels, share, head_dim):
    """The nominal ratio of SparF with so many channels and such a share of the tokens."""
    return channels / (2 * head_dim) + share


def kept_of(share, lengths):
    """Tokens that a share is, 1 or more, for each length of a tensor."""
    return (share * lengths).long().clamp(min=1)


def with_forced(count, forced, besides):
    """Tokens attended: those a ratio pays for, with as many that are forced."""
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
