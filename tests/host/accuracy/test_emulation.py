"""The emulation against the golden models, position by position; its bytes by loops."""

import numpy as np
import pytest
import torch

from cosim.golden import attend
from cosim.golden_bounds import bounds_attention
from cosim.golden_sparse import forced_tokens, local_attention, sparf_attention
from host.accuracy.emulation import Rows, attend_rows
from host.accuracy.methods import Bounds, Dense, Local, Sparf
from host.accuracy.ratio import Layout, kept_of
from host.accuracy.selection import largest

GROUPS = [(1, 1), (2, 2), (4, 2), (3, 1), (4, 1)]
"""Query heads, KV heads."""

TOKENS, FIRST, D = 90, 60, 16


def case(q_heads, kv_heads, seed=1, first=FIRST):
    """Queries of the positions from ``first`` on, as [positions, ...], keys, values: float16."""
    rng = np.random.default_rng(seed)
    shapes = (TOKENS - first, q_heads, D), (TOKENS, kv_heads, D), (TOKENS, kv_heads, D)
    return [torch.from_numpy((2 * rng.standard_normal(s)).astype(np.float16)) for s in shapes]


def emulate(method, q, k, v, first=FIRST):
    """Output [positions, q_heads, head_dim] and selection of a method."""
    heads = q.float().transpose(0, 1).unflatten(0, (k.shape[1], -1))
    rows = Rows(heads, k.float().transpose(0, 1), v.float().transpose(0, 1), first, D**-0.5)
    selected = method.select(rows, method.index(rows.k))
    return attend_rows(rows, selected).flatten(0, 1).transpose(0, 1), selected, rows


def judge(method, q, k, v, golden, first=FIRST):
    """``golden(q, k, v)`` of each position gives the same tokens, output and alpha."""
    out, selected, _ = emulate(method, q, k, v, first)
    for row in range(len(q)):
        tokens = first + row + 1
        want = golden(q[row], k[:tokens], v[:tokens])
        assert selected.tokens[:, row, :tokens].equal(want.tokens)
        assert not selected.tokens[:, row, tokens:].any()
        torch.testing.assert_close(out[row].double(), want.out, rtol=2e-4, atol=2e-5)
        if selected.alpha is not None:
            alpha = selected.alpha[:, :, row].flatten().double()
            torch.testing.assert_close(alpha, want.alpha, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("q_heads, kv_heads", GROUPS)
@pytest.mark.parametrize("mean_value", [True, False])
@pytest.mark.parametrize("channels, share, window, sinks", [(2, 1 / 16, 8, 2), (5, 1 / 4, 3, 0)])
def test_sparf(q_heads, kv_heads, mean_value, channels, share, window, sinks):
    method = Sparf(channels, share, mean_value=mean_value, window=window, sinks=sinks)

    def golden(q, k, v):
        return sparf_attention(
            q, k, v, channels=channels, kept=max(1, int(share * len(k))), window=window,
            sinks=sinks, mean_value=mean_value,
        )  # fmt: skip

    judge(method, *case(q_heads, kv_heads), golden)


def test_sparf_of_a_number_of_tokens():
    q, k, v = case(4, 2)
    judge(
        Sparf(4, kept=20, window=4, sinks=1), q, k, v,
        lambda q, k, v: sparf_attention(q, k, v, channels=4, kept=20, window=4, sinks=1),
    )  # fmt: skip


@pytest.mark.parametrize("q_heads, kv_heads", GROUPS)
@pytest.mark.parametrize("channels, share, window, sinks", [(2, 1 / 16, 8, 2), (3, 7 / 8, 9, 3)])
def test_sparf_with_forced_tokens_besides(q_heads, kv_heads, channels, share, window, sinks):
    """The golden model's k is larger by the forced; by k the others are chosen."""
    method = Sparf(channels, share, window=window, sinks=sinks, besides=True)

    def golden(q, k, v):
        kept = int(share * len(k))
        want = sparf_attention(
            q, k, v, channels=channels, kept=kept + window + sinks, window=window, sinks=sinks
        )
        others = want.tokens[:, sinks : len(k) - window]
        assert (others.sum(dim=1) == min(kept, others.shape[1])).all()
        return want

    judge(method, *case(q_heads, kv_heads), golden)


@pytest.mark.parametrize("q_heads, kv_heads", GROUPS)
@pytest.mark.parametrize("share, window, sinks", [(1 / 3, 8, 2), (1 / 2, 5, 0), (1 / 40, 8, 1)])
@pytest.mark.parametrize(
    "first, unit, besides", [(0, 32, False), (FIRST, 64, False), (FIRST, 32, True)]
)
def test_bounds(q_heads, kv_heads, share, window, sinks, first, unit, besides):
    method = Bounds(share, unit, window, sinks, besides=besides)

    def golden(q, k, v):
        tokens = len(k)
        forced = int(forced_tokens(tokens, window, sinks).sum())
        return bounds_attention(
            q, k, v, kept=max(1, int(share * tokens)) + forced * besides,
            bounded=tokens // unit * unit, window=window, sinks=sinks,
        )  # fmt: skip

    judge(method, *case(q_heads, kv_heads, first=first), golden, first)


@pytest.mark.parametrize("ratio", [1 / 2, 1 / 16])
def test_local(ratio):
    judge(
        Local(ratio, 2), *case(4, 2),
        lambda q, k, v: local_attention(q, k, v, window=max(1, int(ratio * len(k)) - 2), sinks=2),
    )  # fmt: skip


def test_dense():
    q, k, v = case(6, 2)
    out, selected, _ = emulate(Dense(), q, k, v)
    for row in range(len(q)):
        want = attend(q[row], k[: FIRST + row + 1], v[: FIRST + row + 1])
        torch.testing.assert_close(out[row].double(), want, rtol=2e-4, atol=2e-5)


def test_equal_tokens_keep_the_first():
    q, k, v = case(4, 2)
    k[:] = k[0]
    _, selected, _ = emulate(Sparf(3, 1 / 4, window=2, sinks=1), q, k, v)
    lengths = torch.arange(FIRST, TOKENS) + 1
    for row, kept in enumerate(kept_of(1 / 4, lengths).tolist()):
        tokens = set(selected.tokens[0, row].nonzero().flatten().tolist())
        assert tokens == {*range(kept - 2), FIRST + row - 1, FIRST + row}


def test_largest_is_the_first_of_equals():
    rng = np.random.default_rng(3)
    keys = torch.from_numpy(rng.integers(0, 5, (2, 40, 12)).astype(np.float32))
    keys[keys == 0] = -torch.inf
    counts = torch.from_numpy(rng.integers(1, 15, 40))
    mask = largest(keys, counts)
    for head in range(2):
        for row, count in enumerate(counts.tolist()):
            values = keys[head, row]
            order = sorted(range(12), key=lambda n: (-values[n].item(), n))
            want = {n for n in order[:count] if values[n] > -torch.inf}
            assert set(mask[head, row].nonzero().flatten().tolist()) == want


@pytest.mark.parametrize("codeword", [64, 128])
def test_bytes_by_loops(codeword):
    """Codewords of 2 or 4 tokens, of 32 or 64 tokens of a channel."""
    layout = Layout(D, codeword)
    q, k, v = case(4, 2)
    for method in (
        Sparf(3, 1 / 8, window=4, besides=True),
        Bounds(1 / 3, 32, 4),
        Local(1 / 4),
        Dense(),
    ):
        _, selected, rows = emulate(method, q, k, v)
        moved = elements = 0
        for head in range(2):
            for row in range(len(q)):
                tokens = selected.tokens[head, row].nonzero().flatten().tolist()
                length = FIRST + row + 1
                moved += 2 * codeword * len({t // layout.codeword_tokens for t in tokens})
                elements += len(tokens) * 2 * D * 2
                if isinstance(method, Sparf):
                    moved += 3 * codeword * len({2 * t // codeword for t in range(length)})
                    elements += 3 * length * 2
                if isinstance(method, Bounds):
                    bounds, rest = length // 32 * 32 * D // 4, length % 32 * 2 * D
                    moved += codeword * (-(-bounds // codeword) + -(-rest // codeword))
                    elements += bounds + rest
        assert method.bytes_moved(rows, selected, layout) == (moved, elements)
        dense = 2 * 2 * sum(
            codeword * -(-length * 2 * D // codeword) for length in rows.lengths.tolist()
        )  # fmt: skip
        assert int(layout.dense(rows.lengths).sum()) * 2 == dense
        if type(method) is Dense:
            assert moved == dense


def test_forced_tokens_are_those_of_the_golden_model():
    from host.accuracy.selection import forced_of_lengths

    lengths = torch.tensor([1, 3, 7, 20])
    masks = forced_of_lengths(lengths, 20, 4, 2)
    for length, mask in zip(lengths.tolist(), masks, strict=True):
        assert mask[:length].equal(forced_tokens(length, 4, 2)) and not mask[length:].any()
