"""The twin: a whole attend in numpy, bit for bit what the engine gives.

It runs the hardware's kernels on arrays and adds exactly, so its result is that of the gateware
whatever the number of channels, the order in which pages arrive or the clock target.
"""

import math
from dataclasses import dataclass

import numpy as np

from hls_attention.formats import FP16
from hls_attention.kernels import (
    MAX_HEAD_DIM,
    MAX_TOKENS,
    SCALE_BITS,
    SCORE_BITS,
    normalise,
    product,
    quantise_query,
    score,
    weight,
)

__all__ = ["TwinResult", "attend", "block_exponent", "encode_scale"]

NAN = 0x7E00
"""The NaN that a head with an infinity or NaN in its inputs gives."""

CHUNK_PRODUCTS = 1 << 16
"""Products computed at a time: bounds memory and keeps the arrays in a processor's cache."""


@dataclass(frozen=True)
class TwinResult:
    """What an attend gives.

    Parameters
    ----------
    out : array of float16, [heads, head_dim]
    saturated : bool
        Some score went beyond its format and was clipped.
    nonfinite : bool
        Some head is NaN because of an infinity or NaN in q, K or V.
    quotient : array of float64, [heads, head_dim]
        The result before its rounding to FP16; NaN where ``out`` is.
    """

    out: np.ndarray
    saturated: bool
    nonfinite: bool
    quotient: np.ndarray


def encode_scale(scale):
    """The score scale as the engine takes it: in units of log2, normalised.

    Parameters
    ----------
    scale : float
        Factor on q . k before the softmax, such as ``head_dim ** -0.5``.

    Returns
    -------
    mant, exp : int
        ``scale * log2(e) = mant * 2**(exp - 26)``, rounded; 2**25 <= mant < 2**26 and
        -32 <= exp <= 31.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be finite and greater than 0, got {scale}")
    fraction, exp = math.frexp(scale * math.log2(math.e))
    mant = round(math.ldexp(fraction, SCALE_BITS))
    if mant == 1 << SCALE_BITS:
        mant, exp = mant >> 1, exp + 1
    if not -32 <= exp <= 31:
        raise ValueError(f"scale must be within about 2**-33..2**30, got {scale}")
    return mant, exp


def block_exponent(x):
    """Largest exponent of a float16 array, 0..29, as the drive tracks it for K and V."""
    _, exponent, _ = FP16.fields(_words(x))
    return int(exponent.max())


def attend(q, k, v, scale, *, k_exp=None, v_exp=None):
    """Dense attention of the query heads that share one KV head, over one pass.

    Parameters
    ----------
    q : array of float16, [heads, head_dim]
    k, v : array of float16, [tokens, head_dim]
        1..65535 tokens, at most 256 elements each.
    scale : float
        Factor on q . k.
    k_exp, v_exp : int, optional
        Block exponents, where they are those of more than this K and V; default: their own.

    Returns
    -------
    TwinResult
    """
    q, k, v = _check(q, k, v)
    heads, (tokens, dim) = len(q), k.shape
    (_, q_exponents, q_finite), (_, k_exponents, k_finite), (_, v_exponents, v_finite) = map(
        FP16.fields, (q, k, v)
    )
    scale_mant, scale_exp = encode_scale(scale)

    poisoned = ~q_finite.all(axis=1) | (not k_finite.all()) | (not v_finite.all())
    if poisoned.all():
        nan = np.full((heads, dim), NAN, dtype=np.uint16).view(np.float16)
        return TwinResult(nan, saturated=False, nonfinite=True, quotient=nan.astype(np.float64))
    q = np.where(poisoned[:, None], 0, q)
    q_exp = np.where(poisoned, 0, q_exponents.max(axis=1))
    k_exp = _block("k_exp", k_exp, k_exponents)
    v_exp = _block("v_exp", v_exp, v_exponents)

    chunk = max(1, CHUNK_PRODUCTS // (heads * dim))
    chunks = [slice(start, min(start + chunk, tokens)) for start in range(0, tokens, chunk)]

    qi = quantise_query.numpy(x=q, q_exp=q_exp[:, None])["qi"]
    acc = np.empty((heads, tokens), dtype=np.int64)
    for part in chunks:
        products = product.numpy(a=qi[:, None], x=k[part], block_exp=k_exp, drop=0, pass_v=0)
        acc[:, part] = products["p"].sum(axis=2)
    scores = score.numpy(
        acc=acc, scale_mant=scale_mant, scale_exp=scale_exp, q_exp=q_exp[:, None], k_exp=k_exp
    )
    saturated = scores["saturated"].any(axis=1) & ~poisoned

    reference = (scores["s"].max(axis=1) + (1 << SCORE_BITS) - 1) >> SCORE_BITS
    weights = weight.numpy(s=scores["s"], m=reference[:, None])
    l = weights["term"].sum(axis=1)
    o = np.zeros((heads, dim), dtype=np.int64)
    for part in chunks:
        mant, drop = weights["mant"][:, part, None], weights["drop"][:, part, None]
        products = product.numpy(a=mant, x=v[part], block_exp=v_exp, drop=drop, pass_v=1)
        o += products["p"].sum(axis=1)

    x = normalise.numpy(o=o, l=l[:, None], v_exp=v_exp)["x"]
    quotient = np.ldexp(o / l[:, None].astype(np.float64), v_exp - 13)
    return TwinResult(
        out=np.where(poisoned[:, None], NAN, x).astype(np.uint16).view(np.float16),
        saturated=bool(saturated.any()),
        nonfinite=bool(poisoned.any()),
        quotient=np.where(poisoned[:, None], np.nan, quotient),
    )


def _words(x):
    return np.ascontiguousarray(x).view(np.uint16).astype(np.int64)


def _check(q, k, v):
    for name, array in (("q", q), ("k", k), ("v", v)):
        if np.asarray(array).dtype != np.float16 or np.ndim(array) != 2:
            raise ValueError(
                f"{name} must be a two-dimensional array of float16, got {np.asarray(array).dtype} "
                f"of shape {np.shape(array)}"
            )
    if np.shape(k) != np.shape(v) or np.shape(q)[1] != np.shape(k)[1]:
        raise ValueError(
            f"q [heads, head_dim], k and v [tokens, head_dim] must agree, got {np.shape(q)}, "
            f"{np.shape(k)}, {np.shape(v)}"
        )
    (heads, dim), tokens = np.shape(q), np.shape(k)[0]
    if not 1 <= tokens <= MAX_TOKENS:
        raise ValueError(f"tokens must be in 1..{MAX_TOKENS}, got {tokens}")
    if heads < 1 or not 1 <= dim <= MAX_HEAD_DIM:
        raise ValueError(
            f"q needs at least one head and head_dim in 1..{MAX_HEAD_DIM}, got shape {np.shape(q)}"
        )
    return _words(q), _words(k), _words(v)


def _block(name, given, exponents):
    least = int(exponents.max())
    if given is None:
        return least
    if not least <= given <= FP16.top_exponent:
        raise ValueError(
            f"{name} must be in {least}..{FP16.top_exponent}: at least the largest exponent of its "
            f"block; got {given}"
        )
    return int(given)
