"""Tokens that a sparse step wants, as units of them that are touched: random, clustered.

What layouts of pages cost depends on how many *units* (codewords, pages) hold a wanted token. These
shares are given (`TOUCHED`), from sparse attention of a model; nothing here measures them. They
fall more slowly than those of tokens that lie anywhere: wanted tokens lie together. The
construction has all of them exactly::

    64 tokens   [################]  [................]  so many of all, any
    32          [#######|########]                      so many have both halves, any; of
    16          [###|###][....|##]                      the others one half, either
    ...

Shares of sizes between those that are given lie on straight lines between them, both axes
logarithmic.
"""

from itertools import pairwise
from math import exp, log

import numpy as np

__all__ = ["LARGEST", "SMALLEST", "TOUCHED", "share_touched", "touched"]

TOUCHED = {2: 0.096, 4: 0.151, 16: 0.348, 64: 0.61}
"""Tokens of a unit -> share of units that hold a selected one (head_dim 128)."""

SMALLEST, LARGEST = min(TOUCHED), max(TOUCHED)


def share_touched(unit):
    """Share of units of so many tokens that hold a selected one.

    Parameters
    ----------
    unit : int
        Tokens; `SMALLEST` .. `LARGEST`.
    """
    for (low, share), (high, more) in pairwise(TOUCHED.items()):
        if low <= unit <= high:
            return share * exp(log(more / share) * log(unit / low) / log(high / low))
    raise ValueError(
        f"units of {unit} tokens are not possible: choose {SMALLEST}..{LARGEST}, whose shares "
        "are known"
    )


def touched(tokens, seed=0, selections=1.0):
    """Which units of `SMALLEST` tokens are touched.

    Parameters
    ----------
    tokens : int
        A multiple of `LARGEST`.
    seed : int
    selections : float
        Of so many selections, each by itself, what any of them touches: a share s becomes
        ``1 - (1 - s) ** selections``.

    Returns
    -------
    ndarray of bool [tokens // SMALLEST]
    """
    if tokens % LARGEST or tokens < LARGEST:
        raise ValueError(f"{tokens} tokens are not possible: choose a multiple of {LARGEST}")

    def share(unit):
        return 1 - (1 - share_touched(unit)) ** selections

    rng = np.random.default_rng(seed)
    unit, number = LARGEST, tokens // LARGEST
    units = np.zeros(number, bool)
    units[rng.permutation(number)[: round(share(unit) * number)]] = True
    while unit > SMALLEST:
        unit //= 2
        parents = rng.permutation(np.flatnonzero(units))
        number = round(share(unit) * tokens / unit)
        both = min(max(number - len(parents), 0), len(parents))
        either = rng.integers(0, 2, len(parents))
        units = np.zeros(tokens // unit, bool)
        units[2 * parents + either] = True
        units[2 * parents[:both] + 1 - either[:both]] = True
    return units
