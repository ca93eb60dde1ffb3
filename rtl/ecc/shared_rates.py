"""What a decoder that channels share needs: lanes of the key equation, slots of the search.

As in `rtl.ecc.rates`, codewords with random errors are followed through the stages by their clocks.
Each channel has one codeword at a time in the shared half, and those without errors pass by it.
"""

import heapq
from functools import cache

import numpy as np

from .chien import POSITIONS, chien_clocks
from .decoder_front import CODEWORDS
from .few_errors import FEW, few_clocks
from .key_equation import LANES, key_clocks
from .rates import GOAL, VERDICT, Sizes, mean_key_clocks, mean_search_clocks

__all__ = ["kept_shared_rate", "shared_latency", "shared_sizes_for"]

FRONT = 2
"""Clocks from the last word of a codeword to its turn in the front, with nothing before it."""

SUMS = 2
"""Clocks of the syndromes of a difference beside those of its words."""

FOLLOWED = 1500
"""Codewords of each channel that are followed."""


def shared_latency(code, lanes, positions, errors, last_error):
    """Clocks from a codeword's first word in to its first word out, with no other on its way.

    Parameters
    ----------
    code : BchCode
    lanes, positions : int
    errors : int
        0 to t.
    last_error : int or None
        Slot of the last one, None without errors.
    """
    if errors == 0:
        return code.words + FRONT + 1
    solved = FRONT + code.parity_words + SUMS + key_clocks(code, lanes, errors)
    return code.words + solved + _root_clocks(code, positions, errors, last_error)


def _root_clocks(code, positions, errors, last_error):
    """Clocks from a locator to its verdict in the corrector."""
    if errors <= FEW:
        return few_clocks(errors)
    return chien_clocks(code, positions, last_error) + VERDICT + 1


@cache
def kept_shared_rate(code, lanes, positions, bit_error_rate, *, channels, word_clocks=1.0):
    """Share of the line rate that each of the channels keeps, input and output never waiting.

    Parameters
    ----------
    code : BchCode
    lanes, positions : int
        Of the shared half.
    bit_error_rate : float
    channels : int
        That share it.
    word_clocks : float
        Clocks in which a word of a channel comes, 1 or more.

    Returns
    -------
    float
        Of codewords thrown with a fixed seed, as in `rtl.ecc.rates.kept_rate`.
    """
    rng = np.random.default_rng(1)
    thrown = rng.binomial(code.bits, bit_error_rate, (channels, FOLLOWED))
    lasts = (code.bits * rng.random(thrown.shape) ** (1 / np.maximum(thrown, 1))).astype(int)
    lasts[thrown > code.t] = code.bits - 1
    key_times = [key_clocks(code, lanes, errors) for errors in range(code.t + 1)]
    sums_free = key_free = few_free = search_free = 0  # when a unit can take the next codeword
    begun, verdict = [0] * channels, [0] * channels
    left = [[0] * CODEWORDS for _ in range(channels)]
    offered = []  # (when, channel, codeword) of those with errors at the head of their channel

    def ends(channel, when):
        """The codeword at the head of a channel has its verdict."""
        verdict[channel] = when
        mine = left[channel]
        mine.append(max(when, mine[-1]) + code.message_words)

    def comes(channel, codeword):
        """Codewords of a channel from this one on, up to the first with errors."""
        for number in range(codeword, FOLLOWED):
            mine = left[channel]
            begun[channel] = max(begun[channel], mine[-CODEWORDS]) + code.words * word_clocks
            turn = max(begun[channel] + FRONT, verdict[channel], mine[-2])
            if thrown[channel, number]:
                heapq.heappush(offered, (turn, channel, number))
                return
            ends(channel, turn + 1)

    for channel in range(channels):
        begun[channel] = channel * code.words * word_clocks / channels
        comes(channel, 0)
    while offered:
        turn, channel, number = heapq.heappop(offered)
        errors, last = int(thrown[channel, number]), int(lasts[channel, number])
        key_free = max(max(turn, sums_free) + code.parity_words + SUMS, key_free)
        sums_free = key_free
        solved = key_free + key_times[min(errors, code.t)]
        key_free = max(solved, few_free if errors <= FEW else search_free)
        rooted = key_free + _root_clocks(code, positions, errors, last)
        if errors <= FEW:
            few_free = rooted
        else:
            search_free = rooted - 1
        ends(channel, rooted)
        comes(channel, number + 1)
    return min(1.0, FOLLOWED * code.words * word_clocks / max(begun))


@cache
def shared_sizes_for(code, bit_error_rate, *, channels, word_clocks=1.0):
    """The smallest shared half that keeps every channel's rate, but for 2 %.

    Parameters
    ----------
    code : BchCode
    bit_error_rate : float
        Above 0 and below 1.
    channels : int
    word_clocks : float
        Clocks in which a word of a channel comes; faster ones count as 1.

    Returns
    -------
    rtl.ecc.rates.Sizes
        With the largest units there are where even those are too slow; see ``rate``.
    """
    word_clocks = max(1.0, word_clocks)

    def rate(lanes, positions):
        return kept_shared_rate(
            code, lanes, positions, bit_error_rate, channels=channels, word_clocks=word_clocks
        )

    all_lanes = [n for n in LANES if n < 2 * (code.t + 1)]
    lanes = next((n for n in all_lanes if rate(n, POSITIONS[-1]) >= GOAL), all_lanes[-1])
    positions = next((n for n in POSITIONS if rate(lanes, n) >= GOAL), POSITIONS[-1])
    return Sizes(
        lanes,
        positions,
        mean_key_clocks(code, lanes, bit_error_rate),
        mean_search_clocks(code, positions, bit_error_rate),
        rate(lanes, positions),
    )
