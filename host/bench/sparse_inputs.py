"""q, K and V of ``instinfer bench sparse``: made so that a selection is known, or a model's.

Made: each ratio has channels of its own, in which q is large for that ratio. In them K of token t
is ``b[t]`` times a direction that all query heads share, so the estimated scores have the order of
b, and the tokens wanted have the largest b. Nothing of K changes from one ratio to the next. By
bounds whole units of 4 tokens are wanted, whose b are larger by more than what codes round off.

::

    channels  | of 1/4         | of 1/8    | of 1/16  | of none    |
    q         |  .    .     .  |  #   #  # |  .    .  |  .   .   . |   ratio 1/8
    K, wanted |                |  b large  |          |   noise    |
    K, others |                |  b small  |          |            |
"""

from functools import cache

import numpy as np
import torch

from cosim.reference import UNIT_TOKENS

from ..accuracy.ratio import bounds_of, kept_of, sparf_of
from .selection import SMALLEST, share_touched, touched
from .sparse_cases import CONSTRUCTED, RATIOS

__all__ = [
    "Layer", "PAGES_TOUCHED", "kept_units", "layers_of", "wanted_channels", "wanted_tokens",
    "wanted_units",
]  # fmt: skip

STATED = 1 / 8
"""The ratio whose shares of touched units are stated (`host.bench.selection`)."""

PAGE_CHANNELS, PAGES_TOUCHED = 4, 0.4
"""Pages of so many channels: the share that hold a selected one, at that ratio."""

LARGE, SMALL, MOST, NOISE = 2.0, 0.05, 8.0, 0.25
"""q in the channels wanted and elsewhere, largest b, K elsewhere."""


class Layer:
    """One layer's q, K and V, and what is to be selected.

    Attributes
    ----------
    q : dict
        Ratio -> float16 [q_heads, head_dim]; None for dense attention.
    k, v : float16 [tokens, kv_heads, head_dim]
    wanted : dict
        Ratio -> ``(channels, tokens)``, bool [kv_heads, ...]; empty where they are not known.
    """

    def __init__(self, q, k, v, wanted):
        self.q, self.k, self.v, self.wanted = q, k, v, wanted


def layers_of(case, number, text=None):
    """So many layers of a case.

    Parameters
    ----------
    case : SparseCase
    number : int
    text : str, optional
        That the model has read; its own demonstration's, if not given.
    """
    if case.source == CONSTRUCTED:
        return [_made(case.attention, case.held, case.kv_heads, case.queries, case.head_dim, seed)
                for seed in range(number)]  # fmt: skip
    from .sparse_model import model_layers

    return model_layers(case.held, number, text)


@cache
def _made(attention, tokens, kv_heads, queries, head_dim, seed):
    ratios, (others, least), choose = RATIOS[attention], RANKS[attention], WANTED[attention]
    rng = np.random.default_rng(seed)
    shape = kv_heads, tokens, head_dim
    k, v = rng.standard_normal((2, *shape)) * np.array([NOISE, 1.0]).reshape(2, 1, 1, 1)
    q = {ratio: SMALL * rng.standard_normal((kv_heads, queries, head_dim)) for ratio in ratios}
    wanted = {
        ratio: (np.zeros((kv_heads, head_dim), bool), np.zeros((kv_heads, tokens), bool))
        for ratio in ratios
    }
    for head in range(kv_heads):
        taken = np.zeros(head_dim, bool)
        for ratio in ratios:
            channels = wanted_channels(ratio, head_dim, rng, taken)
            keep = choose(ratio, tokens, rng)
            taken |= channels
            wanted[ratio][0][head], wanted[ratio][1][head] = channels, keep
            direction = rng.choice([-1.0, 1.0], channels.sum())
            size = LARGE * rng.uniform(1, 1.2, (queries, 1))
            q[ratio][head][:, channels] = size * direction
            rank = rng.uniform(0, others * MOST, tokens)
            rank[keep] = rng.uniform(least * MOST, MOST, keep.sum())
            k[head][:, channels] = np.outer(rank, direction / np.sqrt(len(direction)))
    q = {ratio: x.reshape(-1, head_dim).astype(np.float16) for ratio, x in q.items()}
    k, v = (x.transpose(1, 0, 2).astype(np.float16) for x in (k, v))
    return Layer(q | {None: q[ratios[1]]}, k, v, wanted)


def wanted_channels(ratio, head_dim, rng, taken):
    """Channels wanted, bool [head_dim]: as many pages of four hold one as are stated.

    Parameters
    ----------
    ratio : float
    head_dim : int
    rng : numpy.random.Generator
    taken : bool [head_dim]
        Channels that are not to be had.
    """
    number, _ = sparf_of(ratio, head_dim)
    count = head_dim // PAGE_CHANNELS
    pages = round(count * (1 - (1 - PAGES_TOUCHED) ** (ratio / STATED)))
    free = (~taken).reshape(count, PAGE_CHANNELS)
    order = rng.permutation(count)
    order = order[np.argsort(-free.sum(axis=1)[order], kind="stable")][:pages]
    each = np.bincount(np.arange(number) % pages, minlength=pages)
    chosen = np.zeros_like(free)
    for page, wanted in zip(order, each, strict=True):
        chosen[page, rng.permutation(np.flatnonzero(free[page]))[:wanted]] = True
    if chosen.sum() != number:
        raise ValueError(f"{number} channels of {head_dim} are not to be had: {taken.sum()} taken")
    return chosen.ravel()


def wanted_tokens(ratio, tokens, rng):
    """Tokens wanted, bool [tokens]: one or both of each unit that is touched."""
    _, share = sparf_of(ratio, 1)
    number = int(kept_of(share, torch.tensor(tokens)))
    units = np.flatnonzero(touched(tokens, int(rng.integers(1 << 31)), ratio / STATED))
    units = rng.permutation(units)
    keep = np.zeros((tokens // SMALLEST, SMALLEST), bool)
    keep[units, rng.integers(0, SMALLEST, len(units))] = True
    keep[units[: max(0, number - len(units))]] = True
    if keep.sum() != number:
        raise ValueError(f"{number} of {tokens} tokens do not lie in {len(units)} units")
    return keep.ravel()


def kept_units(ratio, tokens):
    """Units of 4 tokens that a ratio of bounds pays for, rounded down."""
    return int(kept_of(bounds_of(ratio), torch.tensor(tokens))) // UNIT_TOKENS


def wanted_units(ratio, tokens, rng):
    """Tokens wanted by bounds, bool [tokens]: whole units, that lie together as those touched do.

    So many selections that they touch as many units as are wanted; one unit more or less is then
    taken or left anywhere.
    """
    number = kept_units(ratio, tokens)
    count = tokens // UNIT_TOKENS
    selections = np.log1p(-number / count) / np.log1p(-share_touched(UNIT_TOKENS))
    pairs = touched(tokens, int(rng.integers(1 << 31)), selections)
    units = pairs.reshape(count, -1).any(axis=1)
    while units.sum() != number:
        more = units.sum() < number
        units[rng.choice(np.flatnonzero(units != more))] = more
    return units.repeat(UNIT_TOKENS)


WANTED = {"sparf": wanted_tokens, "bounds": wanted_units}
RANKS = {"sparf": (0.49, 0.5), "bounds": (0.4, 0.6)}
"""Of b: the largest of tokens that are not wanted, the smallest of those that are, in `MOST`."""
