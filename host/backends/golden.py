"""The golden backend: attention as mathematics (float64, rounded once to FP16)."""

import numpy as np

from cosim import golden
from rtl.commands import ResultFlag

from .arrays import ArrayBackend

__all__ = ["GoldenBackend"]


class GoldenBackend(ArrayBackend):
    """K and V in numpy, attention by `cosim.golden`. Nothing saturates here."""

    name = "golden"

    def attend_heads(self, q, k, v, scale):
        flat = np.ascontiguousarray(q).reshape(-1, q.shape[2])
        keys, values = (np.ascontiguousarray(x.transpose(1, 0, 2)) for x in (k, v))
        out = golden.attend_fp16(flat, keys, values, scale[0]).numpy().reshape(q.shape)
        finite = all(np.isfinite(x).all() for x in (q, k, v))
        return out, ResultFlag(0) if finite else ResultFlag.NONFINITE
