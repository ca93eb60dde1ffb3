"""Which block groups are emptied, their live pages moved elsewhere, to get erased ones.

Pure arithmetic on what the books say: `compaction` does with it what the drive does, and the space
model of ``instinfer bench store`` what a drive of any size would do.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["least_live", "resting", "wear_limit"]

WEAR_SHARE, WEAR_LEAST = 1 / 32, 3
"""Of the mean number of erases, and in erases: how far a group with live pages may lag behind the
group that was erased most."""


def least_live(live, missing, room: Callable):
    """Groups to be emptied for ``missing`` more erased ones, or None if that many cannot be gained.

    Parameters
    ----------
    live : dict of int to int array [channels]
        Live pages of each group that may be emptied.
    missing : int
    room : callable
        Erased groups that so many pages per channel (int array) take.

    Returns
    -------
    list of int
        Those with the fewest live pages, in that order.
    """
    chosen, moved = [], 0
    for group in sorted(live, key=lambda group: (live[group].sum(), group)):
        moved = moved + live[group]
        chosen.append(group)
        if len(chosen) - room(moved) >= missing:
            return chosen
    return None


def wear_limit(erases):
    """Erases that a group may lag behind the one that was erased most."""
    return max(WEAR_LEAST, WEAR_SHARE * float(np.mean(erases)))


def resting(erases, groups):
    """Of these groups the one that was erased least, if it lags too far behind; else None.

    What rests there is long-lived: moved to a group that was erased often, it lets this one be used
    again.
    """
    least = min(groups, key=lambda group: (erases[group], group), default=None)
    if least is None or max(erases) - erases[least] <= wear_limit(erases):
        return None
    return least
