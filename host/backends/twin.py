"""The twin backend: the engine's own integer arithmetic in numpy, bit for bit."""

import numpy as np

from cosim import reference
from rtl.commands import ResultFlag

from .arrays import ArrayBackend

__all__ = ["TwinBackend"]


class TwinBackend(ArrayBackend):
    """K and V in numpy, attention by the bit-exact twin of the gateware."""

    name = "twin"

    def attend_heads(self, q, k, v, scale):
        out = np.empty(q.shape, dtype=np.float16)
        flags = ResultFlag(0)
        for head in range(len(q)):
            result = reference.twin_attend(q[head], k[head], v[head], scale[0])
            out[head] = result.out
            flags |= ResultFlag.SATURATED * bool(result.saturated)
            flags |= ResultFlag.NONFINITE * bool(result.nonfinite)
        return out, flags
