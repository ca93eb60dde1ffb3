"""The twin of a sparse attend in numpy, bit for bit what the drive gives.

SparF (Algorithm 1 of InstAttention, HPCA 2025) with alpha = 1, as SparQ has it for models with
GQA: nothing stands for the tokens that are left out.

::

    q --> channels --.
    K --> scores of all tokens from these channels --> keys --> tokens kept
    q, K, V of the tokens kept --> partials, one for each pass --> merge --> out

Passes are those of dense attention, with the block exponents of all their tokens: what is kept
changes the exponents of nothing.
"""

from dataclasses import dataclass

import numpy as np

from hls_attention import selection_twin, twin
from hls_attention.kernels import MAX_PASS_TOKENS

__all__ = ["Choice", "SparseResult", "attend", "choose"]


@dataclass(frozen=True)
class Choice:
    """What is read of K and V for the query heads of one KV head, and why.

    Parameters
    ----------
    channels : array of bool, [head_dim]
        Channels of K that scores are estimated from.
    scores : array of int64, [heads, tokens]
        Estimated scores in log2 units, signed 16.16.
    keys : array of int64, [tokens]
        Selection keys, see `selection_twin.selection_keys`.
    keep : array of bool, [tokens]
        Tokens that are attended.
    """

    channels: np.ndarray
    scores: np.ndarray
    keys: np.ndarray
    keep: np.ndarray


@dataclass(frozen=True)
class SparseResult(twin.TwinResult):
    """`TwinResult` of a sparse attend.

    Parameters
    ----------
    choice : Choice or None
        None where nothing is chosen: all tokens are kept, or something is no number.
    """

    choice: Choice | None = None


def attend(q, k, v, scale, *, channels, kept, sinks=0, window=0, pass_tokens=MAX_PASS_TOKENS):
    """Sparse attention of the query heads that share one KV head.

    An infinity or NaN in any of q, K or V makes all of these heads NaN: the heads choose together.
    Else, where no more than ``kept`` tokens are there, it is dense attention.

    Parameters
    ----------
    q, k, v, scale, pass_tokens
        As for `twin.attend`, up to 8 heads.
    channels, kept, sinks, window : int
        As for `choose`.

    Returns
    -------
    SparseResult
        ``saturated`` is of the scores of tokens kept, not of estimates.
    """
    _check_selection(q, channels, kept, sinks, window)
    if not all(twin.finite(x).all() for x in (q, k, v)):
        q = np.full_like(q, np.nan)
    elif kept < len(k):
        selection = {"channels": channels, "kept": kept, "sinks": sinks, "window": window}
        choice = choose(q, k, scale, **selection, pass_tokens=pass_tokens)
        parts = [
            twin.partial(q, k[cut], v[cut], scale, keep=choice.keep[cut])
            for cut in twin.pass_cuts(len(k), pass_tokens)
        ]
        return SparseResult(**vars(twin.merge(parts, dtype=q.dtype)), choice=choice)
    return SparseResult(**vars(twin.attend(q, k, v, scale, pass_tokens=pass_tokens)))


def choose(q, k, scale, *, channels, kept, sinks=0, window=0, pass_tokens=MAX_PASS_TOKENS):
    """Channels and tokens that a sparse attend reads.

    Parameters
    ----------
    q, k, scale, pass_tokens
        As for `attend`, all finite.
    channels : int
        1..head_dim.
    kept : int
        Tokens, 1 or more; all, if there are not more.
    sinks, window : int
        First and last tokens that are kept before all others, and count. If these are more than
        ``kept``, the ``kept`` of them with the largest keys are.

    Returns
    -------
    Choice
    """
    _check_selection(q, channels, kept, sinks, window)
    top = selection_twin.top_channels(q, channels)
    own_scale = selection_twin.temperature(scale, top.q, top.q_r)
    estimates = [
        twin.scores(q, k[cut], own_scale, k_exp=twin.block_exponent(k[cut]), channels=top.mask)[0]
        for cut in twin.pass_cuts(len(k), pass_tokens)
    ]
    s = np.concatenate(estimates, axis=1)
    inverse = selection_twin.reciprocals(selection_twin.weight_sums(s))
    keys = selection_twin.selection_keys(s, selection_twin.references(s), *inverse)
    keep = selection_twin.select(keys, kept, sinks=sinks, window=window)
    return Choice(channels=top.mask, scores=s, keys=keys, keep=keep)


def _check_selection(q, channels, kept, sinks, window):
    if not 1 <= channels <= q.shape[1]:
        raise ValueError(f"channels must be in 1..{q.shape[1]}, the head_dim, got {channels}")
    for name, value, least in (("kept", kept, 1), ("sinks", sinks, 0), ("window", window, 0)):
        if value < least:
            raise ValueError(f"{name} must be {least} or more, got {value}")
