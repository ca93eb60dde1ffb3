"""The golden model of sparse attention by bounds: tokens, chosen by what their unit can score.

Of each *unit* of 4 tokens the smallest and the largest value of every K channel are known. No token
of the unit scores more with query q than::

    B_u = sum over channels i of  max(q_i low_ui, q_i high_ui)

Each token's estimated score is that of its unit, and of one KV head, with its g query heads q_h,
those tokens are attended whose key

    sum over h of  softmax over tokens of (B_u(q_h) / sqrt(d))       ties: lowest token

is largest; the first ``sinks`` and the last ``window`` tokens come before all others.

**Codes.** The first ``bounded`` tokens, whole blocks of 8 units, have low and high rounded to
nearest (halves up) multiples of a step, one for each channel and block. With 2^e the largest power
of two that is not above the largest magnitude of the block's bounds in that channel, it is
2^(e - 2); if that makes some low more than 7 steps, or some high more than 7 above its low, twice
this; and if a high still is more than 7 above its low, four times. A step is the format's smallest
normal number at least, and what is rounded beyond its largest number is that number. Tokens after
these have the exact bounds of their unit; the last unit may have fewer than 4.

It imports torch alone, and of ours only the golden models.
"""

import torch

from .golden_sparse import Selection, attend_selected, by_kv_head, forced_tokens, top

__all__ = ["BLOCK_TOKENS", "UNIT_TOKENS", "bounds_attention", "coded_bounds", "exact_bounds"]

UNIT_TOKENS = 4
BLOCK_TOKENS = 32

MOST = 7
"""Steps: of the largest low, and of a high above its low."""


def exact_bounds(k):
    """Smallest and largest values of each unit: float64 [kv_heads, units, head_dim], twice.

    ``k`` is float64 [kv_heads, tokens, head_dim]; a last unit of fewer tokens counts.
    """
    missing = -k.shape[1] % UNIT_TOKENS
    units = torch.cat([k, k[:, -1:].expand(-1, missing, -1)], dim=1)
    units = units.unflatten(1, (-1, UNIT_TOKENS))
    return units.amin(dim=2), units.amax(dim=2)


def coded_bounds(k, dtype):
    """Bounds of each unit as they are coded.

    Parameters
    ----------
    k : torch.Tensor
        float64 [kv_heads, tokens, head_dim], finite, of whole blocks.
    dtype : torch.dtype
        float16 or bfloat16, which the values are of.

    Returns
    -------
    tuple of torch.Tensor
        float64 [kv_heads, units, head_dim], twice: low and high.
    """
    if k.shape[1] % BLOCK_TOKENS:
        raise ValueError(
            f"{k.shape[1]} tokens are not whole blocks of {BLOCK_TOKENS}: give a multiple"
        )
    limits = torch.finfo(dtype)
    exact = [bound.unflatten(1, (-1, BLOCK_TOKENS // UNIT_TOKENS)) for bound in exact_bounds(k)]
    largest = torch.maximum(*(bound.abs() for bound in exact)).amax(dim=2, keepdim=True)
    least = torch.tensor(4 * limits.smallest_normal, dtype=torch.float64)
    exponent = torch.frexp(torch.maximum(largest, least)).exponent - 1
    step = torch.ldexp(torch.ones_like(largest), exponent - 2)
    for _ in range(2):
        low, high = (torch.floor(bound / step + 0.5) for bound in exact)
        coarse = ((high - low > MOST) | (low > MOST)).any(dim=2, keepdim=True)
        step = torch.where(coarse, 2 * step, step)
    codes = (torch.floor(bound / step + 0.5) * step for bound in exact)
    return tuple(code.clamp(-limits.max, limits.max).flatten(1, 2) for code in codes)


def bounds_attention(q, k, v, *, kept, bounded=0, window=0, sinks=0, scale=None):
    """Attention over the tokens of the largest bounds.

    Parameters
    ----------
    q, k, v, scale
        As of `cosim.golden_sparse.sparf_attention`.
    kept : int
        Tokens attended, 1 or more; all, if there are fewer. Forced tokens count, and are kept even
        where they alone are more.
    bounded : int
        First tokens whose bounds are coded, a multiple of 32.
    window, sinks : int
        Last and first tokens that are kept whatever their bounds.

    Returns
    -------
    Selection
        Without channels and alpha.
    """
    dtype = torch.as_tensor(k).dtype
    q, k, v, scale = by_kv_head(q, k, v, scale)
    tokens = k.shape[1]
    if kept < 1:
        raise ValueError(f"kept = {kept} is not possible: keep 1 token or more")
    if not 0 <= bounded <= tokens:
        raise ValueError(f"bounded = {bounded} is not possible: give 0..{tokens}, the tokens")
    bounds = [
        torch.cat(both, dim=1)
        for both in zip(coded_bounds(k[:, :bounded], dtype), _rest(k, bounded), strict=True)
    ]
    products = [torch.einsum("hgd,hud->hgud", q, bound) for bound in bounds]
    best = torch.maximum(*products).sum(dim=3) * scale
    estimate = best.repeat_interleave(UNIT_TOKENS, dim=2)[..., :tokens]
    keys = torch.softmax(estimate, dim=2).sum(dim=1)
    forced = forced_tokens(tokens, window, sinks)
    keys[:, forced] = torch.inf
    selected = top(keys, max(min(kept, tokens), int(forced.sum())))
    return Selection(attend_selected(q, k, v, selected, scale).flatten(0, 1), selected)


def _rest(k, bounded):
    """Exact bounds of the tokens after the first ones; of none, none."""
    if bounded == k.shape[1]:
        return k[:, :0], k[:, :0]
    return exact_bounds(k[:, bounded:])
