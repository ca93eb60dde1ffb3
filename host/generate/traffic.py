"""Where attended tokens lie: pages a decode step must read, by channel, from the map's own rule."""

import numpy as np

from rtl.tables import group_channel, place_of

__all__ = ["Traffic", "batch_traffic", "expected_traffic"]


class Traffic:
    """What one decode step attends.

    Parameters
    ----------
    flash, tail : int64 array [channels]
        Tokens (summed over layers and KV heads) attended from flash pages and from tail buffers.
    pages : int64 array [channels]
        Pages that hold them: one of K and one of V per group.

    Attributes
    ----------
    share : float array [channels]
        Part of a channel's tokens that lies on flash; 1 where a channel has no token.
    """

    def __init__(self, flash, tail, pages):
        self.flash, self.tail, self.pages = flash, tail, pages
        total = flash + tail
        self.share = np.where(total > 0, flash / np.maximum(total, 1), 1.0)


def batch_traffic(config, contexts, rows, layers, kv_heads, head_dim):
    """Traffic of a step of several sequences.

    ``contexts`` are the tokens that each attends, and ``rows`` their numbers in the order in which
    they were opened, on a drive that held no other.
    """
    geometry = config.flash.geometry
    rows = [
        expected_traffic(
            config,
            context,
            layers,
            kv_heads,
            head_dim,
            place_of(row, geometry.channels, geometry.dies)[0],
        )
        for context, row in zip(contexts, rows, strict=True)
    ]
    return Traffic(
        *(sum(getattr(row, name) for row in rows) for name in ("flash", "tail", "pages"))
    )


def expected_traffic(config, context, layers, kv_heads, head_dim, first_channel=0):
    """Traffic of a step, after `rtl.tables.group_channel`.

    Parameters
    ----------
    config : DriveConfig
    context : int
        Tokens attended, the new one included.
    layers, kv_heads, head_dim : int
        Shape of the KV cache.
    first_channel : int
        Of the sequence.
    """
    size, channels = config.group_tokens(head_dim), config.channels
    full, rest = divmod(context, size)
    groups = np.arange(full)
    flash, tail = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for layer in range(layers):
        for head in range(kv_heads):
            on = group_channel(groups, layer, kv_heads, head, channels, first_channel)
            flash += size * np.bincount(on, minlength=channels)
            at = group_channel(full, layer, kv_heads, head, channels, first_channel)
            tail[at] += rest
    return Traffic(flash, tail, 2 * flash // size)
