"""The twin of sparse selection in numpy, bit for bit what the units give.

::

    q --> top_channels --> mask, |q|_1, |q_r|_1 --> temperature --> scale of approximate scores
    approximate scores --> weight_sums --> Z --> selection_keys --> keys --> select --> keep

No result depends on the number of channels of the drive or on the order in which tokens arrive.
"""

from dataclasses import dataclass

import numpy as np

from hls_attention import kernels
from hls_attention import selection_kernels as sparse
from hls_attention.formats import FP16, format_of, words_of
from hls_attention.twin import encode_scale

__all__ = [
    "TopResult",
    "key_value",
    "reciprocals",
    "references",
    "select",
    "selection_keys",
    "temperature",
    "top_channels",
    "weight_sums",
]


@dataclass(frozen=True)
class TopResult:
    """The channels in which the queries of a KV head are largest.

    Parameters
    ----------
    mask : array of bool, [head_dim]
    keys : array of int64, [head_dim]
        Sum of |q| over the heads, the largest exponent of all of them at bit 39.
    q, q_r : array of int64, [heads]
        |q|_1 over all and over the chosen channels, the head's largest exponent at bit 39.
    """

    mask: np.ndarray
    keys: np.ndarray
    q: np.ndarray
    q_r: np.ndarray


def top_channels(q, r):
    """The r channels with the largest sum of |q| over the query heads; ties: lowest channel.

    Parameters
    ----------
    q : array of float16 or bfloat16, [heads, head_dim]
        Up to 8 heads.
    r : int
        1..head_dim.
    """
    if not 1 <= r <= q.shape[1]:
        raise ValueError(f"r must be in 1..{q.shape[1]}, the head_dim, got {r}")
    format = format_of(q)
    words, bf16 = words_of(q), int(format is not FP16)
    field = (words & 0x7FFF) >> format.fraction_bits
    exponents = np.maximum(field, 1).max(axis=1) - 1

    def magnitudes(top):
        return sparse.magnitude.numpy(x=words, top=top, bf16=bf16)["mag"]

    keys = magnitudes(exponents.max()).sum(axis=0)
    mask = select(keys, r)
    own = magnitudes(exponents[:, None])
    return TopResult(mask=mask, keys=keys, q=own.sum(axis=1), q_r=own[:, mask].sum(axis=1))


def temperature(scale, q, q_r):
    """Scale of each head's approximate scores, as ``scale_mant, scale_exp`` of the engine.

    Parameters
    ----------
    scale : float
        Factor on q . k before the softmax of all scores, such as ``head_dim ** -0.5``.
    q, q_r : array of int, [heads]
        From `top_channels`.

    Returns
    -------
    mant, exp : array of int64, [heads]
    """
    scale_mant, scale_exp = encode_scale(scale)
    result = sparse.temperature.numpy(q=q, q_r=q_r, scale_mant=scale_mant, scale_exp=scale_exp)
    return result["mant"], result["exp"]


def references(s):
    """Reference of each head, ceil of its largest score: [heads, tokens] -> [heads]."""
    return (s.max(axis=1) + (1 << kernels.SCORE_BITS) - 1) >> kernels.SCORE_BITS


def weight_sums(s):
    """Sum of weights of each head, LSB 2**-44, as one pass gives it, two bits less.

    Parameters
    ----------
    s : array of int, [heads, tokens]
        Approximate scores in log2 units, signed 16.16. Up to 131072 tokens.
    """
    terms = kernels.weight.numpy(s=s, m=references(s)[:, None])["term"]
    less = kernels.TERM_BITS + kernels.WEIGHT_BITS - sparse.Z_FRACTION_BITS
    # Of 131072 tokens the sum itself may be 2**63.
    low = (terms & (1 << less) - 1).sum(axis=1) >> less
    return (terms >> less).sum(axis=1) + low


def reciprocals(z):
    """``r_mant, r_exp`` of sums of weights; of one head alone those of 1: it needs no division."""
    if len(z) == 1:
        return np.array([1 << 16]), np.array([0])
    result = sparse.reciprocal.numpy(z=z)
    return result["r_mant"], result["r_exp"]


def selection_keys(s, m, r_mant, r_exp):
    """Key of each token: the sum over heads of the softmax of approximate scores.

    Parameters
    ----------
    s : array of int, [heads, tokens]
    m : array of int, [heads]
        From `references`, over all tokens to choose from.
    r_mant, r_exp : array of int, [heads]
        From `reciprocals`.

    Returns
    -------
    array of int64, [tokens]
        Unsigned, 23 bits; larger sums never have smaller keys.
    """
    columns = {"m": m, "r_mant": r_mant, "r_exp": r_exp}
    shares = sparse.share.numpy(s=s, **{name: x[:, None] for name, x in columns.items()})["share"]
    return sparse.selection_key.numpy(v=shares.sum(axis=0))["key"]


def key_value(key):
    """The smallest sum of shares that has a key, as float64."""
    key = np.asarray(key, dtype=np.int64)
    fraction = sparse.KEY_FRACTION_BITS
    exponent = np.maximum((key >> fraction) - 1, 0)
    return np.ldexp(
        (key - (exponent << fraction)).astype(np.float64), exponent - sparse.SHARE_FRACTION_BITS
    )


def select(keys, k, *, sinks=0, window=0):
    """The k largest keys, exactly; ties: lowest token. Some tokens come before all others.

    Parameters
    ----------
    keys : array of int, [tokens]
        Unsigned.
    k : int
        1 or more; all are kept where there are not more.
    sinks, window : int
        The first and the last tokens that are kept before any other, and count. If these are more
        than k, the k of them with the largest keys are kept.

    Returns
    -------
    array of bool, [tokens]
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    token = np.arange(len(keys))
    forced = (token < sinks) | (token >= len(keys) - window)
    order = np.lexsort((token, -np.asarray(keys, dtype=np.int64), ~forced))
    keep = np.zeros(len(keys), dtype=bool)
    keep[order[:k]] = True
    return keep
