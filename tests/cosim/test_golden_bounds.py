"""Attention by bounds: the bounds are bounds and as near as said, the selection by plain loops."""

import math

import numpy as np
import pytest
import torch

from cosim.golden import attend
from cosim.golden_bounds import bounds_attention, bounds_of

from .test_golden_sparse import SHAPES, case


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("size", [2.0**-24, 1e-3, 1.0, 300.0])
def test_bounds_hold_and_are_as_near_as_their_step(bits, size):
    rng = np.random.default_rng(bits)
    spread = size * np.exp(rng.standard_normal(16))
    k = torch.from_numpy((rng.standard_normal((2, 75, 16)) * spread).astype(np.float16)).double()
    low, high = bounds_of(k, unit_tokens=4, group_tokens=16, bits=bits)
    assert low.shape == high.shape == (2, 16, 16)
    top = 2 ** (bits - 1) - 1
    for group in range(4):
        values = k[:, group * 16 : group * 16 + 16]
        largest = values.abs().amax(dim=1)
        for unit in range(4):
            mine = values[:, unit * 4 : unit * 4 + 4]
            below, above = low[:, group * 4 + unit], high[:, group * 4 + unit]
            assert (below <= mine.amin(dim=1)).all() and (above >= mine.amax(dim=1)).all()
            # the step is the least power of two that reaches: less than twice largest / top
            step = torch.maximum(2 * largest / top, torch.tensor(2.0**-24).double())
            assert (mine.amin(dim=1) - below <= step).all()
            assert (above - mine.amax(dim=1) <= step).all()


def test_codes_by_hand():
    """Largest value 5.5 in 4 bits: steps of 1; 7 still is of steps of 1, 7.5 is not."""
    k = torch.tensor([5.5, -1.25, 0.5, 3.0, 7.0, -7.0, 0.0, 0.0, 7.5, -1.0, 1.0, 1.0]).double()
    low, high = bounds_of(k[None, :, None], unit_tokens=2, group_tokens=4, bits=4)
    assert low.flatten().tolist() == [-2, 0, -7, 0, -2, 0 + 0]  # -1 in steps of 2: -2
    assert high.flatten().tolist() == [6, 3, 7, 0, 8, 2]


@pytest.mark.parametrize("q_heads, kv_heads", SHAPES)
def test_all_units_are_dense_attention(q_heads, kv_heads):
    q, k, v = case(43, q_heads, kv_heads, 16)
    result = bounds_attention(q, k, v, units=10, unit_tokens=4, group_tokens=8)
    torch.testing.assert_close(result.out, attend(q, k, v), rtol=1e-12, atol=1e-13)
    assert result.tokens.all()


@pytest.mark.parametrize("q_heads, kv_heads", SHAPES)
def test_selection_by_loops(q_heads, kv_heads):
    q, k, v = case(45, q_heads, kv_heads, 8, seed=5)
    result = bounds_attention(
        q, k, v, units=5, unit_tokens=4, group_tokens=8, bits=8, window=9, sinks=3
    )
    group = q_heads // kv_heads
    for head in range(kv_heads):
        low, high = bounds_of(k[:, head].double()[None], unit_tokens=4, group_tokens=8, bits=8)
        keys = [0.0] * 10  # 45 tokens: five groups, ten units, five tokens without bounds
        for row in q[head * group : (head + 1) * group].double():
            scores = [
                sum(max(x * a, x * b) for x, a, b in zip(row, low[0, u], high[0, u], strict=True))
                / math.sqrt(8)
                for u in range(10)
            ]
            weights = [math.exp(s) for s in scores]
            keys = [key + w / sum(weights) for key, w in zip(keys, weights, strict=True)]
        forced = {0, 9}  # tokens 0..2 and 36..44
        order = sorted(set(range(10)) - forced, key=lambda u: (-keys[u], u))
        units = forced | set(order[:3])
        tokens = {4 * u + n for u in units for n in range(4)} | set(range(40, 45))
        assert set(result.tokens[head].nonzero().flatten().tolist()) == tokens
        kept = sorted(tokens)
        mine = slice(head * group, (head + 1) * group)
        one = slice(head, head + 1)
        want = attend(q[mine], k[kept, one], v[kept, one])
        torch.testing.assert_close(result.out[mine], want)


def test_no_token_of_a_unit_left_out_scores_more_than_its_bound():
    q, k, _ = case(64, 1, 1, 16, seed=3)
    low, high = bounds_of(k[:, 0].double()[None], group_tokens=16)
    best = torch.maximum(q.double() * low[0], q.double() * high[0]).sum(dim=1)
    scores = (k[:, 0].double() @ q[0].double()).unflatten(0, (16, 4))
    assert (scores.amax(dim=1) <= best + 1e-12).all()


def test_equal_units_keep_the_first():
    q, k, v = case(32, 2, 1, 4)
    k[:] = 1
    result = bounds_attention(q, k, v, units=3, group_tokens=8, sinks=1, window=4)
    assert result.tokens[0].nonzero().flatten().tolist() == [*range(8), *range(28, 32)]


def test_without_a_full_group_all_is_attended():
    q, k, v = case(31, 2, 1, 8)
    result = bounds_attention(q, k, v, units=1)
    torch.testing.assert_close(result.out, attend(q, k, v))


@pytest.mark.parametrize(
    "change, match",
    [
        ({"units": 0}, "units = 0 is not possible"),
        ({"bits": 1}, "bits = 1 is not possible"),
        ({"unit_tokens": 5}, "not whole units of 5"),
        ({"window": -2}, "window = -2"),
    ],
)
def test_bad_input(change, match):
    with pytest.raises(ValueError, match=match):
        bounds_attention(*case(40, 2, 1, 8), **{"units": 2, **change})
