"""Pages that several sequences hold: one copy on flash, as many readers as there are forks."""

import numpy as np

__all__ = ["SharedPages"]


class SharedPages:
    """Counts for each page the sequences that hold it besides one.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Attributes
    ----------
    saved : int array [channels]
        Pages that the drive would need more if each sequence had its own.
    """

    def __init__(self, geometry):
        self._shape = (geometry.channels, geometry.dies, geometry.rows)
        self._more = np.zeros(np.prod(self._shape), np.uint16)
        self.saved = np.zeros(geometry.channels, np.int64)

    def share(self, channel, die, row):
        """One sequence more holds these pages, each given once."""
        self._more[self._index(channel, die, row)] += 1
        self._count(channel, 1)

    def restore(self, channel, die, row):
        """After a loss of power: all places that sequences hold, each as often as it is held."""
        index, held = np.unique(self._index(channel, die, row), return_counts=True)
        self._more[index] = held - 1
        self._count(np.repeat(np.unravel_index(index, self._shape)[0], held - 1), 1)

    def leave(self, channel, die, row):
        """One sequence less does; bool array: nobody holds the page any more."""
        index = self._index(channel, die, row)
        shared = self._more[index] > 0
        self._more[index[shared]] -= 1
        self._count(channel[shared], -1)
        return ~shared

    def move(self, channel, old, new):
        """A page has another place ``(die, row)`` on its channel."""
        old, new = (int(self._index(channel, *place)) for place in (old, new))
        self._more[new], self._more[old] = self._more[old], 0

    def distinct(self, channel, die, row):
        """The places given, each once."""
        return np.unravel_index(np.unique(self._index(channel, die, row)), self._shape)

    def _count(self, channel, by):
        self.saved = self.saved + by * np.bincount(channel, minlength=self._shape[0])

    def _index(self, channel, die, row):
        return np.ravel_multi_index((channel, die, row), self._shape)
