"""The load of the space model: sequences as a serving system opens, grows and closes them.

Continuous batching: every open sequence gets one token a step. Its prompt is written when it is
opened, its answer token by token, a group of tokens at a time; then it is closed, and as many new
ones are opened as find room. Lengths are log-normal.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["MODELS", "Lengths", "Model"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """Shape of a language model's K and V.

    Parameters
    ----------
    name : str
    layers, kv_heads, head_dim : int
    context : int
        Tokens of prompt and answer at most.
    """

    name: str
    layers: int
    kv_heads: int
    head_dim: int
    context: int

    @property
    def token_bytes(self):
        """K and V of one token of all layers, in 16-bit elements."""
        return 4 * self.layers * self.kv_heads * self.head_dim

    @property
    def group_pages(self):
        """Flash pages that are written when a group of tokens is full."""
        return 2 * self.layers * self.kv_heads

    def group_tokens(self, page_bytes):
        """Tokens of K or V of one head that fill a page."""
        return page_bytes // (2 * self.head_dim)

    def pages(self, groups, unit_groups=0):
        """Flash pages of a sequence with so many full groups: K, V and, in units of some groups, K
        by channel."""
        columns = groups // unit_groups * unit_groups if unit_groups else 0
        return groups * self.group_pages + columns * self.group_pages // 2


MODELS = {
    model.name: model
    for model in (
        Model(name="smollm2", layers=30, kv_heads=3, head_dim=64, context=8192),
        Model(name="llama3-8b", layers=32, kv_heads=8, head_dim=128, context=8192),
        Model(name="opt-13b", layers=40, kv_heads=40, head_dim=128, context=2048),
    )
}


class Lengths:
    """Draws prompt and answer lengths.

    Parameters
    ----------
    rng : numpy.random.Generator
    prompt, answer : float
        Mean tokens of each, before ``context`` cuts them.
    sigma : float
        Standard deviation of the logarithm of both.
    context : int
        Prompt and answer together are cut to it, the prompt to three quarters of it.
    """

    def __init__(self, rng, *, prompt, answer, sigma, context):
        self._rng, self._sigma, self._context = rng, sigma, context
        self._means = prompt, answer

    def draw(self):
        """``(prompt, answer)`` in tokens, at least one each."""
        drawn = [
            int(
                np.ceil(
                    mean * np.exp(self._sigma * self._rng.standard_normal() - self._sigma**2 / 2)
                )
            )
            for mean in self._means
        ]
        prompt = min(drawn[0], self._context * 3 // 4)
        return prompt, min(drawn[1], self._context - prompt)
