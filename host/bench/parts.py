"""The order in which parts of pages are read, so that changes of the column are hidden.

::

    pages   A: a0 a1    B: b0    C: c0 c1 c2    D: d0    E: e0 ...
    reads   a0 b0 c0 d0 a1 e0 c1 ...        no more than INTERLEAVED pages at a time

The column of each is changed while the others' data move.
"""

from collections import deque

__all__ = ["INTERLEAVED", "in_turn", "runs"]

INTERLEAVED = 4
"""Pages whose parts are read in turn: as many as the controller looks ahead."""


def runs(codewords):
    """Neighbours together: pairs (first, how many) of ascending numbers."""
    found = []
    for codeword in codewords:
        if found and sum(found[-1]) == codeword:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((codeword, 1))
    return found


def in_turn(parts, dies):
    """Pairs (page, part): those of `INTERLEAVED` pages in turn; the next page when one ends.

    It waits for an earlier page of its die: in turn with that, both would be sensed for each part.

    Parameters
    ----------
    parts : list of list
        Of each page, at least one.
    dies : list of int
        Of each page.
    """
    coming = deque(enumerate(parts))
    active: deque = deque()
    while coming or active:
        while coming and len(active) < INTERLEAVED:
            if dies[coming[0][0]] in {dies[page] for page, _ in active}:
                break
            page, mine = coming.popleft()
            active.append((page, deque(mine)))
        page, mine = active.popleft()
        yield page, mine.popleft()
        if mine:
            active.append((page, mine))
