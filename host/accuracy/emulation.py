"""Sparse attention of many positions at once, in float32, under an unchanged Transformers model.

::

    with emulated(model, method, layout) as run:
        model(tokens, past_key_values=prefix)   # every position attends as decoding would
    run.fraction                                # bytes moved over those that dense attention moves

A forward of T tokens behind a prefix is T steps of decoding with given tokens: each position
selects for itself, among the tokens up to its own. The judge of the arithmetic is
`cosim.golden_sparse`, position by position; this is as fast as a CPU allows.
"""

import contextlib
from dataclasses import dataclass

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from ..support import UnsupportedModel

__all__ = ["NAME", "Rows", "Run", "attend_rows", "emulated"]

NAME = "instinfer_emulation"
"""Name of the attention implementation in Transformers."""

CHUNK = 128
"""Positions at a time: their scores stay within the caches of a CPU."""


@dataclass(frozen=True)
class Rows:
    """Queries of some positions of one layer, and the context that the last of them sees.

    Attributes
    ----------
    q : torch.Tensor
        float32 [kv_heads, group, positions, head_dim].
    k, v : torch.Tensor
        float32 [kv_heads, tokens, head_dim].
    first : int
        Position of the first query; the last one is that of the last token.
    scale : float
        Factor of the scores.
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    first: int
    scale: float

    @property
    def lengths(self):
        """[positions]: tokens that each position sees, its own among them."""
        return torch.arange(self.first, self.k.shape[1]) + 1

    @property
    def visible(self):
        """bool [positions, tokens]."""
        return torch.arange(self.k.shape[1]) < self.lengths[:, None]


class Run:
    """What a method's attention moved in the forwards of one `emulated`.

    Attributes
    ----------
    moved, dense, elements : int
        Bytes of the codewords read, of those that dense attention reads, and of the single elements
        used, over all positions, layers and KV heads.
    """

    def __init__(self, method, layout):
        self.method, self.layout = method, layout
        self.moved = self.dense = self.elements = 0

    @property
    def fraction(self):
        """Bytes moved over those that dense attention moves."""
        return self.moved / self.dense

    @property
    def element_fraction(self):
        """The same if single elements could be read."""
        return self.elements / self.dense

    def attend(self, module, query, key, value, attention_mask, scaling=None, **options):
        """The attention function that Transformers calls; shapes as in `host.attention`."""
        _refuse(options, key.shape[2])
        if query.shape[0] != 1:
            raise UnsupportedModel(f"a batch of {query.shape[0]} rows: give one at a time")
        scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
        k, v = key[0].float(), value[0].float()
        q = query[0].float().unflatten(0, (k.shape[0], -1))
        first = k.shape[1] - q.shape[2]
        index = self.method.index(k)
        parts = []
        for start in range(0, q.shape[2], CHUNK):
            part = q[:, :, start : start + CHUNK]
            end = first + start + part.shape[2]
            rows = Rows(part, k[:, :end], v[:, :end], first + start, scale)
            selection = self.method.select(rows, index)
            parts.append(attend_rows(rows, selection))
            self._count(rows, selection)
        out = torch.cat(parts, dim=2).flatten(0, 1)
        return out.transpose(0, 1)[None].to(query.dtype), None

    def _count(self, rows, selection):
        moved, elements = self.method.bytes_moved(rows, selection, self.layout)
        self.moved += moved
        self.elements += elements
        self.dense += int(self.layout.dense(rows.lengths).sum()) * rows.k.shape[0]


def attend_rows(rows, selection):
    """Softmax attention of each position over what it selected.

    Parameters
    ----------
    rows : Rows
    selection : host.accuracy.methods.Selected

    Returns
    -------
    torch.Tensor
        float32 [kv_heads, group, positions, head_dim].
    """
    scores = torch.matmul(rows.q, rows.k[:, None].mT).mul_(rows.scale)
    scores.masked_fill_(~selection.tokens[:, None], -torch.inf)
    out = torch.matmul(torch.softmax(scores, dim=-1), rows.v[:, None])
    if selection.alpha is None:
        return out
    means = rows.v.double().cumsum(dim=1)[:, rows.first :] / rows.lengths[:, None]
    alpha = selection.alpha[..., None]
    return alpha * out + (1 - alpha) * means[:, None].float()


def _refuse(options, tokens):
    for name in ("softcap", "s_aux", "sinks", "position_bias"):
        if options.get(name) is not None:
            raise UnsupportedModel(f"the model's attention needs {name}, which is not emulated")
    window = options.get("sliding_window")
    if window is not None and window < tokens:
        raise UnsupportedModel(
            f"the model has a sliding window of {window} tokens, which is not emulated: "
            f"give a --window of at most {window}"
        )


@contextlib.contextmanager
def emulated(model, method, layout):
    """Gives a model's attention to a method; afterwards it has its own back.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    method : host.accuracy.methods.Method
    layout : host.accuracy.ratio.Layout

    Yields
    ------
    Run
    """
    run = Run(method, layout)
    former = model.config._attn_implementation
    AttentionInterface.register(NAME, run.attend)
    AttentionMaskInterface.register(NAME, _no_mask)
    model.set_attn_implementation(NAME)
    try:
        yield run
    finally:
        model.set_attn_implementation(former)


def _no_mask(*arguments, **options):
    """Positions mask for themselves."""
