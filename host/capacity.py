"""What a sequence needs of a drive, and whether the drive can still give it.

`Capacity` keeps the books over all open sequences: numbers, device DRAM, flash pages. What one of
them needs is the arithmetic of `host.sequence_shape`. The firmware decides with it for a drive of
gateware, the `twin` and `golden` backends for a drive of arrays, so that all of them refuse the
same things with the same status.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from rtl.commands import Status
from rtl.tables import (
    PAGE_META,
    SEQUENCE,
    bounds_groups,
    column_buffer,
    place_of,
    unit_groups,
)

from .checks import INDEXES
from .errors import DriveError
from .regions import Regions
from .sequence_shape import SequenceShape

__all__ = ["OWN_GROUPS", "Capacity", "Placement", "spare_groups", "whole_groups"]

SPARE_SHARE = 0.02
"""Of all groups, those kept for spares; parts are delivered with up to so many bad blocks."""

OWN_GROUPS = 3
"""Groups that sequences are not promised: one of the firmware's own that is partly filled (moved
pages, saved tails), and two that stay erased, so that a group can be emptied while pages are
appended."""

KEPT = ("nothing", "K by channel", "bounds, whose codewords are 8 * head_dim bytes or a multiple,")
"""What is kept of K besides, by `INDEXES`."""

MOST_HEADS = 1 << PAGE_META.fields["index"].width
"""KV heads of all layers of a sequence, at most."""


def spare_groups(geometry):
    """The last groups of a drive, whose blocks are spares and hold the bad-block table."""
    return max(2, int(geometry.blocks * SPARE_SHARE))


def whole_groups(pages, group_pages):
    """Pages per channel that a sequence with a stream of its own is promised for so many: whole
    groups, and one more, as it may have to begin anew within one (`Space.begin_anew`)."""
    return (1 - -pages // group_pages) * group_pages


@dataclass(frozen=True)
class Placement:
    """What an admitted sequence was given: its number and its tables in device DRAM, 0 for one
    that it has not."""

    sequence: int
    shape: SequenceShape
    heads: int
    map: int
    passes: int
    tail: int
    columns: int


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
        Between them is the unit that is being made (`rtl.tables.column_buffer`).
    """

    SEQUENCE_TABLE = 0
    """Device-DRAM address of the sequence table."""

    def __init__(self, config):
        self._config = config
        geometry = config.flash.geometry
        self.program_buffer = self.SEQUENCE_TABLE + SEQUENCE.size * config.max_sequences
        self.scratch = column_buffer(self.program_buffer, geometry)
        self.scratch += config.max_head_dim * config.code.data_bytes
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

    def shape(self, layers, kv_heads, head_dim, max_tokens, index=0):
        """`SequenceShape` of what is asked for; raises `DriveError` for what cannot be served.

        ``index`` is a number of `INDEXES`.
        """
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
        if INDEXES[index] == "bounds" and not config.bounds:
            refuse(
                Status.UNSUPPORTED_INDEX,
                "index = 'bounds': this drive keeps none, build it with bounds = True",
            )
        units = {d: self._unit_groups(d, index) for d in config.head_dims}
        if index and not units[head_dim]:
            dims = ", ".join(str(d) for d, unit in units.items() if unit) or "none"
            refuse(
                Status.UNSUPPORTED_INDEX,
                f"index = {INDEXES[index]!r} with head_dim = {head_dim}: this drive keeps "
                f"{KEPT[index]} for these head_dims: {dims}",
            )
        return SequenceShape(
            layers=layers,
            kv_heads=kv_heads,
            head_dim=head_dim,
            max_tokens=max_tokens or config.max_tokens,
            page_bytes=geometry.page_bytes,
            channels=geometry.channels,
            pass_tokens=config.pass_tokens,
            unit_groups=units[head_dim],
            bounds=INDEXES[index] == "bounds",
        )

    def _unit_groups(self, head_dim, index):
        """Groups of a unit of what is kept besides K; 0 if nothing is, or not of this head_dim."""
        config = self._config
        page_bytes, codeword_bytes = config.flash.geometry.page_bytes, config.code.data_bytes
        groups = (lambda *_: 0, unit_groups, bounds_groups)[index]
        return groups(head_dim, page_bytes, codeword_bytes)

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
                f"{shape.most_pages.max()} flash pages a channel, "
                f"{free.min()} are not reserved",
            )
        placement = self._enter(number, shape)
        if placement is None:
            raise DriveError(
                Status.NO_SPACE,
                f"{sum(shape.table_bytes.values())} bytes of device DRAM are "
                f"needed, {self._dram.free} are free",
            )
        return placement

    def restore(self, number, shape):
        """`Placement` of a sequence that was admitted before a loss of power."""
        placement = self._enter(number, shape)
        if placement is None:
            raise DriveError(
                Status.NO_SPACE, f"device DRAM has no room any more for sequence {number}"
            )
        return placement

    def _enter(self, number, shape):
        """`Placement` with tables, and pages that are promised; None if the tables do not fit."""
        tables = {name: size for name, size in shape.table_bytes.items() if size}
        addresses = self._dram.allocate_all(tables.values())
        if addresses is None:
            return None
        self._reserved = self._reserved + self._promise(shape)
        self._next = (number + 1) % self._config.max_sequences
        given = dict.fromkeys(shape.table_bytes, 0) | dict(zip(tables, addresses, strict=True))
        self.placements[number] = Placement(number, shape, **given)
        return self.placements[number]

    def _promise(self, shape):
        """Pages per channel that a sequence is promised."""
        pages = shape.most_pages
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
            f"{shape.most_pages.max()} of {self._channel_pages} flash pages a channel and "
            f"{sum(shape.table_bytes.values())} of {self._config.dram_bytes} bytes of device DRAM"
        )

    def release(self, number):
        """Gives back what a sequence was given."""
        placement = self.placements.pop(number)
        for name, size in placement.shape.table_bytes.items():
            if size:
                self._dram.release(getattr(placement, name))
        self._reserved = self._reserved - self._promise(placement.shape)
