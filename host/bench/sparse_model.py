"""q, K and V of SmolLM2 at the end of a text, for ``instinfer bench sparse``."""

from functools import cache
from pathlib import Path

import torch
from transformers import AttentionInterface

from ..models import load
from .sparse_inputs import Layer

__all__ = ["model_layers"]

NAME = "instinfer-recorded"
"""Name of the attention implementation in Transformers."""

TEXT = Path(__file__).parents[1] / "demo_prompt.txt"


def model_layers(tokens, number, text=None):
    """Layers of the model, spread over its depth.

    Parameters
    ----------
    tokens : int
        That it has read; the text is repeated if it has fewer.
    number : int
    text : str, optional
        The shipped prompt, if not given.
    """
    layers = _recorded(tokens, text or TEXT.read_text())
    chosen = [int((n + 0.5) * len(layers) / number) for n in range(number)]
    return [layers[n] for n in chosen]


@cache
def _recorded(tokens, text):
    loaded = load("smollm2")
    ids = loaded.tokenizer(text)["input_ids"]
    ids = (ids * -(-tokens // len(ids)))[:tokens]
    layers = []

    def record(module, query, key, value, mask, scaling=None, **_):
        q = query[0, :, -1].half().numpy()
        k, v = (x[0].transpose(0, 1).half().numpy() for x in (key, value))
        layers.append(Layer(_Always(q), k, v, {}))
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
        return out.transpose(1, 2).contiguous(), None

    AttentionInterface.register(NAME, record)
    loaded.model.set_attn_implementation(NAME)
    with torch.inference_mode():
        loaded.model(torch.tensor([ids]), use_cache=False, logits_to_keep=1)
    return layers


class _Always(dict):
    """The same q, whatever the ratio."""

    def __init__(self, q):
        super().__init__()
        self._q = q

    def __missing__(self, ratio):
        return self._q
