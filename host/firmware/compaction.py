"""Compaction: block groups with dead pages are emptied of their live ones, and erased.

Each live page is read, corrected, and programmed again on its channel, in a group of the firmware's
own (`own_pages`); the maps of all that hold it then show its new place. Its metadata stay what they
were, so after a loss of power it does not matter which of the two is found. `victims` says which
groups are worth it.

A page that cannot be read stays where it is, and its group with it.
"""

import numpy as np

from ..errors import DriveError
from .victims import least_cost, resting

__all__ = ["Compaction"]


class Compaction:
    """Gains erased groups where none has only dead pages.

    Attention must not be under way: its pages would be erased. That is so while a command waits in
    the mailbox, or the append path for a group; and then no command begins (`Repair.at_rest`).

    Parameters
    ----------
    repair : Repair
    own : OwnPages
    pages : RawPages
    erase : callable
        Erases and recycles a group that has only dead pages; whether it became usable.
    live : callable
        Channel, die and row of all pages that count, int arrays, each page once.
    feed : callable
        Gives the append path block groups if it waits for some.

    Attributes
    ----------
    unreadable : set of int
        Groups that hold a page which could not be read.
    """

    def __init__(self, repair, own, pages, erase, live, feed):
        self._repair, self._groups, self._own, self._pages = repair, repair.groups, own, pages
        self._erase, self._live, self._feed = erase, live, feed
        self.unreadable = set()

    def possible(self, count):
        """Whether so many erased groups could be gained."""
        if count <= 0:
            return True
        live = self._candidates()
        chosen = self._chosen(live, count)
        return chosen is not None and self._own.room(live[chosen[0]]) <= self._groups.erased

    def gain(self, count):
        """Gains ``count`` erased groups, or as many as can be gained; returns how many."""
        before = self._groups.erased
        while (missing := count - self._groups.erased + before) > 0:
            live = self._candidates()
            chosen = None
            while missing and chosen is None:  # fewer, if not all can be gained
                chosen = self._chosen(live, missing)
                missing -= 1
            if chosen is None or not self._emptied(chosen[0], live[chosen[0]]):
                break
        return self._groups.erased - before

    def refresh(self, groups):
        """Empties those of these groups that can be: their blocks were read too often."""
        live = self._candidates()
        for group in sorted(groups & live.keys()):
            if not self._emptied(group, live[group], "pages_refreshed"):
                return

    def level(self):
        """Empties a group whose pages rest and that was erased far less often than others, if there
        is one."""
        groups, live = self._groups, self._candidates()
        group = resting(live, groups.usable_erases, groups.age, len(groups.usable_erases))
        if group is not None:
            self._emptied(group, live[group])

    def _candidates(self):
        live = self._groups.settled(*self._live())
        return {group: pages for group, pages in live.items() if group not in self.unreadable}

    def _chosen(self, live, count):
        groups = self._groups
        return least_cost(live, groups.channel_pages, groups.erases, count, self._own.room)

    def _emptied(self, group, pages, why="pages_compacted"):
        """Moves what lives in a group and erases it; False if it has nowhere to go.

        ``why`` is the count of `Repair` that has the pages.
        """
        if self._own.room(pages) > self._groups.erased:
            return False
        with self._repair.at_rest(self._feed):
            for channel, die, row in self._groups.within(group, *self._live()):
                try:
                    if not self._move(channel, die, row, why):
                        self.unreadable.add(group)
                except DriveError:  # pages of the drive fail, and none is left to stand in
                    return False
            if group not in self.unreadable:
                self._repair.save_changes()  # blocks that stand in since
                self._erase(group)
        return True

    def _move(self, channel, die, row, why):
        """Moves a page; False if it cannot be read."""
        found = self._pages.read(channel, die, row)
        if not found:
            return False
        meta, user = found
        new = self._repair.program(channel, *self._own.place(channel, die), meta, user)
        self._repair.moves.note(channel, (die, row), new, meta)
        self._groups.bury(*np.array([[channel], [die], [row]]))
        self._repair.counts[why] += 1
        return True
