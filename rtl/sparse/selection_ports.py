"""What executor, walkers and selection tell each other when a head is attended sparsely.

::

    executor --column_walk--> ColumnWalker --requests--> channels (columns, tokens estimated)
        |                          ^-- mask of channels -- selection
        '-----token_walk---> TokenWalker --requests--> channels (K and V of tokens kept)
                                   ^-- verdicts ---- selection
"""

from amaranth.lib import data

from hls_attention.beats import BEATS_BITS, JOB_BITS, Format
from hls_attention.verdicts import VerdictSignature

from ..memory_port import ADDRESS_BITS

__all__ = ["VerdictSignature", "column_walk_layout", "token_walk_layout"]

_PLACE = {
    "format": Format,
    "beats": BEATS_BITS,  # of a vector: head_dim / 4
    "channel": 8,  # flash channel of the head's group 0, before modulo
    "map": ADDRESS_BITS,  # of the head: its first MAP_ENTRY
    "tail": ADDRESS_BITS,
    "flash_groups": 24,  # full groups on flash: the next one is in the tail
    "group_tokens": 12,
    "units": 16,  # whole index units on flash; tokens beyond them lie in groups alone
    "unit_groups": 16,
}


def column_walk_layout(config):
    """The estimate of a head: chosen columns or bounds of all units, K of all tokens beyond."""
    return data.StructLayout(
        {
            **_PLACE,
            "columns": ADDRESS_BITS,  # of the head: its first page's half of a COLUMN_ENTRY
            "tail_tokens": 12,  # 0: the tail is empty
            # units are of bounds, one page each; the mask is taken, and means nothing
            **({"bounds": 1} if config.bounds else {}),
        }
    )


def token_walk_layout():
    """A pass over the tokens kept of a head: its K, then its V. It begins with a group."""
    return data.StructLayout(
        {
            **_PLACE,
            "tag": JOB_BITS,
            "first": 24,  # group of the pass's first token
            "last": 24,  # group of its last token
            "end_tokens": 12,  # tokens of that group
            "all": 1,  # all tokens are kept, and there are no verdicts
            "ends": 1,  # last pass of its head: the verdicts are no longer needed after it
        }
    )
