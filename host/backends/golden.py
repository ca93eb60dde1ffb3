"""The golden backend: attention as mathematics (float64, rounded once)."""

import numpy as np
import torch

from cosim import golden, golden_bounds, golden_sparse
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
        return array(out, q), _flags(flat, keys, values)

    def attend_selected(self, q, k, v, scale, selection, bounded):
        """As the drive has it, a KV head with an infinity or NaN is NaN as a whole."""

        def of_head(queries, keys, values):
            if bounded is None:
                return golden_sparse.sparf_attention(
                    queries, keys, values, **selection._asdict(), mean_value=False, scale=scale[0]
                )
            _, kept, sinks, window = selection
            return golden_bounds.bounds_attention(
                queries, keys, values, kept=kept, bounded=bounded, sinks=sinks, window=window,
                scale=scale[0],
            )  # fmt: skip

        found = [
            of_head(queries, keys[:, None], values[:, None])
            if not _flags(queries, keys, values)
            else None
            for queries, keys, values in zip(*map(tensor, (q, k, v)), strict=True)
        ]
        nothing = torch.full(q.shape[1:], torch.nan, dtype=torch.float64)
        out = torch.stack([nothing if one is None else one.out for one in found])
        flags = ResultFlag.NONFINITE if None in found else ResultFlag(0)
        chosen = None
        if not flags and selection.kept < k.shape[1]:
            every = torch.ones((1, q.shape[2]), dtype=torch.bool)
            heads = [one for one in found if one is not None]
            channels = [every if one.channels is None else one.channels for one in heads]
            tokens = [one.tokens for one in heads]
            chosen = torch.cat(channels).numpy(), torch.cat(tokens).numpy()
        return array(golden.round_once(out, tensor(q).dtype), q), flags, chosen

    def partials(self, q, k, v, scale):
        raise DriveValueError(
            "partials are the engine's integers, which mathematics has not: "
            "use backend 'rtl' or 'twin'"
        )


def tensor(x):
    """A float16 or bfloat16 array as a tensor."""
    words = torch.from_numpy(np.ascontiguousarray(x).view(np.uint16))
    return words.view(torch.float16 if x.dtype == np.float16 else torch.bfloat16)


def array(x, like):
    """Such a tensor as an array, of the type and shape of another."""
    return x.view(torch.uint16).numpy().view(like.dtype).reshape(like.shape)


def _flags(*tensors):
    finite = all(torch.isfinite(x).all() for x in tensors)
    return ResultFlag(0) if finite else ResultFlag.NONFINITE
