"""A drive's space without its data: block groups, streams that fill them, what is erased when.

Pages are counted, not addressed: how many of each group a sequence holds. All channels are taken as
equally filled. What the drive's firmware decides is decided by its own pieces
(`host.firmware.groups`, `host.firmware.victims`): which group is used next, emptied, erased::

    append --> stream 0 --> group --+
           --> stream 1 --> group   +--> all dead: erased
                                    +--> some live: emptied, least cost first --> own stream
"""

import heapq

import numpy as np

from flash_model.geometry import Geometry

from ..firmware.blocks import Blocks
from ..firmware.groups import BlockGroups
from ..firmware.space import KEPT_ERASED
from ..firmware.victims import cost, least_cost, resting

__all__ = ["Full", "SpaceModel"]

LOOKED_AT = 32
"""Groups of least cost that are looked at to gain one."""


class Full(Exception):
    """No group can be erased."""


class _Stream:
    """A group that is being filled; ``cold``: with pages that live long."""

    def __init__(self, *, cold=False):
        self.cold = cold
        self.group, self.left = None, 0


class SpaceModel:
    """Space of one drive.

    Parameters
    ----------
    groups : int
        Block groups, those of the spares included.
    group_pages : int
        Pages of each.

    Attributes
    ----------
    books : BlockGroups
    pages : int
        Of a group.
    usable : int
        Groups that can hold pages.
    appended, moved, levelled : int
        Pages written by appends, by compaction, by static wear levelling.
    """

    def __init__(self, groups, group_pages):
        geometry = Geometry(
            channels=1,
            dies=1,
            planes=1,
            blocks=groups,
            pages=1,  # they are counted here
            page_bytes=4096,
            spare_bytes=0,
        )
        self.books = BlockGroups(geometry, Blocks(geometry))
        self.pages = group_pages
        self.usable = self.books.erased
        self._streams = {}
        self._own = _Stream(cold=True)
        self._holders = {}  # group -> {sequence: pages}
        self._held = {}  # sequence -> set of groups
        self._live = {}  # group -> live pages
        self._settled = set()  # groups that nobody writes to any more
        self._left = {}  # those of them that were not filled -> pages left
        self.appended = self.moved = self.levelled = 0
        self.live = 0

    def append(self, sequence, pages, stream=0, *, cold=False):
        """A sequence writes pages to a stream.

        Raises
        ------
        Full
        """
        if stream not in self._streams:
            self._streams[stream] = _Stream(cold=cold)
        self._write(self._streams[stream], sequence, pages)
        self.appended += pages
        self.live += pages

    def end(self, stream):
        """Nothing more is written to a stream; what is left of its group stays unwritten."""
        last = self._streams.pop(stream, None)
        if last is not None and last.left:
            self._left[last.group] = last.left
            self._settled.add(last.group)

    def close(self, sequence):
        """All pages of a sequence are dead."""
        for group in self._held.pop(sequence, ()):
            pages = self._holders[group].pop(sequence)
            self._live[group] -= pages
            self.live -= pages

    def promise(self, pages, stream=0):
        """Erases and empties groups until so many pages can be appended before anything is closed;
        whether they can."""
        last = self._streams.get(stream)
        left = last.left if last is not None else 0
        wanted = max(0, -(-(pages - left) // self.pages))
        self._make_room(wanted + KEPT_ERASED)
        return self.books.erased >= wanted

    def where(self):
        """Pages by what they are: live; dead; left unwritten in groups that nobody fills any more;
        unwritten in groups that are being filled; erased."""
        pages = {
            "live": self.live,
            "left": sum(self._left.values()),
            "filling": sum(s.left for s in (*self._streams.values(), self._own)),
            "erased": self.books.erased * self.pages,
        }
        return pages | {"dead": self.usable * self.pages - sum(pages.values())}

    def _write(self, stream, sequence, pages):
        while pages:
            if not stream.left:
                stream.group, stream.left = self._next(stream), self.pages
            here = min(pages, stream.left)
            holders = self._holders[stream.group]
            holders[sequence] = holders.get(sequence, 0) + here
            self._held.setdefault(sequence, set()).add(stream.group)
            self._live[stream.group] += here
            stream.left -= here
            pages -= here
            if not stream.left:
                self._settled.add(stream.group)

    def _next(self, stream):
        """The next group of a stream."""
        books = self.books
        if stream.cold and (dead := self._dead()):
            self._erase(dead[-1])
        elif stream is not self._own and books.erased <= KEPT_ERASED:
            self._make_room(1 + KEPT_ERASED)
            self._level()
        group = books.take() if stream.cold else books.push()
        if group is None:
            raise Full
        self._holders[group], self._live[group] = {}, 0
        return group

    def _dead(self):
        """Groups with only dead pages, the one that was erased least first."""
        dead = (group for group in self._settled if not self._live[group])
        return sorted(dead, key=lambda group: (self.books.erases[group], group))

    def _make_room(self, groups):
        """Has so many erased groups, or as many as there can be."""
        books = self.books
        while (missing := groups - books.erased) > 0:
            if dead := self._dead():
                for group in dead[:missing]:
                    self._erase(group)
                continue
            least = heapq.nsmallest(LOOKED_AT, self._settled, key=self._cost)
            live = {group: np.array([self._live[group]]) for group in least}
            chosen = least_cost(live, self.pages, books.erases, 1, self._room)
            if chosen is None or self._room(live[chosen[0]]) > books.erased:
                return
            self.moved += self._empty(chosen[0])

    def _cost(self, group):
        return cost(self._live[group], self.pages, self.books.erases[group]), group

    def _level(self):
        """Empties a group whose pages rest, if it was erased far less often than others."""
        books = self.books
        group = resting(self._settled, books.usable_erases, books.age, self.usable)
        if group is not None and self._room(self._live[group]) <= books.erased:
            self.levelled += self._empty(group)

    def _room(self, pages):
        """Erased groups that so many moved pages take."""
        return max(0, -(-(int(np.max(pages)) - self._own.left) // self.pages))

    def _empty(self, group):
        """Moves what lives in a group and erases it; pages moved."""
        self._settled.discard(group)
        holders, self._holders[group] = self._holders[group], {}
        for sequence, pages in holders.items():
            self._held[sequence].discard(group)
            self._write(self._own, sequence, pages)
        moved = self._live[group]
        self._erase(group)
        return moved

    def _erase(self, group):
        self._settled.discard(group)
        del self._holders[group], self._live[group]
        self._left.pop(group, None)
        self.books.recycled(group)
