"""A drive's space without its data: block groups, streams that fill them, what is erased when.

Pages are counted, not addressed: how many of each group a sequence holds. All channels are taken as
equally filled. What the drive's firmware decides is decided by its own pieces
(`host.firmware.groups`, `stripes`, `victims`): which group is used next, emptied, erased::

    append --> stream 0 --> groups --+
           --> stream 1 --> groups   +--> all dead: erased
                                     +--> some live: emptied, least cost first --> a group apart
"""

import heapq

import numpy as np

from flash_model.geometry import Geometry

from ..firmware.blocks import Blocks
from ..firmware.groups import BlockGroups
from ..firmware.space import KEPT_ERASED
from ..firmware.stripes import SHARED_RANK, Lives, width
from ..firmware.victims import cost, least_cost, resting

__all__ = ["Full", "SpaceModel"]

LOOKED_AT = 32
"""Groups of least cost that are looked at to gain one."""


class Full(Exception):
    """No group can be erased."""


class _Stream:
    """Groups that are being filled."""

    def __init__(self):
        self.left = {}  # group -> pages

    def take(self, pages):
        """Pages that each group gets of so many, as evenly as can be: ``(group, pages)``."""
        for number, group in enumerate(sorted(self.left, key=self.left.__getitem__)):
            here = min(self.left[group], -(-pages // (len(self.left) - number)))
            pages -= here
            yield group, here

    @property
    def pages(self):
        """Left in all of them."""
        return sum(self.left.values())


class SpaceModel:
    """Space of one drive.

    Parameters
    ----------
    blocks : int
        Block numbers of a die, those of the spares included.
    group_pages : int
        Pages of a block group.
    parts : int
        Parts of the dies that have groups of their own.

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

    def __init__(self, blocks, group_pages, parts=1):
        geometry = Geometry(
            channels=1,
            dies=parts,
            planes=1,
            blocks=blocks,
            pages=1,  # they are counted here
            page_bytes=4096,
            spare_bytes=0,
        )
        self._blocks = Blocks(geometry, parts=parts)
        self.books = BlockGroups(geometry, self._blocks)
        self.pages = group_pages
        self.usable = self.books.erased
        self._parts = parts
        self._streams = {}
        self._own = _Stream()
        self._lives = Lives()
        self._holders = {}  # group -> {sequence: pages}
        self._held = {}  # sequence -> set of groups
        self._live = {}  # group -> live pages
        self._settled = set()  # groups that nobody writes to any more, with live pages
        self._left = {}  # those of them that were not filled -> pages left
        self.appended = self.moved = self.levelled = 0
        self.live = 0

    def append(self, sequence, pages, stream=0, *, most=None, left=0):
        """A sequence writes pages to a stream.

        Parameters
        ----------
        sequence, pages, stream : int
        most : int, optional
            Pages that the stream may still be written, these included; None: no end is known.
        left : int
            Tokens that may still come, these included.

        Raises
        ------
        Full
        """
        mine = self._streams.setdefault(stream, _Stream())
        self.appended += pages
        self.live += pages
        while pages:
            if not mine.pages:
                wide = self._parts if most is None else width(most, self.pages, self._parts)
                life = SHARED_RANK if most is None else self._lives.rank(left)
                self._stripe(mine, stream, wide, life)
            here = min(pages, mine.pages)
            self._write(mine, sequence, here)
            pages -= here
            most = None if most is None else most - here

    def end(self, stream):
        """Nothing more is written to a stream; what is left of its groups stays unwritten."""
        last = self._streams.pop(stream, _Stream())
        self.books.stripes.pop(stream, None)
        for group, left in last.left.items():
            if left:
                self._left[group] = left
                self._settle(group)

    def close(self, sequence):
        """All pages of a sequence are dead."""
        for group in self._held.pop(sequence, ()):
            pages = self._holders[group].pop(sequence)
            self._live[group] -= pages
            self.live -= pages
            if group in self._settled:
                self._settle(group)

    def promise(self, pages, stream=0):
        """Erases and empties groups until so many pages can be appended before anything is closed;
        whether they can."""
        last = self._streams.get(stream)
        left = last.pages if last is not None else 0
        wanted = max(0, -(-(pages - left) // self.pages))
        self._make_room(wanted + KEPT_ERASED)
        return self.books.erased >= wanted

    def where(self):
        """Pages by what they are: live; dead; left unwritten in groups that nobody fills any more;
        unwritten in groups that are being filled; erased."""
        pages = {
            "live": self.live,
            "left": sum(self._left.values()),
            "filling": sum(s.pages for s in (*self._streams.values(), self._own)),
            "erased": self.books.erased * self.pages,
        }
        return pages | {"dead": self.usable * self.pages - sum(pages.values())}

    def _write(self, stream, sequence, pages):
        for group, here in list(stream.take(pages)):
            if here:
                holders = self._holders[group]
                holders[sequence] = holders.get(sequence, 0) + here
                self._held.setdefault(sequence, set()).add(group)
                self._live[group] += here
                stream.left[group] -= here
                if not stream.left[group]:
                    self._settle(group)

    def _settle(self, group):
        """Nobody writes to a group any more: it may be erased once nothing in it lives."""
        if self._live[group]:
            self._settled.add(group)
        else:
            self._settled.discard(group)
            part = self._blocks.part(group)
            self.books.bury(*np.array([[0], [part], [group // self._parts]]))

    def _stripe(self, stream, number, wide, life):
        """The next groups of a stream."""
        self._make_room(1 + KEPT_ERASED)
        self._level(number)
        stripe = []
        while len(stripe) < wide and (group := self._next(number, stripe, life)) is not None:
            stripe.append(self.books.use(group))
        if not stripe:
            raise Full
        self.books.push(number, stripe)
        del self.books.stripes[number][:-1]  # those are filled
        stream.left = {}
        for group in stripe:
            self._open(stream, group)

    def _next(self, number, stripe, life):
        books = self.books
        group = books.best(number, stripe, life)
        if group is None:
            return None
        if not books.is_erased(group):
            self._erase(group)
        elif stripe and books.erased <= KEPT_ERASED and not self._reclaim():
            return None
        return group

    def _open(self, stream, group):
        stream.left[group] = self.pages
        self._holders[group], self._live[group] = {}, 0

    def _reclaim(self):
        """Erases a group with only dead pages; whether there was one."""
        for group in self.books.reclaimable[:1]:
            self._erase(group)
            return True
        return False

    def _make_room(self, groups):
        """Has so many erased groups, or as many as there can be."""
        books = self.books
        while books.erased < groups:
            if self._reclaim():
                continue
            least = heapq.nsmallest(LOOKED_AT, self._settled, key=self._cost)
            live = {group: np.array([self._live[group]]) for group in least}
            chosen = least_cost(live, self.pages, books.erases, 1, self._room)
            if chosen is None or self._room(live[chosen[0]]) > books.erased:
                return
            self.moved += self._empty(chosen[0])

    def _cost(self, group):
        return cost(self._live[group], self.pages, self.books.erases[group]), group

    def _level(self, but):
        """Empties a group whose pages rest, if it was erased far less often than others."""
        books = self.books
        filling = {g: n for n, s in self._streams.items() for g, left in s.left.items() if left}
        group = resting(filling, books.usable_erases, books.age, self.usable)
        if group is not None and filling[group] != but:
            self.end(filling[group])
        group = resting(self._settled, books.usable_erases, books.age, self.usable)
        if group is not None and self._room(self._live[group]) <= books.erased:
            self.levelled += self._empty(group)

    def _room(self, pages):
        """Erased groups that so many moved pages take."""
        return max(0, -(-(int(np.max(pages)) - self._own.pages) // self.pages))

    def _empty(self, group):
        """Moves what lives in a group and erases it; pages moved."""
        self._settled.discard(group)
        holders, self._holders[group] = self._holders[group], {}
        for sequence, pages in holders.items():
            self._held[sequence].discard(group)
            while pages:
                if not self._own.pages:
                    self._own.left = {}
                    self._open(self._own, self.books.take())
                here = min(pages, self._own.pages)
                self._write(self._own, sequence, here)
                pages -= here
        moved = self._live[group]
        self._erase(group)
        return moved

    def _erase(self, group):
        self._settled.discard(group)
        del self._holders[group], self._live[group]
        self._left.pop(group, None)
        self.books.recycled(group)
