"""The golden model against plain Python arithmetic and numpy."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from cosim.golden import attend, attend_rounded, round_once, sdpa


def case(tokens, q_heads, kv_heads, d, seed=1):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((q_heads, d)).astype(np.float16),
        rng.standard_normal((tokens, kv_heads, d)).astype(np.float16),
        rng.standard_normal((tokens, kv_heads, d)).astype(np.float16),
    )


def by_hand(q, k, v, scale):
    """Attention of one head with Python floats and `math.fsum`."""
    scores = [
        scale * math.fsum(float(a) * float(b) for a, b in zip(q, row, strict=True)) for row in k
    ]
    top = max(scores)
    weights = [math.exp(s - top) for s in scores]
    total = math.fsum(weights)
    return [
        math.fsum(w * float(x) for w, x in zip(weights, column, strict=True)) / total
        for column in v.T
    ]


@pytest.mark.parametrize("tokens, q_heads, kv_heads", [(1, 1, 1), (17, 6, 2), (40, 3, 3)])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_attend_by_hand(tokens, q_heads, kv_heads, scale):
    q, k, v = case(tokens, q_heads, kv_heads, 16)
    out = attend(q, k, v, scale).numpy()
    for head in range(q_heads):
        kv = head // (q_heads // kv_heads)
        want = by_hand(q[head], k[:, kv], v[:, kv], 0.25 if scale is None else scale)
        np.testing.assert_allclose(out[head], want, rtol=1e-12, atol=1e-14)


def test_one_token_returns_its_v_exactly():
    q, k, v = case(1, 4, 2, 64)
    assert np.array_equal(attend_rounded(q, k, v).numpy(), np.repeat(v[0], 2, axis=0))


def test_sdpa_is_near_and_no_better():
    """Some processors have it round once, too."""
    q, k, v = case(200, 9, 3, 64)
    exact, ideal = attend(q, k, v), attend_rounded(q, k, v)
    error = [((x.double() - exact).norm() / exact.norm()).item() for x in (ideal, sdpa(q, k, v))]
    assert error[0] <= error[1] < 2e-3


def test_rounds_once():
    values = [np.float16(x) for x in (*np.linspace(-3, 3, 301), 2.0**-24, 65504)]
    rng = np.random.default_rng(2)
    points = [
        float(a) * (1 + 2.0**-11 * s * (1 + e))
        for a in values
        for s in (1, -1)
        for e in (2.0**-40, -(2.0**-40), rng.uniform(-1, 1))
        if abs(float(a)) < 60000
    ]
    got = round_once(torch.tensor(points, dtype=torch.float64))
    for x, y in zip(points, got.tolist(), strict=True):
        below, above = np.nextafter(np.float16(y), np.float16([-np.inf, np.inf]))
        distance = abs(Fraction(x) - Fraction(y))
        assert distance <= abs(Fraction(x) - Fraction(float(below)))
        assert distance <= abs(Fraction(x) - Fraction(float(above)))


@pytest.mark.parametrize("where", ["q", "k", "v"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_not_finite_poisons_its_heads_only(where, value):
    tensors = dict(zip("qkv", case(5, 4, 2, 16), strict=True))
    tensors[where][(0, 3) if where == "q" else (2, 0, 3)] = value
    poisoned = np.isnan(attend(**tensors).numpy())
    assert poisoned.any(axis=1).tolist() == poisoned.all(axis=1).tolist()
    assert poisoned.all(axis=1).tolist() == [True, where != "q", False, False]


@pytest.mark.parametrize(
    "change, error, match",
    [
        ({"q": np.zeros((4, 16), np.float32)}, TypeError, "q is torch.float32"),
        ({"k": np.zeros((5, 2, 8), np.float16)}, ValueError, "must be equal"),
        ({"v": np.zeros((5, 16), np.float16)}, ValueError, "v has shape"),
        ({"q": np.zeros((3, 16), np.float16)}, ValueError, "3 query heads"),
        ({"q": np.zeros((4, 8), np.float16)}, ValueError, "head_dim of q"),
        (
            {"k": np.zeros((0, 2, 16), np.float16), "v": np.zeros((0, 2, 16), np.float16)},
            ValueError,
            "nothing zero",
        ),
        ({"scale": math.inf}, ValueError, "finite"),
    ],
)
def test_bad_input(change, error, match):
    arguments = dict(zip("qkv", case(5, 4, 2, 16), strict=True)) | change
    with pytest.raises(error, match=match):
        attend(**arguments)
