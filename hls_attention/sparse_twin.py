"""The twin of a sparse attend in numpy, bit for bit what the drive gives.

SparF (Algorithm 1 of InstAttention, HPCA 2025) with alpha = 1, as SparQ has it for models with
GQA: nothing stands for the tokens that are left out.

::

    q --> channels --.
    K --> scores of all tokens from these channels --> keys --> tokens kept
    q, K, V of the tokens kept --> partials, one for each pass --> merge --> out

Passes are those of dense attention, with the block exponents of all their tokens: what is kept
changes the exponents of nothing.

Or scores are estimated from bounds of K instead of channels: four tokens together get the largest
score that any K within the bounds of their unit would have. Of the first tokens, those of whole
index units, bounds are as the drive keeps them in bytes, of the others as K itself has them::

    K --> encode --> decode (the first ``bounded`` tokens) --+--> bounds of units of 4 tokens
     '--> extremes (the others) ----------------------------'
    score of a token:  sum over channels of q * (q < 0 ? low : high), of its unit
"""

from dataclasses import dataclass

import numpy as np

from hls_attention import bounds_code, selection_twin, twin
from hls_attention.formats import words_of
from hls_attention.kernels import MAX_PASS_TOKENS

__all__ = ["Choice", "SparseResult", "attend", "choose"]


@dataclass(frozen=True)
class Choice:
    """What is read of K and V for the query heads of one KV head, and why.

    Parameters
    ----------
    channels : array of bool, [head_dim]
        Channels of K that scores are estimated from; with bounds all.
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


def attend(
    q,
    k,
    v,
    scale,
    *,
    kept,
    channels=None,
    bounded=None,
    sinks=0,
    window=0,
    pass_tokens=MAX_PASS_TOKENS,
):
    """Sparse attention of the query heads that share one KV head.

    An infinity or NaN in any of q, K or V makes all of these heads NaN: the heads choose together.
    Else, where no more than ``kept`` tokens are there, it is dense attention.

    Parameters
    ----------
    q, k, v, scale, pass_tokens
        As for `twin.attend`, up to 8 heads.
    kept, channels, bounded, sinks, window : int
        As for `choose`.

    Returns
    -------
    SparseResult
        ``saturated`` is of the scores of tokens kept, not of estimates.
    """
    _check_selection(q, k, channels, bounded, kept, sinks, window)
    if not all(twin.finite(x).all() for x in (q, k, v)):
        q = np.full_like(q, np.nan)
    elif kept < len(k):
        estimated = {"channels": channels, "bounded": bounded, "pass_tokens": pass_tokens}
        choice = choose(q, k, scale, kept=kept, sinks=sinks, window=window, **estimated)
        parts = [
            twin.partial(q, k[cut], v[cut], scale, keep=choice.keep[cut])
            for cut in twin.pass_cuts(len(k), pass_tokens)
        ]
        return SparseResult(**vars(twin.merge(parts, dtype=q.dtype)), choice=choice)
    return SparseResult(**vars(twin.attend(q, k, v, scale, pass_tokens=pass_tokens)))


def choose(
    q,
    k,
    scale,
    *,
    kept,
    channels=None,
    bounded=None,
    sinks=0,
    window=0,
    pass_tokens=MAX_PASS_TOKENS,
):
    """What a sparse attend reads: channels, if it estimates from some, and tokens.

    Parameters
    ----------
    q, k, scale, pass_tokens
        As for `attend`, all finite.
    kept : int
        Tokens, 1 or more; all, if there are not more.
    channels : int
        1..head_dim: scores are estimated from so many channels of K.
    bounded : int
        Or from bounds of K. So many tokens, the first ones, are in whole index units: a multiple of
        32. One of ``channels`` and ``bounded`` is given.
    sinks, window : int
        First and last tokens that are kept before all others, and count. If these are more than
        ``kept``, the ``kept`` of them with the largest keys are.

    Returns
    -------
    Choice
    """
    _check_selection(q, k, channels, bounded, kept, sinks, window)
    top = selection_twin.top_channels(q, q.shape[1] if channels is None else channels)
    own_scale = selection_twin.temperature(scale, top.q, top.q_r)
    cuts = twin.pass_cuts(len(k), pass_tokens)
    if channels is None:
        estimates = list(_bounded_scores(q, k, own_scale, bounded, cuts))
    else:
        estimates = [
            twin.scores(q, k[cut], own_scale, k_exp=twin.block_exponent(k[cut]), channels=top.mask)[
                0
            ]
            for cut in cuts
        ]
    s = np.concatenate(estimates, axis=1)
    inverse = selection_twin.reciprocals(selection_twin.weight_sums(s))
    keys = selection_twin.selection_keys(s, selection_twin.references(s), *inverse)
    keep = selection_twin.select(keys, kept, sinks=sinks, window=window)
    return Choice(channels=top.mask, scores=s, keys=keys, keep=keep)


def _bounded_scores(q, k, scale, bounded, cuts):
    """Estimated scores of each pass, from bounds of units; no unit is in two passes."""
    coded = bounds_code.decode(bounds_code.encode(k[:bounded]), k.dtype)
    low, high = map(np.concatenate, zip(coded, bounds_code.extremes(k[bounded:])))
    unit = bounds_code.UNIT_TOKENS
    for cut in cuts:
        units = slice(cut.start // unit, -(-cut.stop // unit))
        # Decoded ones may be one exponent above all of the pass.
        k_exp = twin.block_exponent(k[cut]) + 1
        of_units = [
            twin.scores(
                q[[head]],
                np.where(negative, low[units], high[units]),
                [part[[head]] for part in scale],
                k_exp=k_exp,
            )[0]
            for head, negative in enumerate(words_of(q) >> 15 != 0)
        ]
        yield np.repeat(np.concatenate(of_units), unit, axis=1)[:, : len(k[cut])]


def _check_selection(q, k, channels, bounded, kept, sinks, window):
    if (channels is None) == (bounded is None):
        raise ValueError(f"give channels or bounded, got {channels} and {bounded}")
    if bounded is None and not 1 <= channels <= q.shape[1]:
        raise ValueError(f"channels must be in 1..{q.shape[1]}, the head_dim, got {channels}")
    block = bounds_code.BLOCK_TOKENS
    if channels is None and (not 0 <= bounded <= len(k) or bounded % block):
        raise ValueError(f"bounded must be a multiple of {block} in 0..{len(k)}, got {bounded}")
    for name, value, least in (("kept", kept, 1), ("sinks", sinks, 0), ("window", window, 0)):
        if value < least:
            raise ValueError(f"{name} must be {least} or more, got {value}")
