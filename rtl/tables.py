"""Tables in device DRAM: what the firmware writes and the read and append paths walk.

::

    SEQUENCE_TABLE + 64 * sequence          -> SEQUENCE   (written by firmware)
      .heads + 16 * (layer * kv_heads + h)  -> HEAD       (kept by the append path)
      .map   +  8 * (... * groups + group)  -> MAP_ENTRY  (kept by the append path)
      .tail  + 2 * page_bytes * (...)       -> K page, V page of tokens not yet on flash

A *token group* is what fits one page: ``page_bytes / (2 * head_dim)`` tokens, its K in one page and
its V in another page of the same channel. Group ``g`` of head ``h`` in ``layer`` lives on channel
``(g + 3 * (layer * kv_heads + h)) mod channels``: one head's scan uses every channel, and what a
number of groups leaves over lies on other channels for the next head than for this one. Within a
channel the pages of a layer are numbered by group, head and kind and wanted on dies in turn, so
that they can be sensed at the same time however they came to be written.
"""

from .layout import Layout

__all__ = [
    "SEQUENCE",
    "HEAD",
    "MAP_ENTRY",
    "SequenceState",
    "HEAD_STRIDE",
    "die_stride",
    "group_channel",
]


class SequenceState:
    """Values of ``SEQUENCE.state``."""

    FREE = 0
    OPEN = 1
    CLOSED = 2


# fmt: off
SEQUENCE = Layout("SEQUENCE", 64, [
    ("state", 0, 0, 8, "SequenceState"),
    ("format", 1, 0, 8, "element format"),
    ("head_dim", 2, 0, 16, "elements of one vector"),
    ("kv_heads", 4, 0, 16, "KV heads"),
    ("layers", 6, 0, 16, "layers"),
    ("max_tokens", 8, 0, 32, "capacity in tokens"),
    ("groups", 12, 0, 32, "map entries per head: ceil(max_tokens / group_tokens)"),
    ("heads", 16, 0, 64, "DRAM address of the HEAD table"),
    ("map", 24, 0, 64, "DRAM address of the map"),
    ("tail", 32, 0, 64, "DRAM address of the tails"),
    ("group_tokens", 40, 0, 16, "tokens of a full group, page_bytes / (2 * head_dim)"),
    ("group_shift", 42, 0, 8, "log2(group_tokens)"),
])

HEAD = Layout("HEAD", 16, [
    ("tokens", 0, 0, 32, "tokens stored, tail included"),
    ("k_exp", 4, 0, 5, "block exponent of K: largest max(exponent field, 1) - 1 so far"),
    ("v_exp", 5, 0, 5, "the same of V"),
    ("k_bad", 6, 0, 1, "K holds an infinity or NaN"),
    ("v_bad", 6, 1, 1, "V holds an infinity or NaN"),
    ("flash_groups", 8, 0, 32, "full groups on flash"),
])

MAP_ENTRY = Layout("MAP_ENTRY", 8, [
    ("k_row", 0, 0, 24, "row address of the K page: block * pages + page"),
    ("k_die", 3, 0, 8, "its die"),
    ("v_row", 4, 0, 24, "row address of the V page"),
    ("v_die", 7, 0, 8, "its die"),
])
# fmt: on


HEAD_STRIDE = 3
"""Channels from the first group of one head to that of the next; odd, so that all come round."""


def group_channel(group, layer, kv_heads, head, channels):
    """Channel that holds token group ``group`` of one head (both K and V)."""
    return (group + HEAD_STRIDE * (layer * kv_heads + head)) % channels


def die_stride(dies):
    """Dies from the first page of one layer on a channel to that of the next layer.

    Half of the dies, so that a layer is programmed while the one before still is.
    """
    return max(1, dies // 2)
