"""What the walker asks of a channel: a unit of beats from flash, from the tail, or none."""

from amaranth.lib import data, enum
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS
from hls_attention.beats import BEATS_BITS, JOB_BITS, TOKEN_BITS, Format, Kind

from ..config import MASK_TOKENS

__all__ = ["Source", "page_request_layout", "page_word_layout"]


def page_word_layout():
    """A user word of a page, or of a tail; ``error``: it is wrong, or in what is read from flash a
    word of its codeword before it."""
    return data.StructLayout({"data": 64, "error": 1})


class Source(enum.Enum, shape=2):
    """Where the data of a page request come from."""

    FLASH = 0  # a page of the channel's NAND
    TAIL = 1  # the tail in device DRAM
    NULL = 2  # nothing: the channel has no token in this pass
    READBACK = 3  # a page of the channel's NAND, for READ_KV instead of the engine


def page_request_layout(dies):
    """One page request of a channel.

    Requests of a channel are served in order; ``last`` ends a pass (see `hls_attention.beats`).
    """
    return data.StructLayout(
        {
            "source": Source,
            "die": max(1, ceil_log2(dies)),
            "row": ROW_BITS,
            "kind": Kind,
            "format": Format,
            "job": JOB_BITS,
            "token": TOKEN_BITS,  # first token, counted from the beginning of the pass
            "skip": 12,  # tokens of the page before it
            "tokens": 12,  # tokens of the unit, 1..group_tokens
            # beats of one token; of a column: words of a codeword; of bounds, "tokens" are units of
            # 4 tokens, an element a byte
            "beats": BEATS_BITS + 1,
            "sparse": 1,  # of the tokens only those of ``mask`` are wanted
            "mask": MASK_TOKENS,
            # of NULL: what it ends is poisoned; of FLASH, READBACK: its place could not be read
            "error": 1,
            "last": 1,
        }
    )
