"""The twin backend: the engine's own integer arithmetic in numpy, bit for bit."""

import numpy as np

from cosim.reference import Partial, twin_attend, twin_attend_sparsely, twin_partial
from rtl.commands import ResultFlag

from .arrays import ArrayBackend

__all__ = ["TwinBackend"]


class TwinBackend(ArrayBackend):
    """K and V in numpy, attention by the bit-exact twin of the gateware."""

    name = "twin"

    def attend_heads(self, q, k, v, scale):
        step = self.config.pass_tokens
        heads = zip(q, k, v, strict=True)
        return _together([twin_attend(*head, scale[0], pass_tokens=step) for head in heads])

    def attend_selected(self, q, k, v, scale, selection, bounded):
        options = {**selection._asdict(), "pass_tokens": self.config.pass_tokens}
        if bounded is not None:
            options |= {"channels": None, "bounded": bounded}
        heads = zip(q, k, v, strict=True)
        results = [twin_attend_sparsely(*head, scale[0], **options) for head in heads]
        choices = [result.choice for result in results]
        chosen = None
        if None not in choices:
            chosen = tuple(np.stack([getattr(c, n) for c in choices]) for n in ("channels", "keep"))
        return *_together(results), chosen

    def partials(self, q, k, v, scale):
        def of_pass(tokens):
            heads = zip(q, k, v, strict=True)
            return [
                twin_partial(x, keys[tokens], values[tokens], scale[0]) for x, keys, values in heads
            ]

        step = self.config.pass_tokens
        return [_stacked(of_pass(slice(at, at + step))) for at in range(0, k.shape[1], step)]


def _together(results):
    """``(out, flags)`` of the results of several KV heads."""
    flags = ResultFlag(0)
    for result in results:
        flags |= ResultFlag.SATURATED * bool(result.saturated)
        flags |= ResultFlag.NONFINITE * bool(result.nonfinite)
    return np.stack([result.out for result in results]), flags


def _stacked(parts):
    """One `Partial` of those of several KV heads."""
    return Partial(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("m", "l", "o", "v_exp", "poisoned")
        },
        saturated=any(part.saturated for part in parts),
    )
