"""Space: erased block groups for what open sequences were promised, and how they are gained.

The append path is kept supplied with erased groups; groups whose pages are all dead are erased;
groups that hold live pages too are emptied when it is time (`compaction`).
"""

import numpy as np

from rtl.commands import Status

from ..errors import DriveError
from . import tables
from .compaction import Compaction
from .own_pages import OwnPages

__all__ = ["KEPT_ERASED", "STARVED", "Space"]

PUSHED_AHEAD = 4
"""Block groups that the append path is given ahead; it calls when it has none left."""

KEPT_ERASED = 2
"""Erased groups kept: one for pages that compaction moves, one for the append path meanwhile."""

STARVED = 2
"""Of MAILBOX_STATUS: the append path waits for a block group."""


class Space:
    """Block groups of a drive.

    Parameters
    ----------
    config : DriveConfig
    device : Device
    capacity : Capacity
    repair : Repair
    shared : SharedPages
    tails : SavedTails
    pages : RawPages

    Attributes
    ----------
    groups : BlockGroups
    own : OwnPages
    compaction : Compaction
    """

    def __init__(self, config, device, capacity, repair, shared, tails, pages):
        self._config, self._device, self._capacity = config, device, capacity
        self._repair, self._shared, self._tails = repair, shared, tails
        self.groups = repair.groups
        self.own = OwnPages(config.flash.geometry, self.groups, repair.blocks)
        self.compaction = Compaction(repair, self.own, pages, self._erase, self.live, self.feed)
        self._ring = 0  # groups that the append path holds at most

    def start(self):
        """The append path holds no group yet."""
        self._ring = self._device.read("GROUP_FREE")

    def shortage(self, placed=0):
        """Erased block groups missing for what open sequences may still append, see `BlockGroups`.

        ``placed`` pages per channel of that are about to be written elsewhere.
        """
        needed = np.zeros(self._config.channels, np.int64)
        for placement in self._capacity.placements.values():
            held = tables.read_heads(self._device, placement).flash_groups
            needed += placement.shape.channel_pages(first=held)
        return self.groups.shortage(self._appended(), needed - placed)

    def keeps(self):
        """Whether there is room for all that open sequences may still append."""
        return self.compaction.possible(self.shortage() - len(self.groups.reclaimable))

    def lag(self):
        """Pages that each channel's append path is behind the foremost, which limits its ring."""
        written = self.groups.written(self._appended())
        return written.max() - written

    def _appended(self):
        """Pages per channel that the append path wrote and that open sequences hold."""
        return self.groups.by_append_path(*self._shared.distinct(*self.held_pages()))

    def held_pages(self):
        """Channel, die and row of the pages of all sequences; what several hold, several times."""
        none = np.empty(0, np.int64)
        maps = [
            tables.read_map(self._device, placement)
            for placement in self._capacity.placements.values()
        ]
        return [np.concatenate(parts) for parts in zip((none,) * 3, *maps, strict=True)]

    def live(self):
        """Channel, die and row of all pages that count, each once."""
        pairs = zip(self._shared.distinct(*self.held_pages()), self._tails.places(), strict=True)
        return [np.concatenate(pair) for pair in pairs]

    def provide(self, groups=0, placed=0):
        """Makes sure of erased groups for all that open sequences may still append; whether there
        are enough.

        Those that groups with live pages have to be emptied for are not gained yet, see
        `keep_room`: what is closed until then need not be moved.

        Parameters
        ----------
        groups : int
            Erased groups that are wanted besides, at once.
        placed : int array [channels]
            Pages that these are for, of what open sequences may still append.
        """
        if groups:
            self._make_room(groups + KEPT_ERASED)
        missing = self.shortage(placed) + groups
        if missing > 0:
            missing -= self.reclaim(missing)
        return groups <= self.groups.erased and self.compaction.possible(missing)

    def _make_room(self, groups):
        """Has so many erased groups at hand, or as many as there can be."""
        missing = groups - self.groups.erased
        if missing > 0 and (missing := missing - self.reclaim(missing)) > 0:
            self.compaction.gain(missing)

    def keep_room(self):
        """Has a few erased groups at hand, as without one none can be emptied, and what was read
        too often written anew. Attention is not under way.
        """
        if self.groups.erased < KEPT_ERASED:
            self._make_room(KEPT_ERASED)
            self.compaction.level()
        if self._repair.read_often:
            blocks = self._repair.blocks
            self.compaction.refresh({blocks.serves(*place)[1] for place in self._repair.read_often})

    def reclaim(self, count=1):
        """Erases up to ``count`` dead block groups; returns how many became usable."""
        usable = 0
        for group in self.groups.reclaimable:
            if usable == count:
                break
            usable += self._erase(group)
        return usable

    def _erase(self, group):
        """Erases a group that has only dead pages; whether it became usable."""
        whole = self._repair.erase(group)
        (self.groups.recycled if whole else self.groups.retired)(group)
        return whole

    def supply(self):
        """Keeps a few groups pushed ahead of the slowest channel."""
        free = self._device.read("GROUP_FREE")
        self._push_some(min(free, PUSHED_AHEAD - (self._ring - free)))

    def feed(self):
        """Gives the append path block groups if it waits for some."""
        if self._device.read("MAILBOX_STATUS") & STARVED:
            self._relieve()

    def _relieve(self):
        """A channel ran dry: gives it a few groups more, as far as the append path takes them."""
        free = self._device.read("GROUP_FREE")
        if not free:
            raise DriveError(
                Status.NO_SPACE,
                "one flash channel was filled far ahead of another, and "
                "the append path holds no more block groups",
            )
        if not self._push():
            raise DriveError(Status.NO_SPACE, "no erased block group is left")
        self._push_some(min(free, PUSHED_AHEAD) - 1)

    def _push_some(self, count):
        """Hands so many groups to the append path, but none of the last ones."""
        for _ in range(count):
            if self.groups.erased > KEPT_ERASED or self.reclaim():
                self._push()

    def _push(self):
        """Hands one group to the append path; whether there was one."""
        group = self.groups.push()
        if group is None and self.reclaim():
            group = self.groups.push()
        if group is not None:
            self._repair.push(group, self.groups.pushed - 1)
            self._device.write("GROUP_PUSH", group)
        return group is not None
