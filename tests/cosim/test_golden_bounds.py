"""Attention by bounds: codes by hand, how near they are, the selection by plain loops."""

import math

import numpy as np
import pytest
import torch

from cosim.golden import attend
from cosim.golden_bounds import bounds_attention, coded_bounds, exact_bounds

from .test_golden_sparse import SHAPES, case


def column(units, dtype=torch.float16):
    """Coded low and high of one channel: 8 units, given as (low, high); others are zeros."""
    units = units + [(0, 0)] * (8 - len(units))
    k = torch.tensor([[low, high, low, high] for low, high in units]).to(dtype).double()
    low, high = coded_bounds(k.reshape(1, 32, 1), dtype)
    return list(zip(low.flatten().tolist(), high.flatten().tolist(), strict=True))


def test_exact_bounds_of_a_last_unit_that_is_short():
    k = torch.tensor([5.0, -1, 2, 0, 3, 4]).double()[None, :, None]
    low, high = exact_bounds(k)
    assert (low.flatten().tolist(), high.flatten().tolist()) == ([-1, 3], [5, 4])


def test_codes_by_hand():
    # Largest 5.5: steps of 1, halves up.
    found = column([(-1.25, 5.5), (0.5, 3), (-2.5, -0.5)])
    assert found[:4] == [(-1, 6), (1, 3), (-2, 0), (0, 0)]
    # 5.5 above -2.5 is 8 steps, of -2: steps of 2.
    assert column([(-2.5, 5.5), (-1, 1)])[:2] == [(-2, 6), (0, 2)]
    # 7.5 is 8 steps: too many for a low, not for a high.
    assert column([(7.5, 7.5)])[0] == (8, 8)
    assert column([(7.5, 7.5), (1, 1)])[1] == (2, 2)  # steps of 2
    assert column([(3, 7.5), (1, 1)])[:2] == [(3, 8), (1, 1)]
    # From -8 to 8 steps is 8 of twice the size, and 4 of four times.
    assert column([(-7.75, 7.75), (1, 3)])[:2] == [(-8, 8), (0, 4)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_ends_of_a_format(dtype):
    limits = torch.finfo(dtype)
    least, most = limits.smallest_normal, limits.max
    assert column([(-most, most)], dtype)[0] == (-most, most)
    assert column([(least / 4, 7 * least)], dtype)[0] == (0, 7 * least)
    assert column([(-least / 2, least / 2)], dtype)[0] == (0, least)


@pytest.mark.parametrize("size", [2.0**-24, 1e-3, 1.0, 300.0])
def test_codes_are_as_near_as_half_a_step(size):
    rng = np.random.default_rng(7)
    spread = size * np.exp(rng.standard_normal(16))
    k = torch.from_numpy((rng.standard_normal((2, 96, 16)) * spread).astype(np.float16)).double()
    blocks = [bound.unflatten(1, (3, 8)) for bound in exact_bounds(k)]
    coded = [bound.unflatten(1, (3, 8)) for bound in coded_bounds(k, torch.float16)]
    largest = torch.maximum(*(bound.abs() for bound in blocks)).amax(dim=2, keepdim=True)
    for exact, code in zip(blocks, coded, strict=True):
        # the coarsest step is below the largest magnitude, or the smallest normal number
        assert ((exact - code).abs() <= (largest / 2).clamp(min=2.0**-15)).all()
    middle = torch.stack([(code - exact).mean() for exact, code in zip(blocks, coded, strict=True)])
    assert size < 1e-6 or (middle.abs() < 0.02 * size).all()


@pytest.mark.parametrize("q_heads, kv_heads", SHAPES)
def test_all_tokens_are_dense_attention(q_heads, kv_heads):
    q, k, v = case(43, q_heads, kv_heads, 16)
    result = bounds_attention(q, k, v, kept=43, bounded=32)
    torch.testing.assert_close(result.out, attend(q, k, v), rtol=1e-12, atol=1e-13)
    assert result.tokens.all()


@pytest.mark.parametrize("q_heads, kv_heads", SHAPES)
@pytest.mark.parametrize("bounded", [0, 32])
def test_selection_by_loops(q_heads, kv_heads, bounded):
    q, k, v = case(45, q_heads, kv_heads, 8, seed=5)
    result = bounds_attention(q, k, v, kept=21, bounded=bounded, window=9, sinks=3)
    group = q_heads // kv_heads
    for head in range(kv_heads):
        values = k[:, head].double()
        pairs = [(values[t : t + 4].amin(dim=0), values[t : t + 4].amax(dim=0))
                 for t in range(bounded, 45, 4)]  # fmt: skip
        coded = coded_bounds(values[None, :bounded], torch.float16)
        pairs = [*zip(*(bound[0] for bound in coded), strict=True), *pairs]
        keys = [0.0] * 45
        for row in q[head * group : (head + 1) * group].double():
            units = [
                sum(max(x * a, x * b) for x, a, b in zip(row, *pair, strict=True)) / math.sqrt(8)
                for pair in pairs
            ]
            weights = [math.exp(units[token // 4]) for token in range(45)]
            keys = [key + w / sum(weights) for key, w in zip(keys, weights, strict=True)]
        forced = {0, 1, 2, *range(36, 45)}
        order = sorted(set(range(45)) - forced, key=lambda t: (-keys[t], t))
        tokens = forced | set(order[:9])
        assert set(result.tokens[head].nonzero().flatten().tolist()) == tokens
        mine, one = slice(head * group, (head + 1) * group), slice(head, head + 1)
        want = attend(q[mine], k[sorted(tokens), one], v[sorted(tokens), one])
        torch.testing.assert_close(result.out[mine], want)


def test_no_token_scores_more_than_its_exact_bound():
    q, k, _ = case(64, 1, 1, 16, seed=3)
    low, high = exact_bounds(k[:, 0].double()[None])
    best = torch.maximum(q.double() * low[0], q.double() * high[0]).sum(dim=1)
    scores = (k[:, 0].double() @ q[0].double()).unflatten(0, (16, 4))
    assert (scores.amax(dim=1) <= best + 1e-12).all()


def test_of_equal_tokens_the_first_are_kept():
    q, k, v = case(32, 2, 1, 4)
    k[:] = 1
    result = bounds_attention(q, k, v, kept=9, bounded=32, sinks=1, window=4)
    assert result.tokens[0].nonzero().flatten().tolist() == [*range(5), *range(28, 32)]


@pytest.mark.parametrize(
    "change, match",
    [
        ({"kept": 0}, "kept = 0 is not possible"),
        ({"bounded": 41}, "bounded = 41 is not possible: give 0..40"),
        ({"bounded": 20}, "20 tokens are not whole blocks of 32"),
        ({"window": -2}, "window = -2"),
    ],
)
def test_bad_input(change, match):
    with pytest.raises(ValueError, match=match):
        bounds_attention(*case(40, 2, 1, 8), **{"kept": 2, **change})
