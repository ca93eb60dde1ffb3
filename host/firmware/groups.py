"""Block groups: which are erased, which the append path fills, which hold only dead pages.

A *block group* is one block number on every die of every channel. Its life::

    erased --push--> filled by the append path --------+--all pages written and dead--> erased again
          +--take--> filled by preload or `own_pages` -+--what lives moved: `compaction`--^

A group is erased as a whole. So what open sequences still may write is kept available in whole
groups: see `shortage`.

The append path is given the group that was erased least; what is moved has outlived its neighbours
and goes to the one that was erased most, where it may rest.
"""

import numpy as np

from ..capacity import spare_groups

__all__ = ["BlockGroups"]


class BlockGroups:
    """Books of all block groups.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    blocks : host.firmware.blocks.Blocks
        Which blocks they are made of.

    Attributes
    ----------
    channel_pages : int
        Pages of a group on each channel.
    pushed : int
        Groups handed to the append path so far.
    erases : list of int
        How often each group was erased.
    """

    def __init__(self, geometry, blocks):
        self._geometry = geometry
        self._blocks = blocks
        self.channel_pages = geometry.dies * geometry.pages
        self._usable = geometry.blocks - spare_groups(geometry)
        self._erased = list(range(self._usable))
        self._uses, self._used_at = 0, {}
        self.erases = [0] * geometry.blocks
        self._dead = np.zeros((geometry.blocks, geometry.channels), np.int64)
        self._used = set()  # pushed or taken, and not erased since
        self._back_door = set()  # those of them that were taken
        self._spent = np.zeros(geometry.channels, np.int64)  # append path's pages that have died
        self.pushed = 0
        self.erases = [0] * geometry.blocks

    @property
    def erased(self):
        """Number of erased groups at hand."""
        return len(self._erased)

    @property
    def in_use(self):
        """Groups that were pushed or taken, and not erased since."""
        return sorted(self._used)

    @property
    def reclaimable(self):
        """Groups all of whose pages were written and are dead: they may be erased. The one that was
        erased least comes first."""
        dead = (g for g in sorted(self._used) if (self._dead[g] == self.channel_pages).all())
        return sorted(dead, key=self.erases.__getitem__)

    @property
    def usable_erases(self):
        """How often each group that can hold pages was erased."""
        return self.erases[: self._usable]

    def age(self, group):
        """Groups that came into use since a group did."""
        return self._uses - self._used_at[group]

    def push(self):
        """The next group for the append path, or None."""
        group = self._use(min)
        self.pushed += group is not None
        return group

    def take(self):
        """An erased group for pages that the append path does not write, or None."""
        group = self._use(max)
        if group is not None:
            self._back_door.add(group)
        return group

    def _use(self, most):
        if not self._erased:
            return None
        group = most(self._erased, key=self.erases.__getitem__)  # of equals the one erased first
        self._erased.remove(group)
        self._used.add(group)
        self._uses += 1
        self._used_at[group] = self._uses
        return group

    def uses(self, group):
        """Whether a group is erased, being filled, or holds pages."""
        return group in self._erased or group in self._used

    def give_up(self):
        """An erased group that is not used any more: the last one, or None."""
        return self._erased.pop() if self._erased else None

    def drop(self, group):
        """An erased group that cannot be made whole is not used any more."""
        if group in self._erased:
            self._erased.remove(group)

    def restore(self, channel, die, row):
        """After a loss of power: these pages count, and nobody knows what else was written.

        No group is erased, but those without such a page are reclaimable.
        """
        while self._erased:
            self.take()
        used = sorted(self._used)
        self._dead[used] = self.channel_pages
        np.add.at(self._dead, (self._blocks.groups(channel, die, row), channel), -1)

    def by_append_path(self, channel, die, row):
        """Pages per channel, of those given, that the append path wrote."""
        own = ~np.isin(self._blocks.groups(channel, die, row), list(self._back_door))
        return np.bincount(channel[own], minlength=self._geometry.channels)

    def bury(self, channel, die, row):
        """Notes dead pages: arrays of channel, die and row."""
        self._spent = self._spent + self.by_append_path(channel, die, row)
        np.add.at(self._dead, (self._blocks.groups(channel, die, row), channel), 1)

    def settled(self, channel, die, row):
        """Groups with nothing left to be written, and live pages per channel of each.

        Parameters
        ----------
        channel, die, row : int arrays
            All live pages, each once.

        Returns
        -------
        dict of int to int array [channels]
        """
        live = np.zeros_like(self._dead)
        np.add.at(live, (self._blocks.groups(channel, die, row), channel), 1)
        full = (live + self._dead == self.channel_pages).all(axis=1)
        return {g: live[g] for g in sorted(self._used) if full[g] and live[g].any()}

    def within(self, group, channel, die, row):
        """``(channel, die, row)`` of those pages that lie in a group, in the order of writing."""
        inside = self._blocks.groups(channel, die, row) == group
        places = zip(row[inside].tolist(), channel[inside].tolist(), die[inside].tolist())
        return [(channel, die, row) for row, channel, die in sorted(places)]

    def vacate(self, channel, die, row):
        """A page ``(die, row)`` of a channel has gone elsewhere: its old place counts as dead."""
        self._dead[self._blocks.groups(channel, die, row), channel] += 1

    def recycled(self, group):
        """A reclaimable group was erased."""
        self.retired(group)
        self.erases[group] += 1
        self._erased.append(group)

    def retired(self, group):
        """A group cannot be made whole: it is never used again."""
        self._used.discard(group)
        self._back_door.discard(group)
        self._dead[group] = 0

    def written(self, live):
        """Pages per channel that the append path ever wrote; ``live`` are those not dead."""
        return self._spent + live

    def shortage(self, live, needed):
        """Erased groups that are missing for everything that may still be appended.

        Every channel fills the groups in the order in which they were pushed, so a channel's place
        is the number of pages it ever wrote; what it may still need adds to that.

        Parameters
        ----------
        live : int array [channels]
            Pages of open sequences that the append path wrote.
        needed : int array [channels]
            Pages that open sequences may still write.
        """
        end = self.written(live) + needed
        groups = -(-int(end.max()) // self.channel_pages)
        return groups - self.pushed - len(self._erased)
