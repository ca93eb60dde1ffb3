"""SparF and the local window against the dense golden model, torch.topk and cases by hand."""

import math

import numpy as np
import pytest
import torch

from cosim.golden import attend
from cosim.golden_sparse import forced_tokens, local_attention, sparf_attention, top

SHAPES = [(1, 1), (2, 2), (4, 2), (6, 2), (4, 1)]
"""Query heads, KV heads: groups of 1 to 4."""


def case(tokens, q_heads, kv_heads, d, seed=1):
    rng = np.random.default_rng(seed)
    return [
        torch.from_numpy(rng.standard_normal(shape).astype(np.float16))
        for shape in ((q_heads, d), (tokens, kv_heads, d), (tokens, kv_heads, d))
    ]


@pytest.mark.parametrize("q_heads, kv_heads", SHAPES)
@pytest.mark.parametrize("scale", [None, 0.4])
@pytest.mark.parametrize("mean_value", [True, False])
def test_all_channels_and_tokens_are_dense_attention(q_heads, kv_heads, scale, mean_value):
    q, k, v = case(37, q_heads, kv_heads, 16)
    result = sparf_attention(
        q, k, v, channels=16, kept=37, window=5, sinks=2, mean_value=mean_value, scale=scale
    )
    torch.testing.assert_close(result.out, attend(q, k, v, scale), rtol=1e-12, atol=1e-13)
    assert result.tokens.all() and result.channels.all()
    torch.testing.assert_close(result.alpha, torch.ones(q_heads).double())


@pytest.mark.parametrize("q_heads, kv_heads", SHAPES)
@pytest.mark.parametrize("channels, kept", [(1, 1), (3, 9), (16, 4), (5, 60)])
def test_selections_are_torchs_topk_of_the_same_keys(q_heads, kv_heads, channels, kept):
    q, k, v = case(50, q_heads, kv_heads, 16, seed=channels)
    result = sparf_attention(q, k, v, channels=channels, kept=kept, window=3, sinks=1)
    group = q_heads // kv_heads
    for head in range(kv_heads):
        mine = q[head * group : (head + 1) * group].double()
        chosen = mine.abs().sum(dim=0).topk(channels).indices
        assert set(chosen.tolist()) == set(result.channels[head].nonzero().flatten().tolist())
        keys = torch.zeros(50, dtype=torch.float64)
        for row in mine:
            tau = math.sqrt(16 * row[chosen].abs().sum() / row.abs().sum())
            keys += torch.softmax(k[:, head].double()[:, chosen] @ row[chosen] / tau, dim=0)
        keys[[0, 47, 48, 49]] = math.inf
        want = keys.topk(min(max(kept, 4), 50)).indices
        assert set(want.tolist()) == set(result.tokens[head].nonzero().flatten().tolist())


@pytest.mark.parametrize("count", range(1, 13))
def test_of_equal_keys_the_first_is_taken(count):
    rng = np.random.default_rng(count)
    keys = torch.from_numpy(rng.integers(0, 4, (20, 12)).astype(np.float64))
    for row, mask in zip(keys, top(keys, count), strict=True):
        order = sorted(range(12), key=lambda n: (-row[n].item(), n))
        assert set(order[:count]) == set(mask.nonzero().flatten().tolist())
        assert row[mask].sort().values.equal(row.topk(count).values.sort().values)


def test_equal_tokens_and_channels_by_hand():
    """All tokens alike: the forced ones, then the lowest; all channels alike: the lowest."""
    q = torch.ones(2, 4, dtype=torch.float16)
    k = torch.ones(10, 1, 4, dtype=torch.float16)
    v = torch.arange(10.0).half()[:, None, None].expand(10, 1, 4)
    result = sparf_attention(q, k, v, channels=2, kept=5, window=2, sinks=1)
    assert result.channels.tolist() == [[True, True, False, False]]
    assert result.tokens[0].nonzero().flatten().tolist() == [0, 1, 2, 8, 9]
    # each has a tenth of the estimate; five of them have the mean 4, all the mean 4.5
    assert result.alpha.tolist() == pytest.approx([0.5, 0.5])
    assert result.out.flatten().tolist() == pytest.approx([0.5 * 4 + 0.5 * 4.5] * 8)
    plain = sparf_attention(q, k, v, channels=2, kept=5, window=2, sinks=1, mean_value=False)
    assert plain.out.flatten().tolist() == pytest.approx([4.0] * 8)


def test_one_head_by_hand():
    q = torch.tensor([[3.0, -1.0]], dtype=torch.float16)
    k = torch.tensor([[[1.0, 0]], [[0.0, 8]], [[2.0, 0]]], dtype=torch.float16)
    v = torch.tensor([[[1.0, 0]], [[0.0, 4]], [[8.0, 0]]], dtype=torch.float16)
    result = sparf_attention(q, k, v, channels=1, kept=1)
    tau = math.sqrt(2 * 3 / 4)
    weights = [math.exp(3 * x / tau) for x in (1, 0, 2)]
    alpha = weights[2] / sum(weights)
    assert result.tokens.tolist() == [[False, False, True]]
    assert result.alpha.item() == pytest.approx(alpha)
    want = [alpha * 8 + (1 - alpha) * 3, (1 - alpha) * 4 / 3]
    assert result.out[0].tolist() == pytest.approx(want)


def test_a_query_of_nothing_keeps_the_first_tokens():
    q, k, v = case(8, 2, 1, 4)
    q[:] = 0
    result = sparf_attention(q, k, v, channels=1, kept=3)
    assert result.tokens[0].nonzero().flatten().tolist() == [0, 1, 2]
    torch.testing.assert_close(result.alpha, torch.full((2,), 3 / 8).double())


def test_forced_tokens_are_kept_even_if_they_are_more():
    q, k, v = case(20, 2, 2, 8)
    result = sparf_attention(q, k, v, channels=2, kept=1, window=4, sinks=3)
    want = forced_tokens(20, 4, 3)
    assert want.sum() == 7 and result.tokens.equal(want.expand(2, -1))


@pytest.mark.parametrize("q_heads, kv_heads", SHAPES)
def test_local_attention_is_dense_attention_of_what_is_kept(q_heads, kv_heads):
    q, k, v = case(30, q_heads, kv_heads, 8)
    kept = [0, 1, *range(25, 30)]
    result = local_attention(q, k, v, window=5, sinks=2)
    torch.testing.assert_close(result.out, attend(q, k[kept], v[kept]))
    assert result.tokens[0].nonzero().flatten().tolist() == kept
    assert local_attention(q, k, v, window=99).tokens.all()


@pytest.mark.parametrize(
    "change, match",
    [
        ({"channels": 0}, r"channels = 0 is not possible: give 1\.\.8"),
        ({"channels": 9}, r"channels = 9 is not possible: give 1\.\.8"),
        ({"kept": 0}, "kept = 0 is not possible"),
        ({"window": -1}, "window = -1"),
        ({"sinks": -1}, "sinks = -1"),
        ({"k": torch.full((5, 1, 8), math.inf).half()}, "k has an infinity"),
        ({"q": torch.zeros(3, 4).half()}, "head_dim of q is 4"),
    ],
)
def test_bad_input(change, match):
    given = dict(zip("qkv", case(5, 2, 1, 8), strict=True)) | {"channels": 2, "kept": 2} | change
    with pytest.raises(ValueError, match=match):
        sparf_attention(**given)


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ValueError, match="keeps no token"):
        local_attention(*case(5, 2, 1, 8), window=0)
