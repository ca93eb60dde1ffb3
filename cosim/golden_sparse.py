"""The golden model of sparse attention by selected tokens: SparF, and a local window.

SparF (Algorithm 1 of InstAttention, HPCA 2025) estimates the scores of all tokens from the r
channels in which the query is largest, attends the k tokens with the largest estimates exactly, and
lets the mean of V stand for the others. SparQ is the same arithmetic (what is loaded differs), and
so `sparf_attention` is the golden model of both.

Of one KV head, with its g query heads q (one of them: q_h), S tokens and d channels::

    i       r channels of largest sum over h of |q_h|                 ties: lowest channel
    tau_h   sqrt(d * |q_h[i]|_1 / |q_h|_1)
    s_h     softmax over tokens of  q_h[i] . K[:, i]^T / tau_h
    j       k tokens of largest sum over h of s_h,                    ties: lowest token
            the first ``sinks`` and the last ``window`` before all others
    alpha_h sum of s_h[j]
    out_h   alpha_h * softmax(q_h . K[j]^T / sqrt(d)) . V[j] + (1 - alpha_h) * mean of V

As in `cosim.golden` inputs are FP16 or BF16 values taken exactly and all else is float64. It
imports torch alone, and of ours only the dense golden model.
"""

from dataclasses import dataclass

import torch

from .golden import checked, checked_scale

__all__ = [
    "Selection",
    "attend_selected",
    "by_kv_head",
    "forced_tokens",
    "local_attention",
    "sparf_attention",
    "top",
]


@dataclass(frozen=True)
class Selection:
    """Sparse attention of one token, and what it selected.

    Attributes
    ----------
    out : torch.Tensor
        float64 [q_heads, head_dim].
    tokens : torch.Tensor
        bool [kv_heads, tokens]: K and V rows that were attended.
    channels : torch.Tensor or None
        bool [kv_heads, head_dim]: channels of K that scores were estimated from.
    alpha : torch.Tensor or None
        float64 [q_heads]: share of the estimated softmax that the selected tokens have.
    """

    out: torch.Tensor
    tokens: torch.Tensor
    channels: torch.Tensor | None = None
    alpha: torch.Tensor | None = None


def sparf_attention(q, k, v, *, channels, kept, window=0, sinks=0, mean_value=True, scale=None):
    """SparF attention of one token's queries.

    Parameters
    ----------
    q : tensor or array, float16 or bfloat16 [q_heads, head_dim]
        Query heads ``[h * g, (h + 1) * g)`` share KV head ``h``.
    k, v : tensor or array, float16 or bfloat16 [tokens, kv_heads, head_dim]
        The context, the current token last.
    channels : int
        r, channels of K that are read for all tokens, 1..head_dim.
    kept : int
        k, tokens attended exactly, 1 or more; all, if there are fewer. Forced tokens count, and
        are kept even where they alone are more.
    window, sinks : int
        Last and first tokens that are kept whatever their scores.
    mean_value : bool
        False: alpha is 1, as SparQ has it for models with GQA.
    scale : float, optional
        Factor of the exact scores, ``1 / sqrt(head_dim)`` if not given; the estimate's follows.

    Returns
    -------
    Selection
    """
    q, k, v, scale = by_kv_head(q, k, v, scale)
    head_dim, tokens = q.shape[2], k.shape[1]
    if not 1 <= channels <= head_dim:
        raise ValueError(f"channels = {channels} is not possible: give 1..{head_dim}")
    if kept < 1:
        raise ValueError(f"kept = {kept} is not possible: keep 1 token or more")
    size = q.abs()
    chosen = top(size.sum(dim=1), channels)
    carried = torch.where(chosen[:, None], q, 0.0)
    share = carried.abs().sum(dim=2) / size.sum(dim=2)
    # A query without size in the chosen channels says nothing of any token.
    factor = torch.where(share > 0, scale / share.sqrt(), 0.0)
    logits = torch.einsum("hgd,htd->hgt", carried, k) * factor[:, :, None]
    estimate = torch.softmax(logits, dim=2)
    keys = estimate.sum(dim=1)
    forced = forced_tokens(tokens, window, sinks)
    keys[:, forced] = torch.inf
    selected = top(keys, max(min(kept, tokens), int(forced.sum())))
    out = attend_selected(q, k, v, selected, scale)
    alpha = torch.ones(q.shape[:2], dtype=torch.float64)
    if mean_value:
        alpha = torch.where(selected[:, None], estimate, 0.0).sum(dim=2)
        mean = v.mean(dim=1)[:, None]
        out = alpha[:, :, None] * out + (1 - alpha)[:, :, None] * mean
    return Selection(out.flatten(0, 1), selected, chosen, alpha.flatten())


def local_attention(q, k, v, *, window, sinks=0, scale=None):
    """Attention over the last ``window`` and the first ``sinks`` tokens only.

    Parameters and result as of `sparf_attention`; one of the two is at least 1.
    """
    q, k, v, scale = by_kv_head(q, k, v, scale)
    forced = forced_tokens(k.shape[1], window, sinks)
    if not forced.any():
        raise ValueError("window = sinks = 0 keeps no token: keep 1 or more")
    selected = forced.expand(k.shape[0], -1).clone()
    return Selection(attend_selected(q, k, v, selected, scale).flatten(0, 1), selected)


def by_kv_head(q, k, v, scale):
    """q as float64 [kv_heads, group, head_dim], k and v [kv_heads, tokens, head_dim], the scale.

    What is selected by numbers that are none is not defined: infinities and NaN are refused.
    """
    q, k, v = checked(q, k, v)
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not torch.isfinite(x).all():
            raise ValueError(f"{name} has an infinity or NaN: sparse attention takes finite values")
    q = q.double().unflatten(0, (k.shape[1], -1))
    return (
        q,
        k.double().transpose(0, 1),
        v.double().transpose(0, 1),
        checked_scale(scale, q.shape[2]),
    )


def top(keys, count):
    """Mask of the ``count`` largest keys of each row; of equal ones the first."""
    order = torch.sort(keys, dim=-1, descending=True, stable=True).indices
    mask = torch.zeros(keys.shape, dtype=torch.bool)
    return mask.scatter(-1, order[..., :count], True)


def forced_tokens(tokens, window, sinks):
    """Mask [tokens] of the first ``sinks`` and the last ``window``."""
    for name, value in (("window", window), ("sinks", sinks)):
        if value < 0:
            raise ValueError(f"{name} = {value} is not possible: give 0 or more")
    place = torch.arange(tokens)
    return (place < sinks) | (place >= tokens - window)


def attend_selected(q, k, v, selected, scale):
    """Softmax attention over the selected tokens; arguments as `by_kv_head` gives them."""
    scores = torch.einsum("hgd,htd->hgt", q, k) * scale
    scores = scores.masked_fill(~selected[:, None], -torch.inf)
    return torch.einsum("hgt,htd->hgd", torch.softmax(scores, dim=2), v)
