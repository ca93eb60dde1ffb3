"""The twin: a whole attend in numpy, bit for bit what the engine gives.

It runs the hardware's kernels on arrays and adds exactly, so its result is that of the gateware
whatever the number of channels, the order in which pages arrive or the clock target.

::

    attend = partials (one for each pass of at most pass_tokens) --> merge --> out

A pass covers the tokens ``[n * pass_tokens, (n + 1) * pass_tokens)`` of a sequence and has block
exponents of its own, so a `Partial` is the same whichever drive holds the pass.
"""

import math
from dataclasses import dataclass

import numpy as np

from hls_attention.formats import FP16, format_of, words_of
from hls_attention.kernels import (
    CHAIN_GUARD_BITS,
    MAX_HEAD_DIM,
    MAX_PASS_TOKENS,
    MAX_TOKENS,
    SCALE_BITS,
    SCORE_BITS,
    align,
    element,
    normalise,
    product,
    quantise_query,
    score,
    weight,
)

__all__ = [
    "NO_TOKEN",
    "Partial",
    "TwinResult",
    "attend",
    "block_exponent",
    "encode_scale",
    "finite",
    "merge",
    "partial",
    "pass_cuts",
    "scores",
]

NO_TOKEN = -(1 << 16)
"""Reference of a pass of which no token is attended: the lowest of 17 bits."""

CHUNK_PRODUCTS = 1 << 16
"""Products computed at a time: bounds memory and keeps the arrays in a processor's cache."""


@dataclass(frozen=True)
class Partial:
    """Unnormalised attention over one pass: out = o * 2**(v_exp - 59) / (l * 2**-46).

    Parameters
    ----------
    m : array of int64, [heads]
        Reference M of each head: weights are 2**(score - M).
    l : array of int64, [heads]
        Sum of weights, LSB 2**-46.
    o : array of int64, [heads, head_dim]
        Weighted sums of V.
    v_exp : array of int64, [heads]
        Block exponent of V, less 112 if V is BF16.
    poisoned : array of bool, [heads]
        An infinity or NaN went in: the head's result is NaN, the numbers mean nothing.
    saturated : bool
        Some score went beyond its format and was clipped.
    """

    m: np.ndarray
    l: np.ndarray
    o: np.ndarray
    v_exp: np.ndarray
    poisoned: np.ndarray
    saturated: bool


@dataclass(frozen=True)
class TwinResult:
    """What an attend gives.

    Parameters
    ----------
    out : array of float16 or bfloat16, [heads, head_dim]
    saturated : bool
        Some score went beyond its format and was clipped.
    nonfinite : bool
        Some head is NaN because of an infinity or NaN in q, K or V.
    quotient : array of float64, [heads, head_dim]
        The result before its last rounding; NaN where ``out`` is.
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
    """Largest exponent of an array of float16 or bfloat16, as the drive tracks it for K and V."""
    _, exponent, _ = format_of(x).fields(words_of(x))
    return int(exponent.max())


def attend(q, k, v, scale, *, pass_tokens=MAX_PASS_TOKENS):
    """Dense attention of the query heads that share one KV head, over all its tokens.

    Parameters
    ----------
    q : array of float16 or bfloat16, [heads, head_dim]
        Its type is that of the result.
    k, v : array of float16 or bfloat16, [tokens, head_dim]
        1..131072 tokens, at most 256 elements each.
    scale : float
        Factor on q . k.
    pass_tokens : int
        Where passes are cut, a power of two up to 32768.

    Returns
    -------
    TwinResult
    """
    _check(q, k, v)
    cuts = pass_cuts(len(k), pass_tokens)
    return merge([partial(q, k[cut], v[cut], scale) for cut in cuts], dtype=q.dtype)


def pass_cuts(tokens, pass_tokens):
    """Slices of the tokens of each pass; ``pass_tokens`` is a power of two up to 32768."""
    if not 0 < pass_tokens <= MAX_PASS_TOKENS or pass_tokens & (pass_tokens - 1):
        raise ValueError(
            f"pass_tokens must be a power of two up to {MAX_PASS_TOKENS}, got {pass_tokens}"
        )
    return [slice(at, at + pass_tokens) for at in range(0, tokens, pass_tokens)]


def partial(q, k, v, scale, *, k_exp=None, v_exp=None, keep=None):
    """Unnormalised attention over the tokens of one pass.

    Parameters
    ----------
    q, k, v, scale
        As for `attend`, of one pass: at most 32768 tokens.
    k_exp, v_exp : int, optional
        Block exponents, where they are those of more than this K and V; default: their own.
    keep : array of bool, [tokens], optional
        Tokens that are attended; default: all. Block exponents are those of all tokens, and an
        infinity or NaN of any of them counts. Of no token ``m`` is `NO_TOKEN`, ``l`` and ``o`` 0.

    Returns
    -------
    Partial
    """
    _check(q, k, v)
    if len(k) > MAX_PASS_TOKENS:
        raise ValueError(f"tokens of a pass must be in 1..{MAX_PASS_TOKENS}, got {len(k)}")
    kv_format, (heads, dim) = format_of(k), q.shape
    poisoned = ~finite(q).all(axis=1) | (not finite(k).all()) | (not finite(v).all())
    k_exp, v_exp = _block("k_exp", k_exp, k), _block("v_exp", v_exp, v)
    if keep is not None:
        k, v = k[keep], v[keep]
    none = {
        "m": np.zeros(heads, np.int64),
        "l": np.zeros(heads, np.int64),
        "o": np.zeros((heads, dim), np.int64),
        "v_exp": np.full(heads, v_exp + kv_format.aligned_unit - FP16.aligned_unit),
        "poisoned": poisoned,
        "saturated": False,
    }
    if poisoned.all():
        return Partial(**none)
    if len(k) == 0:
        return Partial(**{**none, "m": np.full(heads, NO_TOKEN)})

    q = np.where(poisoned[:, None], q.dtype.type(0), q)
    s, saturated = scores(q, k, encode_scale(scale), k_exp=k_exp)
    reference = (s.max(axis=1) + (1 << SCORE_BITS) - 1) >> SCORE_BITS
    weights = weight.numpy(s=s, m=reference[:, None])
    o = none["o"]
    for part in _chunks(len(v), heads * dim):
        a, drop = weights["a"][:, part, None], weights["drop"][:, part, None]
        o += _products(v[part], v_exp, qi=0, a=a, drop=drop).sum(axis=1)
    return Partial(
        **{
            **none,
            "m": reference,
            "l": weights["term"].sum(axis=1),
            "saturated": bool((saturated.any(axis=1) & ~poisoned).any()),
        }
    )


def scores(q, k, scale, *, k_exp, channels=None):
    """Scores of the tokens of one pass, in log2 units.

    Parameters
    ----------
    q : array of float16 or bfloat16, [heads, head_dim]
        Finite, as ``k`` is.
    k : array of float16 or bfloat16, [tokens, head_dim]
    scale : tuple
        ``mant, exp`` as of `encode_scale`; one for all heads, or arrays of one for each.
    k_exp : int
        Block exponent of K, not less than that of ``k``.
    channels : array of bool, [head_dim], optional
        Channels of q that count; it is quantised as a whole nevertheless.

    Returns
    -------
    s : array of int64, [heads, tokens]
        Signed 16.16.
    saturated : array of bool, [heads, tokens]
    """
    q_format, kv_format = format_of(q), format_of(k)
    q_bf16, k_bf16 = (int(format is not FP16) for format in (q_format, kv_format))
    words = words_of(q)
    q_exp = q_format.fields(words)[1].max(axis=1)[:, None]
    qi = quantise_query.numpy(x=words, q_exp=q_exp, bf16=q_bf16)["qi"]
    if channels is not None:  # a product of 0 is 0
        qi, k = qi[:, channels], k[:, channels]
    acc = np.empty((len(q), len(k)), dtype=np.int64)
    for part in _chunks(len(k), qi.size):
        acc[:, part] = _products(k[part], k_exp, qi=qi[:, None], a=0, drop=0).sum(axis=2)
    mant, exp = (np.reshape(x, (-1, 1)) for x in scale)
    result = score.numpy(
        acc=acc,
        scale_mant=mant,
        scale_exp=exp,
        q_exp=q_exp,
        k_exp=k_exp,
        q_bf16=q_bf16,
        k_bf16=k_bf16,
    )
    return result["s"], result["saturated"] != 0


def merge(partials, *, dtype=FP16.dtype):
    """The result of several passes, in one step: their order does not matter.

    Parameters
    ----------
    partials : list of Partial
        Of the same queries over different tokens, 131072 of these at most.
    dtype : numpy.dtype
        float16 or bfloat16.

    Returns
    -------
    TwinResult
    """
    if not partials:
        raise ValueError("partials are none: give one or more")
    if len({p.o.shape for p in partials}) > 1:
        shapes = ", ".join(str(p.o.shape) for p in partials)
        raise ValueError(f"partials must have one shape [heads, head_dim], got {shapes}")
    format = format_of(np.empty(0, dtype))
    poisoned = np.logical_or.reduce([p.poisoned for p in partials])
    m, l = (np.stack([getattr(p, name) for p in partials]) for name in "ml")
    o = np.stack([p.o for p in partials])
    top = m + np.stack([p.v_exp for p in partials])  # of o, in the same units for all
    if len(partials) == 1:
        l, o = l[0], o[0]
    else:
        l = align.numpy(x=l, places=_places(m))["y"].sum(axis=0)
        o = align.numpy(x=o, places=_places(top)[:, :, None])["y"].sum(axis=0)
    v_exp = (top.max(axis=0) - m.max(axis=0))[:, None]

    l, v_exp = np.where(poisoned, 1, l)[:, None], np.where(poisoned[:, None], 0, v_exp)
    words = normalise.numpy(o=o, l=l, v_exp=v_exp, bf16=int(format is not FP16))["x"]
    quotient = np.ldexp(o / l.astype(np.float64), v_exp - 13)
    return TwinResult(
        out=np.where(poisoned[:, None], format.nan, words).astype(np.uint16).view(format.dtype),
        saturated=any(p.saturated for p in partials) and not poisoned.all(),
        nonfinite=bool(poisoned.any()),
        quotient=np.where(poisoned[:, None], np.nan, quotient),
    )


def _places(reference):
    """Places by which the numbers of each pass are shifted to meet those of the largest."""
    return np.minimum(reference.max(axis=0) - reference + CHAIN_GUARD_BITS, 127)


def finite(x):
    """Which elements of an array of float16 or bfloat16 are neither infinity nor NaN."""
    return format_of(x).fields(words_of(x))[2]


def _chunks(tokens, products):
    """Slices of tokens of which each takes so many products."""
    chunk = max(1, CHUNK_PRODUCTS // products)
    return [slice(start, min(start + chunk, tokens)) for start in range(0, tokens, chunk)]


def _products(x, block_exp, **operand):
    """Rounded products of operands [heads, 1 or tokens, dim or 1] and K or V [tokens, dim]."""
    bf16 = int(format_of(x) is not FP16)
    elements = element.numpy(x=words_of(x), block_exp=block_exp, bf16=bf16)
    result = product.numpy(**operand, **elements)
    return result["p"] + result["half"]


def _check(q, k, v):
    for name, array in (("q", q), ("k", k), ("v", v)):
        if np.ndim(array) != 2:
            raise ValueError(f"{name} must have two dimensions, got shape {np.shape(array)}")
        try:
            format_of(np.asarray(array))
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from None
    if k.dtype != v.dtype:
        raise ValueError(f"k and v must be of one type, got {k.dtype} and {v.dtype}")
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


def _block(name, given, x):
    least, top = block_exponent(x), format_of(x).top_exponent
    if given is None:
        return least
    if not least <= given <= top:
        raise ValueError(
            f"{name} must be in {least}..{top}: at least the largest exponent of its block; got "
            f"{given}"
        )
    return int(given)
