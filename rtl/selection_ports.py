"""What executor, walkers and selection tell each other when a head is attended sparsely.

::

    executor --column_walk--> ColumnWalker --requests--> channels (columns, tokens estimated)
        |                          ^-- mask of channels -- selection
        '-----token_walk---> TokenWalker --requests--> channels (K and V of tokens kept)
                                   ^-- verdicts ---- selection
"""

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hls_attention.beats import BEATS_BITS, JOB_BITS, Format

from .memory_port import ADDRESS_BITS

__all__ = ["VerdictSignature", "column_walk_layout", "token_walk_layout"]

_PLACE = {
    "format": Format,
    "beats": BEATS_BITS,  # of a vector: head_dim / 4
    "channel": 8,  # flash channel of the head's group 0, before modulo
    "map": ADDRESS_BITS,  # of the head: its first MAP_ENTRY
    "tail": ADDRESS_BITS,
    "flash_groups": 24,  # full groups on flash: the next one is in the tail
    "group_tokens": 12,
    "units": 16,  # whole units of K by channel on flash; tokens beyond them lie in groups alone
    "unit_groups": 16,
}


def column_walk_layout():
    """The estimate of a head: chosen columns of all units, K of all tokens beyond them."""
    return data.StructLayout(
        {
            **_PLACE,
            "columns": ADDRESS_BITS,  # of the head: its first page's half of a COLUMN_ENTRY
            "tail_tokens": 12,  # 0: the tail is empty
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
            "ends": 1,  # last pass of its head: the verdicts are no longer needed after it
        }
    )


class VerdictSignature(wiring.Signature):
    """Verdicts on the tokens of a head, as `TokenWalker` reads them.

    ``ready``: those of the head at hand are complete; ``poisoned``: they were made of data that
    cannot be read. ``keep``, a clock after ``lane`` and ``quad``: verdicts on four tokens of a
    channel, the first in the low bit; a channel's tokens are counted in the order of
    `hls_attention.token_order` (whole units, then groups; flash channels are lanes), beyond the
    last one verdicts are 0. ``release``: a pulse, they may be overwritten.

    Parameters
    ----------
    channels : int
    rows : int
        Tokens that a channel may get at most.
    """

    def __init__(self, channels, rows):
        super().__init__(
            {
                "ready": In(1),
                "poisoned": In(1),
                "lane": Out(max(1, ceil_log2(channels))),
                "quad": Out(range(-(-rows // 4))),
                "keep": In(4),
                "release": Out(1),
            }
        )
