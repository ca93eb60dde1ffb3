"""The arithmetic of one sequence: token groups, units, tables, flash pages per channel."""

from dataclasses import dataclass, replace

import numpy as np

from rtl.tables import (
    COLUMN_ENTRY,
    HEAD,
    HEAD_STRIDE,
    MAP_ENTRY,
    PASS,
    SEQUENCE,
    column_channel,
    group_channel,
    program_slots,
    slot_bytes,
)

__all__ = ["SequenceShape", "device_dram"]


@dataclass(frozen=True, kw_only=True)
class SequenceShape:
    """Shape of a sequence's K and V and its capacity.

    Parameters
    ----------
    layers, kv_heads, head_dim, max_tokens : int
    page_bytes, channels : int
        Of the drive's flash.
    pass_tokens : int
        Of the drive.
    first_channel, first_die : int
        Where its pages begin, see `rtl.tables.place_of`.
    unit_groups : int
        Groups of a unit of K by channel (`rtl.tables.unit_groups`) or of bounds of K
        (`rtl.tables.bounds_groups`); 0: neither is kept.
    bounds : bool
        Units are of bounds.
    """

    layers: int
    kv_heads: int
    head_dim: int
    max_tokens: int
    page_bytes: int
    channels: int
    pass_tokens: int
    first_channel: int = 0
    first_die: int = 0
    unit_groups: int = 0
    bounds: bool = False

    @property
    def place(self):
        """``(first_channel, first_die)``"""
        return self.first_channel, self.first_die

    def at(self, place):
        """The same shape in another place."""
        return replace(self, first_channel=place[0], first_die=place[1])

    def channel(self, group, index):
        """Channel of a token group of head ``index``, ``layer * kv_heads + h``."""
        return group_channel(group, 0, 0, index, self.channels, self.first_channel)

    def column_channel(self, page, index):
        """Channel of a page of a unit of head ``index``."""
        unit = self.unit_pages
        return column_channel(page, unit, index, self.channels, self.first_channel)

    @property
    def heads(self):
        """KV heads of all layers; head ``layer * kv_heads + h``."""
        return self.layers * self.kv_heads

    @property
    def group_tokens(self):
        """Tokens of a full group."""
        return self.page_bytes // (2 * self.head_dim)

    @property
    def groups(self):
        """Map entries per head."""
        return -(-self.max_tokens // self.group_tokens)

    @property
    def passes(self):
        """PASS entries per head."""
        return -(-self.max_tokens // self.pass_tokens)

    def passes_of(self, tokens):
        """Passes of a head that holds so many tokens."""
        return -(-tokens // self.pass_tokens)

    def pages_of(self, tokens):
        """Flash pages of K that an attend of one head reads, ``tokens`` of it on flash: a page that
        holds the end of one pass and the beginning of the next is read for both."""
        starts = np.arange(0, tokens, self.pass_tokens)
        ends = np.minimum(starts + self.pass_tokens, tokens)
        return int((-(-ends // self.group_tokens) - starts // self.group_tokens).sum())

    @property
    def index(self):
        """What is kept of K besides, a number of `host.checks.INDEXES`."""
        return (1 + self.bounds) * (self.unit_groups > 0)

    @property
    def unit_tokens(self):
        """Tokens of a unit of K by channel, or of bounds; 0: neither is kept."""
        return self.unit_groups * self.group_tokens

    @property
    def unit_pages(self):
        """Flash pages of a unit: of K by channel as many as it has groups, of bounds one."""
        return min(1, self.unit_groups) if self.bounds else self.unit_groups

    def cut_append(self, held, tokens, max_transfer):
        """Tokens of each command that appends ``tokens`` to a layer that holds ``held``.

        Commands of whole units begin where a unit does, if that is to be had: the drive makes those
        on the way.
        """
        most, unit = max(1, max_transfer // self.token_bytes), self.unit_tokens
        first = most
        if 0 < unit <= most:
            most -= most % unit
            first = -held % unit or most
            if tokens < first + unit:
                first = most
        while tokens > 0:
            yield min(first, tokens)
            tokens -= first
            first = most

    @property
    def token_bytes(self):
        """Bytes of K and V of one token and layer."""
        return 4 * self.kv_heads * self.head_dim

    @property
    def table_bytes(self):
        """Device DRAM of each table, by the names that `rtl.tables.SEQUENCE` has for them."""
        columns = self.first_column(self.heads - 1) + self.column_pages(self.groups)
        return {
            "heads": HEAD.size * self.heads,
            "map": MAP_ENTRY.size * self.heads * self.groups,
            "passes": PASS.size * self.heads * self.passes,
            "tail": 2 * self.page_bytes * self.heads,
            "columns": -(-columns // 2) * COLUMN_ENTRY.size,
        }

    def first_column(self, index):
        """Place of a head's first page in the table of pages of units."""
        return index * self.groups * self.unit_pages // (self.unit_groups or 1)

    def column_pages(self, groups):
        """Pages of whole units of a head with so many groups (an int or an array) on flash."""
        return groups // self.unit_groups * self.unit_pages if self.unit_groups else 0 * groups

    @property
    def most_pages(self):
        """Flash pages per channel of all that it may hold, units included."""
        return self.channel_pages() + self.channel_columns()

    def channel_columns(self, first=0, last=None):
        """Flash pages per channel of units, of the pages ``first`` to ``last`` of every head, both
        of whole ones; otherwise as `channel_pages`."""
        last = self.column_pages(self._full_groups) if last is None else last
        unit = self.unit_pages or 1
        return self.unit_pages * self._on_channels(first // unit, last // unit)

    @property
    def _full_groups(self):
        return self.max_tokens // self.group_tokens

    def channel_pages(self, first=0, last=None):
        """Flash pages per channel of K and V of the full groups ``first`` to ``last`` of every
        head.

        ``first`` and ``last`` are ints or arrays with one entry per head; ``last`` (excluded) is
        the capacity's number of full groups if not given.
        """
        return 2 * self._on_channels(first, self._full_groups if last is None else last)

    def _on_channels(self, first, last):
        """Groups, or units, ``first`` to ``last`` (excluded) of every head, by channel."""
        head = np.arange(self.heads)[:, None]
        residue = np.arange(self.channels)[None, :] - HEAD_STRIDE * head - self.first_channel
        residue %= self.channels

        def below(count):  # groups g < count with g % channels == residue
            count = np.broadcast_to(np.asarray(count, dtype=np.int64), (self.heads,))[:, None]
            return (count - residue + self.channels - 1) // self.channels

        return (below(last) - below(first)).sum(axis=0)


def device_dram(shape, sequences, geometry):
    """Bytes of device DRAM that so many sequences take.

    Parameters
    ----------
    shape : SequenceShape
        Of each.
    sequences : int
    geometry : flash_model.geometry.Geometry

    Returns
    -------
    dict
        ``sequences`` (their table), ``heads``, ``map``, ``passes``, ``tail``, ``columns`` (where
        pages of units lie), ``slots`` (pages on their way to a die: the second buffer of what is
        flushed, for all sequences together), ``unit`` (the unit of K by channel or of bounds that
        is being made, one for the drive).
    """
    return {
        "sequences": SEQUENCE.size * sequences,
        **{name: sequences * size for name, size in shape.table_bytes.items()},
        "slots": program_slots(geometry) * slot_bytes(geometry),
        "unit": shape.unit_pages * shape.page_bytes,
    }
