"""Which block serves where: bad blocks, spare blocks, and what stands in for what.

A *block group* is one block number on every die of a part of the dies: group ``block * parts +
part``. With four dies in two parts::

            die 0  die 1 | die 2  die 3
    block 0   group 0    |   group 1
    block 1   group 2    |   group 3

A block of it that is bad has another one serve in its place, if need be on another die of its
channel. Spares are the blocks of the last groups, which hold no data, and of any group that has to
be given up for them.
"""

from collections import defaultdict

import numpy as np

from ..capacity import spare_groups

__all__ = ["Blocks"]


class Blocks:
    """Books of all blocks of a drive.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    reserved : iterable of (int, int, int)
        Blocks (channel, die, block) that are no spares.
    parts : int
        Parts of the dies that have groups of their own; divides ``geometry.dies``.

    Attributes
    ----------
    parts : int
    count, usable : int
        Groups, and those of them that can hold pages.
    channel_pages : int
        Pages of a group on each channel.
    bad, reserved : set of (int, int, int)
    serving : dict of (int, int, int) to (int, int)
        Die and block that serve for a channel and die of a group, where it is not the block itself.
    """

    def __init__(self, geometry, reserved=(), parts=1):
        g = self._geometry = geometry
        self.parts = parts
        self._part_dies = g.dies // parts
        self.count = g.blocks * parts
        self.usable = (g.blocks - spare_groups(g)) * parts
        self.channel_pages = self._part_dies * g.pages
        self.bad = set()
        self.reserved = set(reserved)
        shape = (g.channels, g.dies, g.blocks)
        die, block = np.arange(g.dies)[:, None], np.arange(g.blocks)
        self._group = np.broadcast_to(self._own(die, block), shape).copy()  # a block serves in,
        self._die = np.broadcast_to(die, shape).copy()  # and for which die
        self.serving = {}
        self._of_group = defaultdict(set)  # group -> its keys there
        self._spares = defaultdict(list)  # (channel, die) -> blocks
        self._spare_groups = range(self.count - 1, self.usable - 1, -1)
        for group in self._spare_groups:
            self.give_up(group)

    def _own(self, die, block):
        """Group of a block that serves for itself."""
        return block * self.parts + self.part_of(die)

    def part_of(self, die):
        """Part of the dies that a die, or each of an array, belongs to."""
        return die // self._part_dies

    def part(self, group):
        """Part of the dies that a group is on."""
        return group % self.parts

    def dies(self, group):
        """Dies of a group."""
        first = self.part(group) * self._part_dies
        return range(first, first + self._part_dies)

    def give_up(self, group):
        """The good blocks of a group become spares."""
        for channel in range(self._geometry.channels):
            for die in self.dies(group):
                at, block = self.place(channel, die, group)
                if not {(channel, at, block)} & (self.bad | self.reserved):
                    self._spares[channel, at].append(block)
        for key in self._of_group.pop(group, ()):
            del self.serving[key]

    def mark(self, channel, die, block):
        """A block is bad; one that is a spare is none any more."""
        self.bad.add((channel, die, block))
        self.take(channel, die, block)

    def take(self, channel, die, block):
        """A block is no spare any more, if it was one."""
        if block in self._spares[channel, die]:
            self._spares[channel, die].remove(block)

    def place(self, channel, die, group):
        """``(die, block)`` that serves for a die of a group."""
        return self.serving.get((channel, die, group), (die, group // self.parts))

    def serves(self, channel, die, block):
        """``(die, group)`` that a block serves for, or did before it was bad."""
        return int(self._die[channel, die, block]), int(self._group[channel, die, block])

    def groups(self, channel, die, row):
        """Groups of rows; arrays."""
        return self._group[channel, die, row // self._geometry.pages]

    def spare(self, channel, die, keep=0):
        """Takes a spare of a channel, on this die if there is one: ``(die, block)``, or None.

        The channel's last ``keep`` spares are left.
        """
        if self.spares(channel) <= keep:
            return None
        dies = sorted(range(self._geometry.dies), key=lambda at: (at != die, at))
        for at in dies:
            if self._spares[channel, at]:
                return at, self._spares[channel, at].pop(0)
        return None

    def restore(self, serving):
        """What served before a loss of power does so again; groups that were given up for it."""
        given_up = {self._own(*place) for place in serving.values()} - set(self._spare_groups)
        for group in sorted(given_up):
            self.give_up(group)
        for (channel, die, group), spare in serving.items():
            self.take(channel, *spare)
            self.stand_in(channel, die, group, spare)
        return given_up

    def spares(self, channel):
        """Spares that a channel has left."""
        return sum(len(self._spares[channel, die]) for die in range(self._geometry.dies))

    def give_back(self, channel, die, block):
        """A block that was a spare is one again."""
        if (channel, die, block) not in self.bad:
            self._spares[channel, die].append(block)

    def stand_in(self, channel, die, group, spare):
        """From now on a spare serves for a die of a group."""
        self.serving[channel, die, group] = spare
        self._of_group[group].add((channel, die, group))
        self._group[channel, *spare] = group
        self._die[channel, *spare] = die
