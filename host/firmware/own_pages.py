"""Pages that the firmware writes itself: moved ones and saved tails, apart from the append path's.

They come from block groups of their own, one open at a time, each block of it filled from its first
page on::

    channel 0   die 0  # # # .    a page is wanted on a channel and a die: that die's next page, or
                die 1  # # . .    the next page of another one of the group once its block is full,
    channel 1   die 0  # . . .    or if the group is on other dies; a new group is opened only if
                die 1  # # # #    the channel has none left
"""

import numpy as np

from rtl.commands import Status

from ..errors import DriveError

__all__ = ["OwnPages"]


class OwnPages:
    """Deals out pages.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry
    groups : BlockGroups
    blocks : Blocks
    """

    def __init__(self, geometry, groups, blocks):
        self._geometry, self._groups, self._blocks = geometry, groups, blocks
        self._open = []  # groups not full yet, the oldest first
        self._filled = {}  # group -> pages written [channels, its dies]

    def room(self, pages):
        """Erased groups that so many pages of each channel take besides those that are open.

        Parameters
        ----------
        pages : int array [channels]
        """
        whole = self._groups.channel_pages
        free = sum(whole - self._filled[at].sum(axis=1) for at in self._open)
        missing = int((np.asarray(pages) - free).max())
        return max(0, -(-missing // whole))

    def place(self, channel, die):
        """``(die, row)`` of the next page of a channel, on this die if it has one.

        Raises
        ------
        DriveError
            NO_SPACE: no group is erased. See `room`.
        """
        g = self._geometry
        for group in self._open:
            if (filled := self._filled[group][channel]).sum() < self._groups.channel_pages:
                break
        else:
            group = self._groups.take()
            if group is None:
                raise DriveError(Status.NO_SPACE, "no block group is erased for moved pages")
            self._open.append(group)
            self._filled[group] = np.zeros((g.channels, len(self._blocks.dies(group))), np.int64)
            filled = self._filled[group][channel]
        dies = self._blocks.dies(group)
        number = die - dies[0] if die in dies else int(filled.argmin())
        if filled[number] == g.pages:
            number = int(filled.argmin())
        page = int(filled[number])
        filled[number] += 1
        if self._filled[group].sum() == g.channels * self._groups.channel_pages:
            self._open.remove(group)
            del self._filled[group]
        at, block = self._blocks.place(channel, dies[number], group)
        return at, g.row(block, page)
