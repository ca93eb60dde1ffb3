"""What a decoder needs to keep up with its channel: lanes of the key equation, slots of the search.

A codeword takes ``code.words`` clocks to come in. Syndromes, key equation and search work on
different codewords at a time, so each has this long on average; buffers level out what varies.
"""

from dataclasses import dataclass

from .chien import AFTER_LAST, POSITIONS
from .failure import error_counts
from .key_equation import LANES, key_clocks

__all__ = ["LOAD", "Sizes", "mean_key_clocks", "mean_search_clocks", "sizes_for"]

LOAD = 0.95
"""Most of its time that a unit is to be busy, on average; what is left levels out peaks."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a decoder's units and what they give.

    Parameters
    ----------
    lanes, positions : int
        For `KeyEquation` and `ChienSearch`.
    key_clocks, search_clocks : float
        Mean clocks of a codeword there.
    codeword_clocks : int
        Clocks of a codeword at line rate.
    """

    lanes: int
    positions: int
    key_clocks: float
    search_clocks: float
    codeword_clocks: int

    @property
    def rate(self):
        """Share of the line rate that is kept up on average, at most 1."""
        return min(1.0, self.codeword_clocks / max(self.key_clocks, self.search_clocks))


def mean_key_clocks(code, lanes, bit_error_rate):
    """Mean clocks of a codeword in the key equation; t errors stand for all above."""
    counts = error_counts(code, bit_error_rate)
    counts[-1] += max(0.0, 1 - sum(counts))
    return sum(p * key_clocks(code, lanes, errors) for errors, p in enumerate(counts))


def mean_search_clocks(code, positions, bit_error_rate):
    """Mean clocks of a codeword in the search; those with more than t errors take a full one.

    The last of e errors lies behind a share ``e / (e + 1)`` of the bits on average.
    """
    full = -(-code.bits // positions)
    counts = error_counts(code, bit_error_rate)
    mean = counts[0] + max(0.0, 1 - sum(counts)) * full
    for errors, p in enumerate(counts[1:], 1):
        last = code.bits * errors / (errors + 1) / positions
        mean += p * min(full, last + 0.5 + AFTER_LAST)
    return mean


def sizes_for(code, bit_error_rate):
    """The smallest units that keep a word a clock on average at a raw bit error rate.

    Parameters
    ----------
    code : BchCode
    bit_error_rate : float
        Above 0 and below 1.

    Returns
    -------
    Sizes
        Each unit with the largest there is where even that is too slow; see ``rate``.
    """
    budget = LOAD * code.words

    def smallest(choices, clocks):
        return next((n for n in choices if clocks(code, n, bit_error_rate) <= budget), choices[-1])

    lanes = smallest([n for n in LANES if n < 2 * (code.t + 1)], mean_key_clocks)
    positions = smallest(POSITIONS, mean_search_clocks)
    return Sizes(
        lanes,
        positions,
        mean_key_clocks(code, lanes, bit_error_rate),
        mean_search_clocks(code, positions, bit_error_rate),
        code.words,
    )
