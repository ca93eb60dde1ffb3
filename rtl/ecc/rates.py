"""What a decoder needs to keep up with its channel: lanes of the key equation, slots of the search.

A codeword takes ``code.words`` clocks to come in; syndromes, key equation and search work on
different codewords at a time and have this long each on average. How much of the line rate is kept
depends on the spread of their times, too, and on how many codewords can wait. `kept_rate` follows
codewords with random errors through the decoder's stages by their clocks, without the gateware.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from .chien import AFTER_LAST, POSITIONS, chien_clocks
from .decoder import CODEWORDS
from .failure import error_counts
from .key_equation import LANES, key_clocks

__all__ = [
    "GOAL",
    "Sizes",
    "kept_rate",
    "latency",
    "mean_key_clocks",
    "mean_search_clocks",
    "sizes_for",
]

GOAL = 0.98
"""Share of the line rate that is to be kept at the raw bit error rate a decoder is built for."""

VERDICT = 3
"""Clocks from the last step of a search to its verdict in the corrector."""

PIPELINE = 4
"""Clocks of a codeword's latency that are neither its words nor key equation or search."""

FOLLOWED = 3000
"""Codewords followed by `kept_rate`; twice as many change it by less than half a percent."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a decoder's units and what they give.

    Parameters
    ----------
    lanes, positions : int
        For `KeyEquation` and `ChienSearch`.
    key_clocks, search_clocks : float
        Mean clocks of a codeword there.
    rate : float
        Share of the line rate that is kept, at most 1.
    """

    lanes: int
    positions: int
    key_clocks: float
    search_clocks: float
    rate: float


def latency(code, lanes, positions, errors, last_error):
    """Clocks from a codeword's first word in to its first word out, with nothing before it.

    Parameters
    ----------
    code : BchCode
    lanes, positions : int
    errors : int
        0 to t, see `key_clocks`.
    last_error : int or None
        Slot of the last one, None without errors.
    """
    key, search = key_clocks(code, lanes, errors), chien_clocks(code, positions, last_error)
    return code.words + key + search + PIPELINE


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


@cache
def kept_rate(code, lanes, positions, bit_error_rate, *, codewords=CODEWORDS, word_clocks=1.0):
    """Share of the line rate that a `Decoder` of these sizes keeps, input and output never waiting.

    Parameters
    ----------
    code : BchCode
    lanes, positions, codewords : int
        Of the decoder.
    bit_error_rate : float
    word_clocks : float
        Clocks in which a word comes, 1 or more.

    Returns
    -------
    float
        Of codewords thrown with a fixed seed; codewords above t errors are given the clocks of t
        errors and of a full search.
    """
    rng = np.random.default_rng(1)
    key_times = [key_clocks(code, lanes, errors) for errors in range(code.t + 1)]
    given = solving = searching = 0  # when the unit in front of each stage is rid of its codeword
    begun, left = 0, [0] * codewords
    thrown = rng.binomial(code.bits, bit_error_rate, FOLLOWED)
    lasts = (code.bits * rng.random(FOLLOWED) ** (1 / np.maximum(thrown, 1))).astype(int)
    lasts[thrown > code.t] = code.bits - 1
    for errors, last in zip(thrown.tolist(), lasts.tolist()):
        search = chien_clocks(code, positions, last if errors else None)
        arrived = max(max(begun, left[-codewords]) + code.words * word_clocks, given)
        begun = arrived
        given = max(arrived, solving)  # the key equation takes it once the one before has left
        solved = given + key_times[min(errors, code.t)]
        solving = max(solved, searching)
        searching = max(solving + search, left[-2])  # its verdict needs one of the two lists
        left.append(max(searching + VERDICT, left[-1]) + code.message_words)
    return min(1.0, FOLLOWED * code.words * word_clocks / begun)


def sizes_for(code, bit_error_rate, *, word_clocks=1.0):
    """The smallest units that keep the line rate, but for 2 %, at a raw bit error rate.

    Parameters
    ----------
    code : BchCode
    bit_error_rate : float
        Above 0 and below 1.
    word_clocks : float
        Clocks in which a word comes, 1 or more; faster ones count as 1.

    Returns
    -------
    Sizes
        With the largest unit there is where even that is too slow; see ``rate``.
    """
    all_lanes = [n for n in LANES if n < 2 * (code.t + 1)]

    def keeps(lanes, positions):
        return kept_rate(code, lanes, positions, bit_error_rate, word_clocks=word_clocks) >= GOAL

    word_clocks = max(1.0, word_clocks)
    lanes = next((n for n in all_lanes if keeps(n, POSITIONS[-1])), all_lanes[-1])
    positions = next((n for n in POSITIONS if keeps(lanes, n)), POSITIONS[-1])
    return Sizes(
        lanes,
        positions,
        mean_key_clocks(code, lanes, bit_error_rate),
        mean_search_clocks(code, positions, bit_error_rate),
        kept_rate(code, lanes, positions, bit_error_rate, word_clocks=word_clocks),
    )
