"""The golden model of sparse attention by bounds: units of tokens, chosen by what they can score.

Of each unit of ``unit_tokens`` tokens the smallest and the largest value of every K channel are
kept in ``bits`` bits each. No token of the unit scores more with query q than::

    B_u = sum over channels i of  max(q_i low_ui, q_i high_ui)

and of one KV head, with its g query heads q_h, those units are attended whole whose key

    sum over h of  softmax over units of (B_u(q_h) / sqrt(d))       ties: lowest unit

is largest; the units of the first ``sinks`` and the last ``window`` tokens come before all others.
Only full *groups* of ``group_tokens`` tokens have bounds, as a drive writes them; the tokens after
the last full group are attended always, and have no part in the softmax.

**Codes.** ``bits`` signed bits c stand for ``c * 2^e``, with one e for each channel and group: the
least with which no bound of the group in that channel is beyond ``top = 2^(bits-1) - 1`` steps.
Smallest values are rounded down and largest up, so that a bound stays one. A group is coded when
its last token has come, from that group alone: nothing written before is ever changed.

It imports torch alone, and of ours only the golden models.
"""

import torch

from .golden_sparse import Selection, attend_selected, by_kv_head, forced_tokens, top

__all__ = ["LEAST_EXPONENT", "bounds_attention", "bounds_of"]

LEAST_EXPONENT = -24
"""Of a step: 2^-24 is FP16's smallest number, and all FP16 numbers are multiples of it."""


def bounds_of(k, *, unit_tokens=4, group_tokens=32, bits=4):
    """Bounds of the units of all full groups.

    Parameters
    ----------
    k : torch.Tensor
        float64 [kv_heads, tokens, head_dim], finite.
    unit_tokens, group_tokens : int
        Tokens of a unit, and of a group: a multiple.
    bits : int
        Of each bound, 2..16.

    Returns
    -------
    tuple of torch.Tensor
        float64 [kv_heads, units, head_dim], twice: low and high; no units without a full group.
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"bits = {bits} is not possible: give 2..16")
    if unit_tokens < 1 or group_tokens < 1 or group_tokens % unit_tokens:
        raise ValueError(
            f"groups of {group_tokens} tokens are not whole units of {unit_tokens}: "
            "give multiples, 1 or more"
        )
    groups = k.shape[1] // group_tokens
    shape = (groups, group_tokens // unit_tokens, unit_tokens)
    values = k[:, : groups * group_tokens].unflatten(1, shape)
    low, high = values.amin(dim=3), values.amax(dim=3)
    step = _steps(torch.maximum(low.abs(), high.abs()).amax(dim=2, keepdim=True), bits)
    codes = torch.floor(low / step), torch.ceil(high / step)
    return tuple((code * step).flatten(1, 2) for code in codes)


def _steps(largest, bits):
    """The least powers of two of which ``2^(bits-1) - 1`` reach these values."""
    top = 2 ** (bits - 1) - 1
    mantissa, exponent = torch.frexp(largest / top)  # value = mantissa * 2^exponent, 0.5 <= m < 1
    exponent = exponent - (mantissa == 0.5).int()
    least = torch.full_like(exponent, LEAST_EXPONENT)
    step = torch.ldexp(
        torch.ones_like(largest), torch.where(largest > 0, exponent, least).clamp(min=least)
    )
    assert (largest <= top * step).all()
    return step


def bounds_attention(
    q, k, v, *, units, unit_tokens=4, group_tokens=32, bits=4, window=0, sinks=0, scale=None
):
    """Attention over the units of the largest bounds.

    Parameters
    ----------
    q, k, v, scale
        As of `cosim.golden_sparse.sparf_attention`.
    units : int
        Units kept, 1 or more; all, if there are fewer. Those of ``window`` and ``sinks`` count, and
        are kept even where they alone are more; tokens after the last full group do not.
    unit_tokens, group_tokens, bits : int
        See `bounds_of`.
    window, sinks : int
        Last and first tokens whose units are kept whatever their bounds.

    Returns
    -------
    Selection
        Without channels and alpha.
    """
    q, k, v, scale = by_kv_head(q, k, v, scale)
    if units < 1:
        raise ValueError(f"units = {units} is not possible: keep 1 or more")
    tokens = k.shape[1]
    low, high = bounds_of(k, unit_tokens=unit_tokens, group_tokens=group_tokens, bits=bits)
    count = low.shape[1]
    selected = torch.ones((k.shape[0], tokens), dtype=torch.bool)
    if count:
        products = [torch.einsum("hgd,hud->hgud", q, bound) for bound in (low, high)]
        best = torch.maximum(*products).sum(dim=3) * scale
        keys = torch.softmax(best, dim=2).sum(dim=1)
        forced = forced_tokens(tokens, window, sinks)[: count * unit_tokens]
        forced = forced.unflatten(0, (count, unit_tokens)).any(dim=1)
        keys[:, forced] = torch.inf
        chosen = top(keys, max(min(units, count), int(forced.sum())))
        selected[:, : count * unit_tokens] = chosen.repeat_interleave(unit_tokens, dim=1)
    return Selection(attend_selected(q, k, v, selected, scale).flatten(0, 1), selected)
