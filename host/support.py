"""Which models the drive can serve: read off a Transformers configuration, refused by name.

The drive computes plain causal attention, ``softmax(scale * q k) v``, over all tokens of a
sequence. A model that needs anything else is refused here, before a token is spent, with the name
of what is missing. `host.attention` checks the same things again on every call, on what the model
really passes.
"""

from rtl.tables import bounds_groups, unit_groups

from .sparse import DENSE, checked_attention

__all__ = [
    "ContextTooLong",
    "PromptError",
    "UnsupportedModel",
    "check_attention",
    "check_model",
    "check_modules",
    "head_shape",
]

SINK_MODELS = {
    "deepseek_v4",
    "flint",
    "gpt_oss",
    "granite_swa",
    "granitemoe_swa",
    "hy_v4",
    "mimo_v2_flash",
    "openai_privacy_filter",
}
"""Models whose attention sinks are parameters: they leave no trace in the configuration."""

ALIBI_MODELS = {"bloom", "mpt"}
"""Models that always add ALiBi biases."""


class UnsupportedModel(ValueError):
    """The model's attention needs something that the drive does not compute."""


class ContextTooLong(ValueError):
    """More tokens than a sequence on this drive can hold."""


class PromptError(ValueError):
    """The prompt or the number of tokens asked for cannot be run."""


def head_shape(config):
    """Heads of a decoder.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
        The model's configuration, nested or not.

    Returns
    -------
    tuple of int
        Layers, query heads, KV heads, head_dim.
    """
    text = config.get_text_config(decoder=True)
    heads = text.num_attention_heads
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    head_dim = getattr(text, "head_dim", None)
    if head_dim is None and isinstance(heads, int):
        head_dim = text.hidden_size // heads
    for name, value in (
        ("num_attention_heads", heads),
        ("num_key_value_heads", kv_heads),
        ("head_dim", head_dim),
    ):
        if not isinstance(value, int):
            raise _refusal(config, f"a different {name} in each layer ({value})")
    return text.num_hidden_layers, heads, kv_heads, head_dim


def check_model(config, drive_config, tokens=None):
    """Raise unless the drive computes this model's attention.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
        The model's configuration, nested or not.
    drive_config : rtl.config.DriveConfig
        The drive's configuration.
    tokens : int, optional
        Tokens that will be stored: prompt and generated. None: unknown yet.

    Raises
    ------
    UnsupportedModel
        The model's attention is not what the drive computes.
    ContextTooLong
        ``tokens`` exceed the drive's or the model's context.
    """
    text = config.get_text_config(decoder=True)
    _check_kind(config, text)
    _check_windows(config, text, tokens or drive_config.max_tokens)
    _check_heads(config, text, drive_config)
    positions = getattr(text, "max_position_embeddings", None)
    if tokens is not None and tokens > drive_config.max_tokens:
        raise ContextTooLong(
            f"{tokens} tokens are more than one sequence of this drive holds, "
            f"{drive_config.max_tokens}: "
            "shorten the prompt, ask for fewer new tokens, or choose a configuration with larger "
            "pass_tokens"
        )
    if tokens is not None and positions and tokens > positions:
        raise ContextTooLong(
            f"{tokens} tokens are more than {_name(config)} was trained for, {positions}: "
            "shorten the prompt or ask for fewer new tokens"
        )


def check_attention(config, drive_config, attention, tokens=None):
    """Raise unless the drive has an attention for this model's heads: `UnsupportedModel`, or
    `DriveError` of `checked_attention`.

    Sparse attention needs K by channel, or bounds of K, which cannot be kept of every head_dim.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
    drive_config : rtl.config.DriveConfig
    attention : str, Sparf or Bounds
    tokens : int, optional
        As of `check_model`.
    """
    if checked_attention(attention, drive_config) == DENSE:
        return
    page, codeword = drive_config.flash.geometry.page_bytes, drive_config.codeword_bytes
    groups, kept = {
        "channel": (unit_groups, "K by channel, which sparse attention reads,"),
        "bounds": (bounds_groups, "bounds, which its attention reads,"),
    }[attention.index]
    possible = [n for n in drive_config.head_dims if groups(n, page, codeword)]
    head_dim = head_shape(config)[3]
    if head_dim not in possible:
        others = f"a model with head_dim {' or '.join(map(str, possible))}, or " if possible else ""
        raise UnsupportedModel(
            f"{_name(config)} has head_dim {head_dim}: {kept} cannot be kept of it by this drive: "
            f"choose {others}dense attention"
        )
    if tokens is not None and tokens > drive_config.sparse_tokens:
        raise ContextTooLong(
            f"{tokens} tokens are more than this drive selects from, sparse_tokens = "
            f"{drive_config.sparse_tokens}: choose a configuration with larger sparse_tokens, "
            "shorten the prompt, or ask for fewer new tokens"
        )
    attention.selection(head_dim, tokens or drive_config.max_tokens)


def check_modules(model):
    """Raise for attention that shows in a model's parameters only, not in its configuration."""
    for name, _ in model.named_parameters():
        if name.rsplit(".", 1)[-1] in ("sinks", "sink", "attention_sink_bias"):
            raise _refusal(model.config, f"attention sinks ({name})")


def _name(config):
    return f"model type {config.model_type!r}" if config.model_type else type(config).__name__


def _refusal(config, what):
    return UnsupportedModel(
        f"{_name(config)} needs {what}, which the drive does not compute: "
        "run it without the drive, or choose a decoder with plain causal attention such as smollm2"
    )


def _check_kind(config, text):
    def get(name):
        return getattr(text, name, None)

    if config.is_encoder_decoder or get("is_encoder_decoder"):
        raise _refusal(config, "cross attention (it is an encoder-decoder)")
    if get("add_cross_attention"):
        raise _refusal(config, "cross attention (add_cross_attention)")
    if get("is_causal") is False or get("use_bidirectional_attention") not in (None, False):
        raise _refusal(config, "attention that is not causal")
    if get("attn_logit_softcapping") is not None:
        raise _refusal(
            config,
            f"a soft cap on its logits (attn_logit_softcapping = {get('attn_logit_softcapping')})",
        )
    if text.model_type in SINK_MODELS:
        raise _refusal(config, "attention sinks")
    if text.model_type in ALIBI_MODELS or get("alibi") or get("position_embedding_type") == "alibi":
        raise _refusal(config, "ALiBi position biases")
    if get("relative_attention_num_buckets") or get("relative_attention"):
        raise _refusal(config, "relative position biases")
    if get("num_kv_shared_layers"):
        raise _refusal(
            config,
            f"layers that share K and V (num_kv_shared_layers = {get('num_kv_shared_layers')})",
        )
    if get("index_topk"):
        raise _refusal(config, f"its own sparse attention (index_topk = {get('index_topk')})")


def _check_windows(config, text, tokens):
    window = getattr(text, "sliding_window", None)
    if getattr(text, "use_sliding_window", True) is False:
        window = None
    chunk = getattr(text, "attention_chunk_size", None)
    kinds = getattr(text, "layer_types", None)
    if kinds is None:
        kinds = {"full_attention"} | ({"sliding_attention"} if window is not None else set())
        kinds |= {"chunked_attention"} if chunk is not None else set()
    for kind in sorted(set(kinds)):
        if kind == "full_attention":
            continue
        size = {"sliding_attention": window, "chunked_attention": chunk}.get(kind)
        what = {
            "sliding_attention": "a sliding window",
            "chunked_attention": "chunked attention",
        }.get(kind)
        if what is None:
            raise _refusal(config, f"layers of type {kind!r}")
        if size is None or size < tokens:
            raise _refusal(
                config, f"{what} of {size} tokens (a window that {tokens} tokens fit in would do)"
            )


def _check_heads(config, text, drive_config):
    _, heads, kv_heads, head_dim = head_shape(config)
    value_dim = getattr(text, "v_head_dim", None)
    key_dim = getattr(text, "qk_head_dim", None) or head_dim
    if getattr(text, "kv_lora_rank", None):
        nope, rope = (
            getattr(text, name, None) or 0 for name in ("qk_nope_head_dim", "qk_rope_head_dim")
        )
        key_dim = nope + rope or key_dim
    if value_dim is not None and value_dim != key_dim:
        raise _refusal(config, f"K and V of different sizes ({key_dim} and {value_dim})")
    if key_dim not in drive_config.head_dims:
        allowed = " or ".join(map(str, drive_config.head_dims))
        raise _refusal(config, f"head_dim {key_dim} (this drive was built for {allowed})")
    if heads % kv_heads:
        raise _refusal(
            config, f"{heads} query heads over {kv_heads} KV heads, not a whole number each"
        )
    if heads // kv_heads > drive_config.max_queries_per_kv:
        raise _refusal(
            config,
            f"{heads // kv_heads} query heads per KV head (this drive was built for up to "
            f"{drive_config.max_queries_per_kv}: max_queries_per_kv)",
        )
