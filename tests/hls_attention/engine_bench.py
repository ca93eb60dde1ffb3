"""Stimuli for the engine: jobs as words and beats, in the order that page sources keep."""

import numpy as np

from hls_attention.beats import Format, Kind, beat_layout
from hls_attention.formats import FP16, format_of
from hls_attention.output import PARTIAL_HEADER
from hls_attention.twin import block_exponent, encode_scale, merge, partial

BEAT_FIELDS = {name: (field.offset, field.width) for name, field in beat_layout()}


def pack(fields, layout):
    """Raw integer of a layout's fields."""
    word = 0
    for name, field in layout:
        value = int(fields.get(name, 0))
        assert -(1 << field.width - 1) <= value < 1 << field.width, (name, value)
        word |= (value & (1 << field.width) - 1) << field.offset
    return word


def words(array):
    """Array of 16-bit numbers as 64-bit words, element 0 in the low bits."""
    return [int(word) for word in np.ascontiguousarray(array).view("<u8").ravel()]


def element_format(array):
    """`Format` of an array, by its dtype."""
    return Format.FP16 if format_of(array) is FP16 else Format.BF16


class Job:
    """One job with random data, split over channels.

    Parameters
    ----------
    owners : array of int
        Channel of each token.
    order : array of int
        Order in which tokens arrive (a permutation).
    first, last, partial : bool
        Its place in a chain; whether the sums of each pass are wanted.
    """

    def __init__(
        self, tag, q, k, v, scale, owners, order=None, first=True, last=True, partial=False
    ):
        self.tag, self.q, self.k, self.v, self.scale = tag, q, k, v, scale
        self.beat_tag = tag
        self.owners = np.asarray(owners)
        self.order = np.arange(len(k)) if order is None else order
        self.first, self.last, self.partial = first, last, partial
        self.bad_beats = set()  # (channel, pass, token) with the error mark

    def descriptor(self, layout):
        mant, exp = encode_scale(self.scale)
        finite = [bool(np.isfinite(x).all()) for x in (self.k, self.v)]
        return pack(
            {
                "tag": self.tag % 16,
                "first": self.first,
                "last": self.last,
                "partial": self.partial,
                "heads": len(self.q),
                "beats": self.q.shape[1] // 4,
                "format": element_format(self.k).value,
                "q_format": element_format(self.q).value,
                "k_exp": block_exponent(self.k),
                "v_exp": block_exponent(self.v),
                "k_bad": not finite[0],
                "v_bad": not finite[1],
                "scale_mant": mant,
                "scale_exp": exp,
            },
            layout,
        )

    def beats(self, channel, kind):
        """Raw beats of one pass on one channel."""
        layout = beat_layout()
        source = self.k if kind == Kind.K else self.v
        tokens = [token for token in self.order if self.owners[token] == channel]
        tags = {
            "kind": kind.value,
            "format": element_format(source).value,
            "job": self.beat_tag % 16,
        }
        if not tokens:
            return [pack({**tags, "last_of_pass": 1}, layout)]
        result = []
        for token in tokens:
            unit = words(source[token])
            for row, word in enumerate(unit):
                last = row == len(unit) - 1
                result.append(
                    pack(
                        {
                            **tags,
                            "data": 0,
                            "lanes": 15,
                            "token": token,
                            "first_of_unit": row == 0,
                            "last_of_unit": last,
                            "last_of_pass": last and token == tokens[-1],
                            "error": (channel, kind, token) in self.bad_beats and row == 3,
                        },
                        layout,
                    )
                    | word
                )
        return result


def expected(chain):
    """Words and flags that the engine must give for the jobs of one chain."""
    partials = [partial(job.q, job.k, job.v, job.scale) for job in chain]
    result = merge(partials, dtype=chain[0].q.dtype)
    flags = {
        "saturated": result.saturated,
        "nonfinite": result.nonfinite,
        "poisoned": any(job.bad_beats for job in chain),
    }
    if not chain[0].partial:
        return words(result.out), flags
    return [word for part in partials for word in partial_words(part)], flags


def partial_words(part):
    """A `Partial` as the engine gives it (``saturated`` is left out: it is not kept by head)."""
    result = []
    for m, l, o, v_exp, poisoned in zip(part.m, part.l, part.o, part.v_exp, part.poisoned):
        header = {"m": m, "v_exp": v_exp, "poisoned": poisoned}
        result += [pack(header, PARTIAL_HEADER), int(l), *(int(x) % 2**64 for x in o)]
    return result


def random_job(
    rng,
    tag,
    *,
    tokens,
    heads,
    head_dim,
    channels,
    sharp=1.0,
    v_scale=1.0,
    dtype=np.float16,
    q_dtype=None,
    **place,
):
    """A job of normal data with a random split and a random order of tokens."""
    q = (rng.standard_normal((heads, head_dim)) * sharp).astype(q_dtype or dtype)
    k = rng.standard_normal((tokens, head_dim)).astype(dtype)
    v = (rng.standard_normal((tokens, head_dim)) * v_scale).astype(dtype)
    owners = rng.integers(0, channels, tokens)
    return Job(tag, q, k, v, head_dim**-0.5, owners, rng.permutation(tokens), **place)


def random_chain(rng, tag, *, passes, partial=False, **figures):
    """Jobs of one chain: a list of token counts in ``passes``, the same queries for all."""
    jobs = [
        random_job(
            rng,
            tag + n,
            tokens=tokens,
            first=n == 0,
            last=n == len(passes) - 1,
            partial=partial,
            **figures,
        )
        for n, tokens in enumerate(passes)
    ]
    for job in jobs:
        job.q = jobs[0].q
    return jobs


def passes(count):
    """Order of passes on a channel: K0 K1 V0 K2 V1 K3 V2 ..."""
    order = [(Kind.K, 0)]
    for job in range(count):
        if job + 1 < count:
            order.append((Kind.K, job + 1))
        order.append((Kind.V, job))
    return order


def channel_beats(jobs, channel, order=None):
    """All beats of a channel."""
    return [
        beat
        for kind, index in (order or passes(len(jobs)))
        for beat in jobs[index].beats(channel, kind)
    ]
