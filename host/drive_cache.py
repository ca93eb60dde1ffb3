"""A Transformers cache whose storage is the drive.

::

    Attention.forward
      k, v ----> DriveCache.update(k, v, layer) ----> k, v (the same tensors, remembered)
      q, k, v -> host.attention.attention_forward --> DriveLayer.attend(q, scale)
                                                        prefill: drive.append, softmax on the host
                                                        decode:  drive.step

K and V exist on the host only between these two calls. The layer remembers what `update` was given
and `attend` must be called with exactly that: a model that goes past the attention interface, or
that changes K or V after its cache, is noticed instead of being answered wrongly.
"""

import numpy as np
import torch
from torch.nn import functional
from transformers.cache_utils import Cache, CacheLayerMixin

from cosim.reference import BF16

from .support import ContextTooLong, UnsupportedModel

__all__ = ["CacheUseError", "DriveCache", "DriveLayer"]


class CacheUseError(RuntimeError):
    """The cache was asked for something that K and V inside a drive do not allow."""


class DriveCache(Cache):
    """K and V of one batch, one drive sequence per batch row.

    Parameters
    ----------
    drive : host.KvDrive
        Where K and V live and attention is computed.
    layers : int
        Layers of the model.
    max_tokens : int, optional
        Tokens reserved for each row; None: what the drive can hold.

    Attributes
    ----------
    sequences : list
        Handles of the drive's sequences, in batch order; empty before the first tokens.
    on_attend : callable or None
        Called after each layer's attention, for reports.
    """

    def __init__(self, drive, layers, max_tokens=None):
        limit = drive.config.max_tokens
        if max_tokens is not None and not 1 <= max_tokens <= limit:
            raise ContextTooLong(
                f"max_tokens = {max_tokens} is not possible on this drive: choose 1..{limit}"
            )
        super().__init__(layers=[DriveLayer(self, index) for index in range(layers)])
        self.drive = drive
        self.max_tokens = max_tokens or limit
        self.sequences = []
        self.shape = None
        self.pending = None
        self.broken = False
        self.on_attend = None

    def open(self, batch, kv_heads, head_dim, dtype):
        """Open one sequence per batch row, or check that the open ones have this shape.

        K and V of a BF16 model are kept in BF16, those of any other in FP16.
        """
        shape = batch, kv_heads, head_dim
        if self.shape is None:
            self.shape = shape
            for _ in range(batch):
                self.sequences.append(
                    self.drive.open(
                        layers=len(self.layers),
                        kv_heads=kv_heads,
                        head_dim=head_dim,
                        max_tokens=self.max_tokens,
                        kv_format="bf16" if dtype == torch.bfloat16 else "fp16",
                    )
                )
        elif shape != self.shape:
            names = "batch rows, KV heads, head_dim"
            raise CacheUseError(
                f"K and V with ({names}) = {shape} do not go with what this cache holds, "
                f"{self.shape}: "
                "use one cache per batch, and a model with the same heads in all layers"
            )

    def settle(self):
        """Raise if K and V of the last `update` were never attended."""
        pending, self.pending = self.pending, None
        if pending is not None:
            raise UnsupportedModel(
                f"layer {pending.index} took K and V from the cache but did not call the "
                "attention function: "
                "this model does not use the Transformers attention interface and cannot run on "
                "the drive"
            )

    def check_usable(self):
        """Raise if an earlier call ended halfway, with some tokens stored and others not."""
        if self.broken:
            raise CacheUseError(
                "an earlier call ended with an error halfway through the layers, so the drive "
                "may hold "
                "part of its tokens: reset() the cache and start the prompt again"
            )

    def close(self):
        """Close the sequences; the drive reclaims their pages."""
        sequences, self.sequences = self.sequences, []
        for sequence in sequences:
            self.drive.close(sequence)

    def reset(self):
        """Forget all tokens; the next ones start new sequences."""
        self.close()
        self.shape = self.pending = None
        for layer in self.layers:
            layer.length = 0
            layer.keys = layer.values = None
            layer.is_initialized = False
        self.broken = False

    def crop(self, tokens_to_remove):
        """Refuse: tokens on flash pages cannot be taken back."""
        raise _cannot("crop", "assisted and speculative decoding")

    def reorder_cache(self, beam_idx):
        """Refuse: rows are sequences of the drive and cannot be exchanged."""
        raise _cannot("reorder_cache", "beam search")

    def batch_repeat_interleave(self, repeats):
        """Refuse: a sequence of the drive cannot be copied."""
        raise _cannot(
            "batch_repeat_interleave",
            "contrastive search and several returned sequences from one cache",
        )

    def batch_select_indices(self, indices):
        """Refuse: rows are sequences of the drive and cannot be dropped one by one."""
        raise _cannot("batch_select_indices", "dropping rows of a batch")


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
        Tokens of this layer inside the drive.
    """

    is_sliding = False
    is_compileable = False
    is_croppable = False
    supports_early_init = False

    def __init__(self, cache, index):
        super().__init__()
        self.cache = cache
        self.index = index
        self.length = 0

    def lazy_initialization(self, key_states, value_states):
        """Open the drive's sequences for K and V of this shape."""
        batch, kv_heads, _, head_dim = key_states.shape
        self.cache.open(batch, kv_heads, head_dim, key_states.dtype)
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
        tokens = key_states.shape[2]
        if self.length + tokens > cache.max_tokens:
            raise ContextTooLong(
                f"{self.length} stored and {tokens} new tokens are more than the "
                f"{cache.max_tokens} "
                "reserved on the drive: shorten the prompt or generate fewer tokens"
            )
        self.lazy_initialization(key_states, value_states)
        cache.broken = True  # until the last layer has attended
        self.keys, self.values = key_states, value_states
        key_states.drive_layer = self
        cache.pending = self
        return key_states, value_states

    def attend(self, q, k, v, scale):
        """Attention of new tokens over everything stored, themselves included.

        Parameters
        ----------
        q : torch.Tensor
            [batch, query heads, tokens, head_dim].
        k, v : torch.Tensor
            What `update` returned, [batch, KV heads, tokens, head_dim].
        scale : float
            Factor on the scores.

        Returns
        -------
        torch.Tensor
            [batch, tokens, query heads, head_dim] in the type of ``q``.
        """
        if k is not self.keys or v is not self.values:
            raise UnsupportedModel(
                f"layer {self.index}: K or V was changed between the cache and the attention "
                "function; "
                "the drive would have stored something else than the model attends"
            )
        k16, v16 = (
            _array(x, name, self.index).transpose(0, 2, 1, 3) for x, name in ((k, "K"), (v, "V"))
        )
        tokens = q.shape[2]
        if self.length == 0 and tokens > 1:
            for sequence, k_row, v_row in zip(self.cache.sequences, k16, v16, strict=True):
                self.cache.drive.append(sequence, self.index, k_row, v_row)
            out = (
                functional.scaled_dot_product_attention(
                    q, k, v, scale=scale, is_causal=True, enable_gqa=q.shape[1] != k.shape[1]
                )
                .transpose(1, 2)
                .contiguous()
            )
        else:
            out = self._step(_array(q, "q", self.index).transpose(0, 2, 1, 3), k16, v16, scale)
            out = _tensor(out).to(dtype=q.dtype, device=q.device)
        self.length += tokens
        self.keys = self.values = None
        self.cache.broken = self is not self.cache.layers[-1]
        if self.cache.on_attend:
            self.cache.on_attend()
        return out

    def _step(self, q, k, v, scale):
        out = np.empty(q.shape, q.dtype)
        for token in range(q.shape[1]):
            jobs = [
                (sequence, self.index, q[row, token], k[row, token], v[row, token])
                for row, sequence in enumerate(self.cache.sequences)
            ]
            if len(jobs) == 1:
                out[0, token] = self.cache.drive.step(*jobs[0], scale=scale)
            else:
                out[:, token] = self.cache.drive.attend_batch(jobs, scale=scale)
        return out

    def get_mask_sizes(self, query_length):
        """Length and offset of the mask: all stored tokens and the new ones."""
        return self.length + query_length, 0

    def get_seq_length(self):
        """Tokens stored."""
        return self.length

    def get_max_length(self):
        """Most tokens that can be stored."""
        return self.cache.max_tokens

    def reset(self):
        """Refuse: layers of a sequence are forgotten together, by `DriveCache.reset`."""
        raise _cannot("reset of a single layer", "anything; call reset() of the cache")

    def reorder_cache(self, beam_idx):
        """Refuse, as the cache does."""
        self.cache.reorder_cache(beam_idx)


def _cannot(name, purpose):
    return CacheUseError(
        f"{name} is not supported: K and V are inside the drive. It is needed for {purpose}; "
        "use greedy or sampled decoding with num_beams=1 and no assistant model"
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
