"""The twin backend: the engine's own integer arithmetic in numpy, bit for bit."""

import numpy as np

from cosim.reference import Partial, twin_attend, twin_partial
from rtl.commands import ResultFlag

from .arrays import ArrayBackend

__all__ = ["TwinBackend"]


class TwinBackend(ArrayBackend):
    """K and V in numpy, attention by the bit-exact twin of the gateware."""

    name = "twin"

    def attend_heads(self, q, k, v, scale):
        out = np.empty(q.shape, dtype=q.dtype)
        flags = ResultFlag(0)
        for head in range(len(q)):
            result = twin_attend(
                q[head], k[head], v[head], scale[0], pass_tokens=self.config.pass_tokens
            )
            out[head] = result.out
            flags |= ResultFlag.SATURATED * bool(result.saturated)
            flags |= ResultFlag.NONFINITE * bool(result.nonfinite)
        return out, flags

    def partials(self, q, k, v, scale):
        def of_pass(tokens):
            heads = zip(q, k, v, strict=True)
            return [
                twin_partial(x, keys[tokens], values[tokens], scale[0]) for x, keys, values in heads
            ]

        step = self.config.pass_tokens
        return [_stacked(of_pass(slice(at, at + step))) for at in range(0, k.shape[1], step)]


def _stacked(parts):
    """One `Partial` of those of several KV heads."""
    return Partial(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("m", "l", "o", "v_exp", "poisoned")
        },
        saturated=any(part.saturated for part in parts),
    )
