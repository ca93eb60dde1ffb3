"""Closed forms: the least time in which a dense attention can leave the flash.

Every channel's bus must carry the codewords of K and V that lie on it, check and parity words
included, and their command and address cycles; the first page is sensed before any data move. All
else may overlap. Nothing here looks at the gateware: it is arithmetic on the flash profile and on
where pages lie.
"""

from dataclasses import dataclass

import numpy as np

from flash_model.timing import cycles
from rtl.tables import group_channel

__all__ = ["READ_CYCLES", "Bound", "dense_bound", "first_page_clocks"]

READ_CYCLES = 7
"""Command and address cycles of a page read: 00h, two of column, three of row, 30h or 31h."""


@dataclass(frozen=True)
class Bound:
    """What a dense attention asks of the flash, in clocks of the drive.

    Parameters
    ----------
    pages : int
        Pages read, over all channels; one that two passes share is read twice, in parts.
    user_bytes : int
        Bytes of K and V among what they hold.
    data, command : int
        Data, and command and address cycles, on the fullest channel's bus.
    latency : int
        The first page, from the end of its command to its first byte; its first codeword is
        whole before a word of it is used, which is not counted.
    peak : float
        ``user_bytes`` at the full rate of all channels: no commands, no latency.
    """

    pages: int
    user_bytes: int
    data: int
    command: int
    latency: int
    peak: float

    @property
    def cycles(self):
        """The bound."""
        return self.data + self.command + self.latency


def first_page_clocks(config):
    """tWB, tR, tRR and the read preamble, each in whole clocks."""
    timing = config.flash.timing
    times = (timing.t_wb_ns, timing.t_r_ns, timing.t_rr_ns, timing.t_preamble_ns)
    return sum(cycles(ns, config.clock_hz) for ns in times)


def dense_bound(config, *, kv_heads, head_dim, tokens, layer=0):
    """`Bound` of attending all tokens of a layer once.

    Parameters
    ----------
    config : DriveConfig
    kv_heads, head_dim, tokens, layer : int
    """
    timing, hz = config.flash.timing, config.clock_hz
    group = config.group_tokens(head_dim)
    on_flash = tokens // group * group  # the rest is in device DRAM
    cuts = {*range(0, on_flash, group), *range(0, on_flash, config.pass_tokens), on_flash}
    edges = np.array(sorted(cuts))
    start, words = edges[:-1], _codeword_words(config.code, edges, group, head_dim)
    clocks = {size: timing.data_cycles(int(size), hz) for size in np.unique(words)}
    data = np.zeros(config.channels, np.int64)
    pages = np.zeros(config.channels, np.int64)
    for head in range(kv_heads):
        channel = group_channel(start // group, layer, kv_heads, head, config.channels)
        np.add.at(data, channel, [2 * clocks[size] for size in words])
        np.add.at(pages, channel, 2)
    command = pages * READ_CYCLES * cycles(timing.t_wc_ns, hz)
    fullest = int(np.argmax(data + command))
    user_bytes = 2 * kv_heads * on_flash * head_dim * 2
    return Bound(
        pages=int(pages.sum()),
        user_bytes=user_bytes,
        data=int(data[fullest]),
        command=int(command[fullest]),
        latency=first_page_clocks(config) if on_flash else 0,
        peak=user_bytes / float(timing.bytes_per_clock(hz)) / config.channels,
    )


def _codeword_words(code, edges, group, head_dim):
    """Words on the bus of each stretch of tokens, none of which crosses a page."""
    first = edges[:-1] % group * head_dim // 4  # user words of the page before it
    last = first + np.diff(edges) * head_dim // 4 - 1
    return (last // code.data_words - first // code.data_words + 1) * code.words
