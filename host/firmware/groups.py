"""Block groups: which are erased, which the append path fills, which hold only dead pages.

A *block group* is one block number on every die of a part of the dies (`blocks`). Its life::

    erased --push--> filled by a stream of the append path ---+--all pages dead--> erased again
          +--take--> filled by preload or `own_pages` --------+--what lives moved: `compaction`--^

A group is erased as a whole. So what open sequences still may write is kept available in whole
groups: see `missing`. What a stream that ends has not written of its groups counts as dead.

`stripes` says which group a stream is given; what is moved has outlived its neighbours and goes to
the one that was erased most, where it may rest.
"""

from collections import defaultdict

import numpy as np

from .stripes import choose

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
    stripes : dict of int to list of list of int
        Groups that each stream was given, stripe by stripe, and that were not erased since.
    erases : list of int
        How often each group was erased.
    """

    def __init__(self, geometry, blocks):
        self._blocks = blocks
        self.channel_pages = blocks.channel_pages
        self._erased = list(range(blocks.usable))
        self._uses, self._used_at = 0, {}
        self.erases = [0] * blocks.count
        self._dead = np.zeros((blocks.count, geometry.channels), np.int64)
        self._used = set()  # pushed or taken, and not erased since
        self.stripes = defaultdict(list)

    @property
    def erased(self):
        """Number of erased groups at hand."""
        return len(self._erased)

    def is_erased(self, group):
        """Whether a group is erased and at hand."""
        return group in self._erased

    @property
    def in_use(self):
        """Groups that were pushed or taken, and not erased since."""
        return sorted(self._used)

    @property
    def reclaimable(self):
        """Groups all of whose pages were written and are dead: they may be erased. The one that was
        erased least comes first."""
        dead = np.flatnonzero((self._dead == self.channel_pages).all(axis=1)).tolist()
        return sorted((g for g in dead if g in self._used), key=self.erases.__getitem__)

    @property
    def usable_erases(self):
        """How often each group that can hold pages was erased."""
        return self.erases[: self._blocks.usable]

    def age(self, group):
        """Groups that came into use since a group did."""
        return self._uses - self._used_at[group]

    def best(self, stream, stripe, rank):
        """The group that a stripe is given next, see `stripes.choose`; None if none is left on
        parts that it does not have.

        It is erased, or has only dead pages. Parts that the stream was not given last are
        preferred.
        """
        part = self._blocks.part
        mine = {part(group) for group in stripe}
        last = {part(group) for given in self.stripes[stream][-1:] for group in given}
        pool = (g for g in (*self._erased, *self.reclaimable) if part(g) not in mine)
        return choose(pool, self.erases, rank, lambda group: part(group) in last)

    def push(self, stream, stripe):
        """A stream is given groups that were put to `use`."""
        self.stripes[stream].append(list(stripe))

    def erased_on(self, part):
        """Number of erased groups at hand on a part of the dies."""
        return sum(self._blocks.part(group) == part for group in self._erased)

    def take(self, part=None):
        """An erased group for pages that the append path does not write, or None.

        ``part`` is that of the dies it is to be on.
        """
        pool = [g for g in self._erased if part is None or self._blocks.part(g) == part]
        if not pool:
            return None
        return self.use(max(pool, key=self.erases.__getitem__))  # of equals, erased first

    def use(self, group):
        """An erased group is about to be written to; returns it."""
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
        self._dead[used] = self.channel_pages - self._live(channel, die, row)[used]

    def _live(self, channel, die, row):
        live = np.zeros_like(self._dead)
        np.add.at(live, (self._blocks.groups(channel, die, row), channel), 1)
        return live

    def bury(self, channel, die, row):
        """Notes dead pages: arrays of channel, die and row."""
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
        live = self._live(channel, die, row)
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
        self._dead[group] = 0
        for stripes in self.stripes.values():
            for stripe in stripes:
                if group in stripe:
                    stripe.remove(group)
            stripes[:] = filter(None, stripes)

    def unwritten(self, stream, channel, die, row):
        """Pages per channel that a stream can still write to the groups it has.

        Parameters
        ----------
        stream : int
        channel, die, row : int arrays
            All live pages, each once. No append is under way.
        """
        return self._unwritten(stream, self._live(channel, die, row)).sum(axis=0)

    def _unwritten(self, stream, live):
        mine = self._given(stream)
        return self.channel_pages - live[mine] - self._dead[mine]

    def _given(self, stream):
        return [group for stripe in self.stripes[stream] for group in stripe]

    def filling(self, channel, die, row):
        """Groups that are not filled, each with its stream. ``channel``, ``die``, ``row``: all live
        pages, each once."""
        live, filling = self._live(channel, die, row), {}
        for stream in list(self.stripes):
            left = self._unwritten(stream, live).any(axis=1)
            filling |= {g: stream for g, some in zip(self._given(stream), left) if some}
        return filling

    def wasted(self, stream, channel, die, row):
        """Whether more pages than one group has are dead in those that a stream is filling.

        ``channel``, ``die``, ``row``: all live pages, each once."""
        filling = self.filling(channel, die, row)
        mine = [group for group, filled_by in filling.items() if filled_by == stream]
        return self._dead[mine].sum(axis=0).min() > self.channel_pages

    def end(self, stream, channel, die, row):
        """A stream writes nothing more to the groups it has. ``channel``, ``die``, ``row``: all
        live pages, each once."""
        mine = self._given(stream)
        del self.stripes[stream]
        self._dead[mine] = self.channel_pages - self._live(channel, die, row)[mine]

    def missing(self, needed, channel, die, row, ended=None):
        """Erased groups that are missing for everything that may still be appended, or, below 0,
        those that nothing is promised.

        Parameters
        ----------
        needed : dict of int to int array [channels]
            Pages that the open sequences of each stream may still write.
        channel, die, row : int arrays
            All live pages, each once.
        ended : int, optional
            A stream that is taken to have no groups.
        """
        groups, live = 0, self._live(channel, die, row)
        for stream, pages in needed.items():
            if stream != ended:
                pages = pages - self._unwritten(stream, live).sum(axis=0)
            more = int(pages.max())
            groups += max(0, -(-more // self.channel_pages))
        return groups - len(self._erased)
