"""Which block groups are emptied, their live pages moved elsewhere, to get erased ones.

Pure arithmetic on what the books say: `compaction` does with it what the drive does, and the space
model of ``instinfer bench store`` what a drive of any size would do.
"""

from collections.abc import Callable

__all__ = ["cost", "least_cost", "resting"]

WEAR_WEIGHT = 0.02
"""Of a group's pages: what one erase more of a group counts when those to be emptied are chosen."""

WEAR_LIMIT = 2
"""Erases that a group may lag behind the one that was erased most, if its pages rest."""

REST = 3
"""Times that all groups of the drive are used anew, until pages that still live are at rest."""


def cost(live, pages, erases):
    """What emptying a group costs: ``live`` of its ``pages`` are moved, and it is erased again."""
    return live + WEAR_WEIGHT * pages * erases


def least_cost(live, pages, erases, missing, room: Callable):
    """Groups to be emptied for ``missing`` more erased ones, or None if that many cannot be gained.

    Parameters
    ----------
    live : dict of int to int array [channels]
        Live pages of each group that may be emptied.
    pages : int
        Of each channel of a group.
    erases : list of int
        Of each group.
    missing : int
    room : callable
        Erased groups that so many pages per channel (int array) take.

    Returns
    -------
    list of int
        Groups, those that cost least first.
    """

    def order(group):
        return cost(live[group].sum(), pages * len(live[group]), erases[group]), group

    chosen, moved = [], 0
    for group in sorted((group for group in live if (live[group] < pages).any()), key=order):
        moved = moved + live[group]
        chosen.append(group)
        if len(chosen) - room(moved) >= missing:
            return chosen
    return None


def resting(groups, erases, age, usable):
    """Of these groups the one that was erased least, if its pages rest and it lags too far behind;
    else None.

    Moved to a group that was erased often, they let this one be used again. What does not rest is
    dead soon, so its group comes back by itself.

    Parameters
    ----------
    groups : iterable of int
    erases : list of int
        Of each usable group.
    age : callable
        Groups that were used since a group was.
    usable : int
        Groups that the drive has.
    """
    most = max(erases)
    old = (g for g in groups if most - erases[g] > WEAR_LIMIT and age(g) > REST * usable)
    return min(old, key=lambda group: (erases[group], group), default=None)
