"""Run an unchanged Transformers model on the drive.

::

    with attach(model, drive) as cache:
        model.generate(**inputs, past_key_values=cache)

Prefill (several tokens into an empty cache) is computed on the host and its K and V are appended to
the drive layer by layer. Every later token is one ``drive.step`` per layer; several new tokens on a
cache that is not empty (the next turn of a conversation) go through ``step`` one after another.

Each row of a batch is a sequence of its own, without the padding on its left, and one command per
layer steps them all. `host.ended_rows` closes rows that have given their end token.
"""

import contextlib

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from ..sparse import DENSE
from ..support import (
    PromptError,
    UnsupportedModel,
    check_attention,
    check_model,
    check_modules,
    head_shape,
)
from .cache import CacheUseError, DriveCache
from .padding import first_columns

__all__ = ["NAME", "attach", "attention_forward", "attention_mask"]

NAME = "instinfer"
"""Name of the attention implementation in Transformers."""


@contextlib.contextmanager
def attach(model, drive, max_tokens=None, *, attention=DENSE):
    """Give a model's attention to a drive.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A decoder that uses the attention interface.
    drive : host.KvDrive
        The drive.
    max_tokens : int, optional
        Tokens, prompt and generated, to reserve for each row; None: what the drive can hold.
    attention : str, Sparf or Bounds
        How decode steps attend in the drive: "dense", or sparsely (`host.Sparf`), each by the
        tokens there are at that step. Prefill, on the host, is dense.

    Yields
    ------
    DriveCache
        To be passed to ``model.generate`` or ``model`` as ``past_key_values``. On exit its
        sequences are closed and the model has its former attention back.

    Raises
    ------
    UnsupportedModel, ContextTooLong
        See `host.support.check_model` and `check_attention`.
    """
    check_model(model.config, drive.config, max_tokens)
    check_attention(model.config, drive.config, attention)
    check_modules(model)
    layers = head_shape(model.config)[0]
    cache = DriveCache(drive, layers, max_tokens, attention=attention)
    former = _implementations(model)
    try:
        _set_implementation(model)
        yield cache
        cache.settle()
    finally:
        for config, implementation in former:
            config._attn_implementation_internal = implementation
        cache.close()


def _configs(config):
    yield config
    for name in config.sub_configs:
        if (part := getattr(config, name, None)) is not None:
            yield from _configs(part)


def _implementations(model):
    return [(config, config._attn_implementation) for config in _configs(model.config)]


def _set_implementation(model):
    text = model.config.get_text_config(decoder=True)
    if text is model.config:
        model.set_attn_implementation(NAME)
    else:
        key = next(name for name in model.config.sub_configs if getattr(model.config, name) is text)
        model.set_attn_implementation({key: NAME})
    if text._attn_implementation != NAME:
        raise UnsupportedModel(
            f"{type(model).__name__} does not use the Transformers attention interface: it "
            "cannot run on the drive"
        )


def attention_forward(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs
):
    """The attention function that Transformers calls, for prefill and decoding.

    Parameters
    ----------
    module : torch.nn.Module
        The calling attention layer.
    query, key, value : torch.Tensor
        [batch, heads, tokens, head_dim]; ``key`` and ``value`` are the new tokens' only.
    attention_mask : torch.Tensor or None
        What `attention_mask` returned; a 4-D one is a mask of the caller's own.
    scaling : float, optional
        Factor on the scores; None: 1 / sqrt(head_dim).
    dropout : float
        Must be 0.

    Returns
    -------
    tuple of (torch.Tensor, None)
        Output [batch, tokens, heads, head_dim]; there are no weights to return.
    """
    layer = getattr(key, "drive_layer", None)
    if layer is None:
        raise CacheUseError(
            "attention on the drive was called without its cache: pass past_key_values=cache, "
            "the cache that attach() gives, to model.generate or to the model"
        )
    layer.cache.pending = None
    if attention_mask is not None and attention_mask.ndim != 2:
        raise UnsupportedModel(
            "an attention mask of the caller's own (4-D) cannot be applied inside the drive: "
            "leave attention_mask out or pass one row of zeros (padding), then ones per prompt"
        )
    if dropout:
        raise UnsupportedModel(
            f"attention dropout = {dropout} cannot be applied inside the drive: call model.eval()"
        )
    is_causal = kwargs.get("is_causal")
    if (getattr(module, "is_causal", True) if is_causal is None else is_causal) is False:
        raise UnsupportedModel(
            f"layer {layer.index} is not causal; the drive computes causal attention only"
        )
    for name in ("softcap", "s_aux", "sinks", "position_bias"):
        if kwargs.get(name) is not None:
            raise UnsupportedModel(
                f"layer {layer.index} needs {name}, which the drive does not compute"
            )
    window = kwargs.get("sliding_window")
    if window is not None and window < layer.length + query.shape[2]:
        raise UnsupportedModel(
            f"layer {layer.index} needs a sliding window of {window} tokens at token "
            f"{layer.length + query.shape[2]}; the drive attends all tokens"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    return layer.attend(query, key, value, scale, attention_mask), None


def attention_mask(
    batch_size,
    q_length,
    kv_length,
    q_offset=0,
    kv_offset=0,
    *,
    attention_mask=None,
    device="cpu",
    **kwargs,
):
    """The mask function that Transformers calls: plain causal attention behind left padding.

    Returns
    -------
    torch.Tensor or None
        The padding mask [batch, kv_length] as it came; None where there is no padding.
    """
    if batch_size == 0:
        raise PromptError("the batch has no row: give 1 prompt or more")
    if attention_mask is not None:
        end = kv_offset + kv_length
        if attention_mask.shape != (batch_size, end):
            raise PromptError(
                f"an attention mask of shape {tuple(attention_mask.shape)} does not go with "
                f"{batch_size} rows of {end} columns, those in the cache and the new ones: give it "
                f"shape ({batch_size}, {end})"
            )
        first_columns(attention_mask)  # refuses what is no left padding
    wanted = sdpa_mask(
        batch_size,
        q_length,
        kv_length,
        q_offset,
        kv_offset,
        attention_mask=attention_mask,
        device=device,
        **{**kwargs, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False},
    )
    rows = torch.arange(q_length, device=wanted.device)[:, None] + q_offset
    columns = torch.arange(kv_length, device=wanted.device)[None] + kv_offset
    served = (columns <= rows).expand_as(wanted)
    if attention_mask is not None:
        served = served & attention_mask.bool()[:, None, None, :]
    if not torch.equal(wanted.bool(), served):
        raise UnsupportedModel(
            "this batch needs a mask that is not plain causal (a window, blocks or packed "
            "sequences), which the drive does not apply: run prompts one by one"
        )
    if attention_mask is None or bool(attention_mask.bool().all()):
        return None
    return attention_mask


AttentionInterface.register(NAME, attention_forward)
AttentionMaskInterface.register(NAME, attention_mask)
