"""Sparse attention from bounds of K in the engine against its twin, bit for bit."""

import numpy as np
import pytest

from tests.hls_attention.engine_bench import words
from tests.hls_attention.sparse_bench import BF16, Head, simulate, small

BOUNDS = {"bounds": True, "pass_tokens": 64, "unit_tokens": 64}


def run(config, heads, *, stall=0.0, seed=5):
    rng = np.random.default_rng(seed)
    cases = [Head(rng, config, **{"heads": config.max_heads, **how}) for how in heads]
    for head, output in zip(cases, simulate(config, cases, stall=stall), strict=True):
        if head.error is None:
            assert output == words(head.result.out)


@pytest.mark.parametrize(
    ("config", "stall", "heads"),
    [
        (
            small(1, 1, **BOUNDS),
            0.4,
            [
                dict(tokens=41, bounds=32, units=1, kept=20),
                dict(tokens=7, bounds=32, kept=3, dtype=BF16),
            ],
        ),
        (
            small(2, 2, **BOUNDS),
            0.0,
            [
                dict(tokens=78, bounds=32, units=2, kept=5),  # in two passes, of different channels
                dict(tokens=19, r=9, kept=12),  # from channels, in between
                dict(tokens=32, bounds=32, units=1, kept=6, heads=1, dtype=BF16, ties=True),
            ],
        ),
        (
            small(1, 5, **BOUNDS, max_head_dim=128),
            0.2,
            [
                # the scores of a unit take longer than the beats of the next one
                dict(tokens=34, bounds=32, units=1, kept=9),
                dict(tokens=37, bounds=32, units=1, kept=6, head_dim=128, heads=1),
            ],
        ),
    ],
    ids=["one channel", "many passes", "many heads"],
)
def test_heads_one_after_the_other(config, stall, heads):
    run(config, heads, stall=stall)


def test_what_cannot_be_read_and_what_is_no_number():
    """A beat of bounds, a token of which bounds are made; then one with all is well again."""
    heads = [
        dict(tokens=33, bounds=32, units=1, kept=8, error=40),
        dict(tokens=13, bounds=32, units=0, kept=8, error=17),
        dict(tokens=9, bounds=32, units=0, kept=3, nan=True),
        dict(tokens=33, bounds=32, units=1, kept=8),
    ]
    run(small(1, 1, **BOUNDS), heads)
