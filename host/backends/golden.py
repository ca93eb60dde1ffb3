"""The golden backend: attention as mathematics (float64, rounded once)."""

import numpy as np
import torch

from cosim import golden
from rtl.commands import ResultFlag

from ..errors import DriveValueError
from .arrays import ArrayBackend

__all__ = ["GoldenBackend"]


class GoldenBackend(ArrayBackend):
    """K and V in numpy, attention by `cosim.golden`. Nothing saturates here."""

    name = "golden"

    def attend_heads(self, q, k, v, scale):
        flat = tensor(q).reshape(-1, q.shape[2])
        keys, values = (tensor(x).transpose(0, 1) for x in (k, v))
        out = golden.attend_rounded(flat, keys, values, scale[0])
        finite = all(torch.isfinite(x).all() for x in (flat, keys, values))
        out = out.view(torch.uint16).numpy().view(q.dtype).reshape(q.shape)
        return out, ResultFlag(0) if finite else ResultFlag.NONFINITE

    def partials(self, q, k, v, scale):
        raise DriveValueError(
            "partials are the engine's integers, which mathematics has not: "
            "use backend 'rtl' or 'twin'"
        )


def tensor(array):
    """A float16 or bfloat16 array as a tensor."""
    words = torch.from_numpy(np.ascontiguousarray(array).view(np.uint16))
    return words.view(torch.float16 if array.dtype == np.float16 else torch.bfloat16)
