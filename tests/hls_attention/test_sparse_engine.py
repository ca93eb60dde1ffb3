"""Sparse attention in the engine against its twin, bit for bit: channels, tokens kept, outputs."""

import numpy as np
import pytest

from tests.hls_attention.engine_bench import words
from tests.hls_attention.sparse_bench import BF16, Head, simulate, small

LONG = {"pass_tokens": 128, "unit_tokens": 128, "sparse_tokens": 160}
"""A column has more beats than a vector, as those of a drive have."""


@pytest.mark.parametrize(
    ("config", "stall", "heads"),
    [
        (
            small(1, 1),
            0.4,
            [dict(tokens=41, r=3, kept=20, ties=True), dict(tokens=7, r=64, kept=3)],
        ),
        (
            small(2, 2),
            0.0,
            [
                dict(tokens=110, r=8, kept=5),  # of four passes, some have no token
                dict(tokens=32, r=1, kept=4, dtype=BF16, heads=1),
            ],
        ),
        (small(2, 2, **LONG), 0.3, [dict(tokens=139, r=5, kept=9), dict(tokens=20, r=2, kept=3)]),
    ],
    ids=["one channel", "many passes", "long units"],
)
def test_heads_one_after_the_other(config, stall, heads):
    rng = np.random.default_rng(5)
    cases = [Head(rng, config, **{"heads": config.max_heads, **how}) for how in heads]
    kept = [[head.choice.keep[cut].any() for cut in head.cuts] for head in cases]
    assert len(kept[0]) != 4 or not all(kept[0])
    for head, output in zip(cases, simulate(config, cases, stall=stall), strict=True):
        assert output == words(head.result.out)
