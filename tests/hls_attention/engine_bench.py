"""Stimuli for the engine: jobs as words and beats, in the order that page sources keep."""

import numpy as np

from hls_attention.beats import Format, Kind, beat_layout
from hls_attention.twin import attend, block_exponent, encode_scale

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
    """FP16 array as 64-bit words, element 0 in the low bits."""
    return [int(word) for word in np.ascontiguousarray(array, dtype=np.float16).view("<u8").ravel()]


class Job:
    """One job with random data, split over channels.

    Parameters
    ----------
    owners : array of int
        Channel of each token.
    order : array of int
        Order in which tokens arrive (a permutation).
    """

    def __init__(self, tag, q, k, v, scale, owners, order=None):
        self.tag, self.q, self.k, self.v, self.scale = tag, q, k, v, scale
        self.beat_tag = tag
        self.owners = np.asarray(owners)
        self.order = np.arange(len(k)) if order is None else order
        self.bad_beats = set()  # (channel, pass, token) with the error mark

    def descriptor(self, layout):
        mant, exp = encode_scale(self.scale)
        finite = [bool(np.isfinite(x).all()) for x in (self.k, self.v)]
        return pack(
            {
                "tag": self.tag % 16,
                "heads": len(self.q),
                "beats": self.q.shape[1] // 4,
                "k_exp": min(block_exponent(self.k), 29),
                "v_exp": min(block_exponent(self.v), 29),
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
        tags = {"kind": kind.value, "format": Format.FP16.value, "job": self.beat_tag % 16}
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

    def expected(self):
        """Words and flags that the engine must give."""
        twin = attend(self.q, self.k, self.v, self.scale)
        flags = {
            "saturated": twin.saturated,
            "nonfinite": twin.nonfinite,
            "poisoned": bool(self.bad_beats),
        }
        return words(twin.out), flags


def random_job(rng, tag, *, tokens, heads, head_dim, channels, sharp=1.0, v_scale=1.0):
    """A job of normal data with a random split and a random order of tokens."""
    q = (rng.standard_normal((heads, head_dim)) * sharp).astype(np.float16)
    k = rng.standard_normal((tokens, head_dim)).astype(np.float16)
    v = (rng.standard_normal((tokens, head_dim)) * v_scale).astype(np.float16)
    owners = rng.integers(0, channels, tokens)
    return Job(tag, q, k, v, head_dim**-0.5, owners, rng.permutation(tokens))


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
