"""One layer of a cache whose storage is the drive: K and V in, attention out.

::

    update  k, v of new tokens ----------------> remembered, for the attention function
    attend  q, k, v -- several, none stored ---> prefill: appends start row by row, attention here
                    +- anything else ----------> one command of all rows per token: append, attend

Each row of a batch is a sequence of the drive, without its padding.
"""

import numpy as np
import torch
from torch.nn import functional
from transformers.cache_utils import CacheLayerMixin

from cosim.reference import BF16

from ..errors import DriveError
from ..support import ContextTooLong, UnsupportedModel
from .padding import first_columns

__all__ = ["CacheUseError", "DriveLayer"]


class CacheUseError(RuntimeError):
    """The cache was asked for something that K and V inside a drive do not allow."""


class DriveLayer(CacheLayerMixin):
    """One layer of a `DriveCache`.

    Parameters
    ----------
    cache : DriveCache
    index : int
        The model's layer.

    Attributes
    ----------
    length : int
        Columns that this layer has seen: padding and the tokens inside the drive.
    """

    is_sliding = False
    is_compileable = False
    is_croppable = True
    supports_early_init = False

    def __init__(self, cache, index):
        super().__init__()
        self.cache = cache
        self.index = index
        self.length = 0

    def lazy_initialization(self, key_states, value_states):
        """Nothing to prepare: `attend`, which knows the padding, opens the sequences."""
        self.is_initialized = True

    def update(self, key_states, value_states, *args, **kwargs):
        """Take new K and V; returns the same tensors, on their way to the attention function."""
        cache = self.cache
        cache.settle()
        if self.index == 0:
            cache.check_usable()
        if key_states.shape != value_states.shape:
            raise UnsupportedModel(
                f"layer {self.index}: K of shape {tuple(key_states.shape)} and V of shape "
                f"{tuple(value_states.shape)} differ; the drive stores pairs of one shape"
            )
        self.lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states, value_states
        key_states.drive_layer = self
        cache.pending = self
        return key_states, value_states

    def attend(self, q, k, v, scale, mask=None):
        """Attention of new tokens over everything stored, themselves included.

        Parameters
        ----------
        q : torch.Tensor
            [batch, query heads, tokens, head_dim].
        k, v : torch.Tensor
            What `update` returned, [batch, KV heads, tokens, head_dim].
        scale : float
            Factor on the scores.
        mask : torch.Tensor, optional
            [batch, columns], see `host.attention.padding`; None: no padding.

        Returns
        -------
        torch.Tensor
            [batch, tokens, query heads, head_dim] in the type of ``q``; zeros for padding and for
            rows that have ended.
        """
        if k is not self.keys or v is not self.values:
            raise UnsupportedModel(
                f"layer {self.index}: K or V was changed between the cache and the attention "
                "function; "
                "the drive would have stored something else than the model attends"
            )
        cache, tokens = self.cache, q.shape[2]
        shape = k.shape[0], k.shape[1], k.shape[3]
        padding = [0] * len(k) if mask is None else first_columns(mask)
        cache.check(shape, padding)
        self._check_room(padding, tokens)
        cache.open(shape, k.dtype, padding)
        cache.broken = True  # until the last layer has attended
        out = q.new_zeros(q.shape).transpose(1, 2).contiguous()
        if self.length == 0 and tokens > 1:
            self._prefill(q, k, v, scale, out)
        else:
            self._step(q, k, v, scale, out)
        self.length += tokens
        self.keys = self.values = None
        if self is cache.layers[-1]:
            cache.wait_appends()
            cache.broken = False
        if cache.on_attend:
            cache.on_attend()
        return out

    def _check_room(self, padding, tokens):
        limit, sequences = self.cache.max_tokens, self.cache.sequences
        for row, columns in enumerate(padding):
            if sequences and sequences[row] is None:
                continue
            held = max(self.length - columns, 0)
            new = self.length + tokens - columns - held
            if held + new > limit:
                where = f"row {row}: " if len(padding) > 1 else ""
                raise ContextTooLong(
                    f"{where}{held} stored and {new} new tokens are more than the {limit} "
                    "reserved on the drive: shorten the prompt or generate fewer tokens"
                )

    def _prefill(self, q, k, v, scale, out):
        """Rows one by one, each without its padding: as if it were alone."""
        rows = []
        for row, columns in enumerate(self.cache.padding):
            one = slice(row, row + 1), slice(None), slice(columns, None)
            k_row, v_row = (self._by_token(x[one][0], name) for x, name in ((k, "K"), (v, "V")))
            rows.append((columns, one, k_row, v_row))
        for row, (columns, one, k_row, v_row) in enumerate(rows):
            self.cache.submit_append(row, self.index, k_row, v_row)
            attended = functional.scaled_dot_product_attention(
                q[one],
                k[one],
                v[one],
                scale=scale,
                is_causal=True,
                enable_gqa=q.shape[1] != k.shape[1],
            )
            out[row, columns:] = attended[0].transpose(0, 1)

    def _step(self, q, k, v, scale, out):
        """Tokens one after another, each of all rows that have not ended in one call."""
        rows = [row for row, sequence in enumerate(self.cache.sequences) if sequence is not None]
        arrays = [
            [self._by_token(x[row], name) for x, name in ((q, "q"), (k, "K"), (v, "V"))]
            for row in rows
        ]
        for token in range(q.shape[2]) if rows else ():
            jobs = [
                (self.cache.sequences[row], self.index, *(x[token] for x in of_row))
                for row, of_row in zip(rows, arrays, strict=True)
            ]
            for row, found in zip(rows, self._call(jobs, rows, scale), strict=True):
                out[row, token] = _tensor(found).to(dtype=out.dtype, device=out.device)

    def _call(self, jobs, rows, scale):
        drive, how = self.cache.drive, {"attention": self.cache.attention, "scale": scale}
        try:
            if len(jobs) == 1:
                return [drive.step(*jobs[0], **how)]
            return drive.attend_batch(jobs, **how)
        except DriveError as error:
            if error.job is not None and len(self.cache.sequences) > 1:
                error.add_note(f"job {error.job} is row {rows[error.job]} of the batch")
            raise

    def _by_token(self, x, name):
        """[heads, tokens, head_dim] as a drive takes it, [tokens, heads, head_dim]."""
        return _array(x, name, self.index).transpose(1, 0, 2)

    def get_mask_sizes(self, query_length):
        """Length and offset of the mask: all columns so far and the new ones."""
        return self.length + query_length, 0

    def get_seq_length(self):
        """Columns so far, padding included."""
        return self.length

    def get_max_length(self):
        """Most tokens that a row can store."""
        return self.cache.max_tokens

    def reset(self):
        """Refuse: layers of a sequence are forgotten together."""
        raise CacheUseError(
            "reset of a single layer is not possible, all layers of a sequence are forgotten "
            "together: call reset() of the cache"
        )

    def crop(self, tokens_to_remove):
        """Refuse, as `reset` does."""
        raise CacheUseError(
            "crop of a single layer is not possible, all layers of a sequence are cut together: "
            "call crop() of the cache"
        )

    def reorder_cache(self, beam_idx):
        """Refuse: rows are reordered in all layers at once."""
        raise CacheUseError(
            "reorder_cache of a single layer is not possible, rows are reordered in all layers "
            "together: call reorder_cache() of the cache"
        )


def _array(x, name, layer):
    """A contiguous array, bfloat16 of bfloat16 and float16 of anything else.

    Values that float16 cannot hold are an error, not an infinity.
    """
    if x.dtype == torch.bfloat16:
        words = x.detach().cpu().contiguous().view(torch.uint16).numpy()
        return words.view(BF16.dtype)
    array = x.detach().to(device="cpu", dtype=torch.float16)
    if not torch.isfinite(array).all():
        finite = x.detach()[torch.isfinite(x.detach())]
        peak = finite.abs().max().item() if finite.numel() else float("nan")
        raise OverflowError(
            f"layer {layer}: {name} holds values outside float16 (largest finite magnitude "
            f"{peak:.4g}, allowed up to 65504): run the model in torch.bfloat16, then the drive "
            "keeps K and V in that"
        )
    return array.contiguous().numpy()


def _tensor(array):
    """The tensor of such an array."""
    if array.dtype == BF16.dtype:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)
