"""Tokens of a sequence that fill no group yet, saved on flash: they outlive a loss of power.

One record for all heads, cut into pages of `PageKind.TAILS`::

    | tokens of each head, 32 bits | K, V of head 0's tail | K, V of head 1's tail | ...

A page of it has the record's own segment, and its number for a group. The next record of a sequence
takes the place of this one, in pages of its own.
"""

import numpy as np

from rtl.commands import Status
from rtl.tables import PAGE_META, PageKind

from ..errors import DriveError
from . import tables

__all__ = ["SavedTails", "unpack_tails"]


class SavedTails:
    """Where saved tails lie.

    Parameters
    ----------
    config : DriveConfig
    """

    def __init__(self, config):
        self._geometry = config.flash.geometry
        self._places = {}  # segment -> list of (channel, die, row)

    def most(self, placement):
        """Pages of each channel that a sequence's tails take at most."""
        shape = placement.shape
        head = 4 + 4 * shape.head_dim * (shape.group_tokens - 1)
        pages = -(-shape.heads * head // self._geometry.page_bytes)
        channels = [self._channel(n, placement.sequence) for n in range(pages)]
        return np.bincount(channels, minlength=self._geometry.channels)

    def write(self, device, placement, segment, own, program):
        """Saves the tails of a sequence.

        Parameters
        ----------
        device : Device
        placement : Placement
        segment : int
        own : OwnPages
        program : callable
            `Repair.program`.

        Raises
        ------
        DriveError
            What was written then counts for nothing: `drop` it.
        """
        record, size = pack_tails(device, placement), self._geometry.page_bytes
        self._places[segment] = []
        for number, at in enumerate(range(0, len(record), size)):
            channel = self._channel(number, placement.sequence)
            die = number // self._geometry.channels % self._geometry.dies
            user = np.frombuffer(record[at : at + size].ljust(size, b"\0"), np.uint8)
            meta = PAGE_META.pack(kind=PageKind.TAILS, group=number, segment=segment)
            place = program(channel, *own.place(channel, die), meta, user)
            self._places[segment].append((channel, *place))

    def found(self, segment, places):
        """After a loss of power: these pages hold them, (channel, die, row) each."""
        self._places[segment] = list(places)

    def drop(self, segment):
        """They are saved no more; arrays of channel, die and row of what is dead now."""
        return _arrays(self._places.pop(segment, []))

    def places(self):
        """Arrays of channel, die and row of all that count."""
        return _arrays([place for places in self._places.values() for place in places])

    def move(self, segment, channel, old, new):
        """A page has another place ``(die, row)`` on its channel; whether it still counts."""
        places = self._places.get(segment, [])
        if (channel, *old) not in places:
            return False
        places[places.index((channel, *old))] = (channel, *new)
        return True

    def _channel(self, number, sequence):
        return (number + sequence) % self._geometry.channels


def _arrays(places):
    return tuple(np.array(places, np.int64).reshape(-1, 3).T)


def pack_tails(device, placement):
    """The record of a sequence as it is now."""
    shape, heads = placement.shape, tables.read_heads(device, placement)
    raw = np.frombuffer(device.load(placement.tail, shape.table_bytes["tail"]), np.uint8)
    raw = raw.reshape(shape.heads, 2, shape.page_bytes)
    used = 2 * shape.head_dim * heads.tail_tokens
    parts = (raw[index, :, :size].tobytes() for index, size in enumerate(used))
    return heads.tokens.astype("<u4").tobytes() + b"".join(parts)


def unpack_tails(shape, pages):
    """What was saved.

    Parameters
    ----------
    shape : SequenceShape
    pages : list of uint8 arrays
        User bytes, in order.

    Returns
    -------
    tokens : int array [heads]
    tails : list of uint8 arrays [2, bytes]
        K and V of each head's tail.

    Raises
    ------
    DriveError
        Pages are missing at the end.
    """
    record = b"".join(page.tobytes() for page in pages)
    tokens = np.frombuffer(record[: 4 * shape.heads], "<u4").astype(np.int64)
    ends = 4 * shape.heads + 4 * shape.head_dim * np.cumsum(tokens % shape.group_tokens)
    if len(tokens) < shape.heads or len(record) < ends[-1]:
        raise DriveError(Status.UNRECOVERED_READ, "saved tails end early")
    cuts = np.frombuffer(record, np.uint8)
    begins = np.concatenate([[4 * shape.heads], ends[:-1]])
    return tokens, [cuts[a:b].reshape(2, -1) for a, b in zip(begins, ends, strict=True)]
