"""Stripes: which block groups a stream of the append path is given next.

Pages of one sequence die together. So a sequence that may fill a few groups has a *stream* of its
own, whose groups hold nothing else; all others share stream 0. A stream is given a *stripe* at a
time, groups on different parts of the dies, as many as it may still fill, so that its pages are
spread over as many dies as can be::

                 part 0   part 1   part 2   part 3
    stream 0     [ 12       13       14       15 ]     all parts, whatever is left to be written
    stream 5     [ 20       21       22 ]              five groups' worth of tokens may come: two
                                [ 38       31 ]        stripes of three and of two

Groups that were erased often go to streams whose sequences may live long, and rest there.

Pure arithmetic on what the books say, for the firmware and for the space model of ``instinfer bench
store``.
"""

from collections import deque

__all__ = ["SHARED_RANK", "Lives", "choose", "width"]

REMEMBERED = 256
"""Stripes that `Lives` compares with."""

SHARED_RANK = 0.5
"""That of what is written to the shared stream, which says nothing of itself."""

SHORT = 3
"""Power of the rank, so that a group that lags does not wait for the shortest life of all."""


def width(pages, group_pages, parts):
    """Groups of the next stripe of a stream of its own that may still write so many pages per
    channel: as few stripes as can be, of the same width."""
    groups = max(1, -(-pages // group_pages))
    return -(-groups // -(-groups // parts))


class Lives:
    """How long what is written may live, among what was written lately.

    Measured in tokens that the sequence may still append, of which each takes a step: few are left
    to one that ends soon.
    """

    def __init__(self):
        self._lately = deque(maxlen=REMEMBERED)

    def rank(self, left):
        """Share of the stripes given lately, this one included, that were given with fewer tokens
        left: 0..1."""
        less = sum(before < left for before in self._lately)
        self._lately.append(left)
        return less / len(self._lately)


def choose(pool, erases, rank, avoid):
    """A group of a pool: of those that were erased least, or most, as ``rank`` (0..1) says.

    Parameters
    ----------
    pool : iterable of int
        Groups that are erased, or can be at once.
    erases : list of int
        Of each group.
    rank : float
    avoid : callable
        Whether a group is not wanted, if another one can be had.

    Returns
    -------
    int or None
    """
    pool = list(pool)
    pool = [group for group in pool if not avoid(group)] or pool
    ordered = sorted(pool, key=lambda group: (erases[group], group))
    place = int(rank**SHORT * len(ordered))
    return ordered[min(place, len(ordered) - 1)] if ordered else None
