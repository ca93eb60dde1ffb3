"""The golden model: decode attention as mathematics, in PyTorch float64.

It imports torch alone, so that it can never share a mistake with what it judges. Queries, keys and
values are FP16 or BF16 values, taken exactly; everything after them is float64.

One deliberate difference from torch (docs: numerics): an infinity or NaN in a query head, or in the
K or V of the KV head it attends, makes all of that head's output NaN.
"""

import math

import torch

__all__ = ["attend", "attend_rounded", "checked", "checked_scale", "round_once", "sdpa"]


def attend(q, k, v, scale=None):
    """Softmax attention of one token's queries over a whole context, in float64.

    Parameters
    ----------
    q : tensor or array, float16 or bfloat16 [q_heads, head_dim]
        Queries; query heads ``[h * g, (h + 1) * g)`` share KV head ``h``.
    k, v : tensor or array, float16 or bfloat16 [tokens, kv_heads, head_dim]
        Keys and values, one token or more.
    scale : float, optional
        Factor of the scores; ``1 / sqrt(head_dim)`` if not given.

    Returns
    -------
    torch.Tensor
        float64 [q_heads, head_dim].
    """
    q, k, v = checked(q, k, v)
    scale = checked_scale(scale, q.shape[1])
    group = q.shape[0] // k.shape[1]
    bad_kv = ~(torch.isfinite(k) & torch.isfinite(v)).all(dim=2).all(dim=0)
    bad = bad_kv.repeat_interleave(group) | ~torch.isfinite(q).all(dim=1)
    keys, values = (x.double().repeat_interleave(group, dim=1) for x in (k, v))
    scores = torch.einsum("hd,thd->ht", q.double(), keys) * scale
    out = torch.einsum("ht,thd->hd", torch.softmax(scores, dim=1), values)
    out[bad] = math.nan
    return out


def attend_rounded(q, k, v, scale=None):
    """The ideal result: `attend`, rounded once to the type of q (nearest even)."""
    return round_once(attend(q, k, v, scale), torch.as_tensor(q).dtype)


def round_once(x, dtype=torch.float16):
    """Float64 to float16 or bfloat16, nearest even, rounded once.

    Torch converts by way of float32 and so rounds twice; the float32 step is made harmless here by
    rounding it to odd.
    """
    if x.dtype != torch.float64:
        raise TypeError(f"round_once takes float64, not {x.dtype}")
    single = x.float()
    bits = single.view(torch.int32)
    bits = bits - (single.double().abs() > x.abs()).int()
    inexact = (bits.view(torch.float32).double() != x) & torch.isfinite(x)
    odd = torch.where(inexact, bits | 1, bits).view(torch.float32)
    return torch.where(torch.isfinite(x), odd, single).to(dtype)


def sdpa(q, k, v, scale=None):
    """What torch's own ``scaled_dot_product_attention`` makes of it, for comparison."""
    q, k, v = checked(q, k, v)
    group = q.shape[0] // k.shape[1]
    keys, values = (x.transpose(0, 1).repeat_interleave(group, dim=0) for x in (k, v))
    out = torch.nn.functional.scaled_dot_product_attention(
        q[:, None], keys, values, scale=checked_scale(scale, q.shape[1])
    )
    return out[:, 0]


def checked_scale(scale, head_dim):
    """The factor of the scores: that given if it is finite, ``1 / sqrt(head_dim)`` for None."""
    scale = 1 / math.sqrt(head_dim) if scale is None else float(scale)
    if not math.isfinite(scale):
        raise ValueError(f"scale = {scale} is not possible: give a finite number")
    return scale


def checked(q, k, v):
    """The three tensors, or an error that names the one that is wrong."""
    q, k, v = (torch.as_tensor(x) for x in (q, k, v))
    for name, x, rank in (("q", q, 2), ("k", k, 3), ("v", v, 3)):
        if x.dtype not in (torch.float16, torch.bfloat16):
            raise TypeError(f"{name} is {x.dtype}: give float16 or bfloat16")
        if x.ndim != rank or 0 in x.shape:
            shape = "[q_heads, head_dim]" if rank == 2 else "[tokens, kv_heads, head_dim]"
            raise ValueError(f"{name} has shape {list(x.shape)}: give {shape}, nothing zero")
    if k.shape != v.shape:
        raise ValueError(f"k has shape {list(k.shape)}, v {list(v.shape)}: they must be equal")
    if q.shape[1] != k.shape[2]:
        raise ValueError(f"head_dim of q is {q.shape[1]}, of k {k.shape[2]}: they must be equal")
    if q.shape[0] % k.shape[1]:
        raise ValueError(
            f"{q.shape[0]} query heads cannot share {k.shape[1]} KV heads: "
            "give a multiple of kv_heads"
        )
    return q, k, v
