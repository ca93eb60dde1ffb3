"""What a sequence needs of a drive, and whether the drive can still give it.

`SequenceShape` is the arithmetic of one sequence: groups, tables, flash pages per channel.
`Capacity` keeps the books over all open sequences: numbers, device DRAM, flash pages. The firmware
decides with it for a drive of gateware, the `twin` and `golden` backends for a drive of arrays, so
that all of them refuse the same things with the same status.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from rtl.commands import Status
from rtl.tables import (
    HEAD,
    HEAD_STRIDE,
    MAP_ENTRY,
    PAGE_META,
    PASS,
    SEQUENCE,
    group_channel,
    place_of,
    program_slots,
    slot_bytes,
)

from .errors import DriveError
from .regions import Regions

__all__ = [
    "OWN_GROUPS",
    "Capacity",
    "Placement",
    "SequenceShape",
    "device_dram",
    "spare_groups",
    "whole_groups",
]

SPARE_SHARE = 0.02
"""Of all groups, those kept for spares; parts are delivered with up to so many bad blocks."""

OWN_GROUPS = 3
"""Groups that sequences are not promised: one of the firmware's own that is partly filled (moved
pages, saved tails), and two that stay erased, so that a group can be emptied while pages are
appended."""

MOST_HEADS = 1 << PAGE_META.fields["index"].width
"""KV heads of all layers of a sequence, at most."""


def spare_groups(geometry):
    """The last groups of a drive, whose blocks are spares and hold the bad-block table."""
    return max(2, int(geometry.blocks * SPARE_SHARE))


def whole_groups(pages, group_pages):
    """Pages per channel that a sequence with a stream of its own is promised for so many: whole
    groups, and one more, as it may have to begin anew within one (`Space.begin_anew`)."""
    return (1 - -pages // group_pages) * group_pages


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
    def token_bytes(self):
        """Bytes of K and V of one token and layer."""
        return 4 * self.kv_heads * self.head_dim

    @property
    def table_bytes(self):
        """Device DRAM of head table, map, pass table and tails."""
        return (
            HEAD.size * self.heads,
            MAP_ENTRY.size * self.heads * self.groups,
            PASS.size * self.heads * self.passes,
            2 * self.page_bytes * self.heads,
        )

    def channel_pages(self, first=0, last=None):
        """Flash pages per channel of the full groups ``first`` to ``last`` of every head.

        ``first`` and ``last`` are ints or arrays with one entry per head; ``last`` (excluded) is
        the capacity's number of full groups if not given.
        """
        last = self.max_tokens // self.group_tokens if last is None else last
        head = np.arange(self.heads)[:, None]
        residue = np.arange(self.channels)[None, :] - HEAD_STRIDE * head - self.first_channel
        residue %= self.channels

        def below(count):  # groups g < count with g % channels == residue
            count = np.broadcast_to(np.asarray(count, dtype=np.int64), (self.heads,))[:, None]
            return (count - residue + self.channels - 1) // self.channels

        return 2 * (below(last) - below(first)).sum(axis=0)


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
        ``sequences`` (their table), ``heads``, ``map``, ``passes``, ``tails``, ``slots`` (pages on
        their way to a die: the second buffer of what is flushed, for all sequences together).
    """
    names = ("heads", "map", "passes", "tails")
    tables = dict(zip(names, (sequences * size for size in shape.table_bytes), strict=True))
    slots = program_slots(geometry) * slot_bytes(geometry)
    return {"sequences": SEQUENCE.size * sequences, **tables, "slots": slots}


@dataclass(frozen=True)
class Placement:
    """What an admitted sequence was given: its number and its tables in device DRAM."""

    sequence: int
    shape: SequenceShape
    heads: int
    map: int
    passes: int
    tail: int


class Capacity:
    """Books of a drive: sequence numbers, device DRAM behind the sequence table, flash pages.

    Numbers are dealt round robin, so that a closed one answers as closed for as long as possible.

    Parameters
    ----------
    config : DriveConfig

    Attributes
    ----------
    program_buffer, scratch : int
        Device-DRAM addresses of the program slots, and of room for a page with its spare bytes.
    """

    SEQUENCE_TABLE = 0
    """Device-DRAM address of the sequence table."""

    def __init__(self, config):
        self._config = config
        geometry = config.flash.geometry
        self.program_buffer = self.SEQUENCE_TABLE + SEQUENCE.size * config.max_sequences
        self.scratch = self.program_buffer + program_slots(geometry) * slot_bytes(geometry)
        free = self.scratch + geometry.page_total
        self._dram = Regions(free, config.dram_bytes - free)
        self._group_pages = geometry.dies // config.die_parts * geometry.pages
        groups = (geometry.blocks - spare_groups(geometry)) * config.die_parts - OWN_GROUPS
        if config.append_streams > 1:
            groups -= config.die_parts  # a stripe of the shared stream that is partly filled
        self._channel_pages = groups * self._group_pages
        self._reserved = np.zeros(config.channels, dtype=np.int64)
        self._next = 0
        self.placements = {}

    def shape(self, layers, kv_heads, head_dim, max_tokens):
        """`SequenceShape` of what is asked for; raises `DriveError` for what cannot be served."""
        config = self._config

        def refuse(status, detail):
            raise DriveError(status, detail)

        if not 1 <= layers <= 0xFFFF:
            refuse(Status.TOO_MANY_LAYERS, f"layers = {layers} is not in 1..65535")
        most = min(0xFFFF, config.max_transfer // (4 * head_dim) if head_dim > 0 else 0xFFFF)
        if head_dim not in config.head_dims:
            dims = ", ".join(map(str, config.head_dims))
            refuse(Status.UNSUPPORTED_HEAD_DIM, f"head_dim = {head_dim} is not one of {dims}")
        if layers * kv_heads > MOST_HEADS:
            refuse(
                Status.TOO_MANY_KV_HEADS,
                f"{layers} layers of {kv_heads} KV heads are {layers * kv_heads} heads, "
                f"{MOST_HEADS} at most",
            )
        if not 1 <= kv_heads <= most:
            refuse(
                Status.TOO_MANY_KV_HEADS,
                f"kv_heads = {kv_heads} is not in 1..{most}: one command moves a token of all of "
                f"them, {config.max_transfer} bytes at most",
            )
        if not 0 <= max_tokens <= config.max_tokens:
            raise DriveError(
                Status.CONTEXT_EXCEEDED,
                f"max_tokens = {max_tokens} is not in 1..{config.max_tokens}",
            )
        geometry = config.flash.geometry
        return SequenceShape(
            layers=layers,
            kv_heads=kv_heads,
            head_dim=head_dim,
            max_tokens=max_tokens or config.max_tokens,
            page_bytes=geometry.page_bytes,
            channels=geometry.channels,
            pass_tokens=config.pass_tokens,
        )

    def admit(self, shape, saved=0, place=None):
        """`Placement` of a new sequence; raises `DriveError` where there is no room for it.

        Parameters
        ----------
        shape : SequenceShape
        saved : int array [channels], optional
            Flash pages that sequences share, the new one included: pages counted for several of
            them of which there is one.
        place : tuple of int, optional
            Where its pages begin, which a fork has from the sequence that it shares them with.
            Else it is chosen: of the places with room, the first that fewest open sequences have.
        """
        slots = self._config.max_sequences
        number = next(
            (
                n % slots
                for n in range(self._next, self._next + slots)
                if n % slots not in self.placements
            ),
            None,
        )
        if number is None:
            raise DriveError(Status.TOO_MANY_SEQUENCES, f"{slots} sequences are open")
        free = self._channel_pages - (self._reserved - saved)
        for choice in self._places() if place is None else [place]:
            shape = shape.at(choice)
            if (self._promise(shape) <= free).all():
                break
        else:
            raise DriveError(
                Status.NO_SPACE,
                f"{shape.max_tokens} tokens of {shape.heads} heads need up to "
                f"{shape.channel_pages().max()} flash pages a channel, "
                f"{free.min()} are not reserved",
            )
        addresses = self._dram.allocate_all(shape.table_bytes)
        if addresses is None:
            raise DriveError(
                Status.NO_SPACE,
                f"{sum(shape.table_bytes)} bytes of device DRAM are "
                f"needed, {self._dram.free} are free",
            )
        self._reserved = self._reserved + self._promise(shape)
        self._next = (number + 1) % slots
        self.placements[number] = Placement(number, shape, *addresses)
        return self.placements[number]

    def restore(self, number, shape):
        """`Placement` of a sequence that was admitted before a loss of power."""
        addresses = self._dram.allocate_all(shape.table_bytes)
        if addresses is None:
            raise DriveError(
                Status.NO_SPACE, f"device DRAM has no room any more for sequence {number}"
            )
        self._reserved = self._reserved + self._promise(shape)
        self._next = (number + 1) % self._config.max_sequences
        self.placements[number] = Placement(number, shape, *addresses)
        return self.placements[number]

    def _promise(self, shape):
        """Pages per channel that a sequence is promised."""
        pages = shape.channel_pages()
        own = self._config.stream_groups * self._group_pages
        if self._config.append_streams > 1 and pages.max() >= own:
            return whole_groups(pages, self._group_pages)
        return pages

    def _places(self):
        """Places for a sequence, the best first; the same channel twice only with another die."""
        geometry = self._config.flash.geometry
        taken = Counter(placement.shape.place for placement in self.placements.values())
        places = [
            place_of(number, geometry.channels, geometry.dies)
            for number in range(geometry.channels * geometry.dies)
        ]
        return sorted(places, key=lambda place: taken[place])

    def demand(self, shape, status):
        """Words for a refusal of ``shape`` by the firmware, which answers with a status alone."""
        if status == Status.TOO_MANY_SEQUENCES:
            return f"{self._config.max_sequences} sequences are open"
        return (
            f"{shape.max_tokens} tokens of {shape.heads} heads need up to "
            f"{shape.channel_pages().max()} of {self._channel_pages} flash pages a channel and "
            f"{sum(shape.table_bytes)} of {self._config.dram_bytes} bytes of device DRAM"
        )

    def release(self, number):
        """Gives back what a sequence was given."""
        placement = self.placements.pop(number)
        for address in (placement.heads, placement.map, placement.passes, placement.tail):
            self._dram.release(address)
        self._reserved = self._reserved - self._promise(placement.shape)
