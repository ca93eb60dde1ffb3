"""The sparse twin against dense attention, torch's top-k, the golden model, and kernels by hand."""

import ml_dtypes
import numpy as np
import pytest
import torch

from cosim.golden_sparse import sparf_attention
from hls_attention import bounds_code, kernels, selection_twin, sparse_twin, twin
from hls_attention.formats import FP16, format_of, words_of

BF16 = ml_dtypes.bfloat16
SEED = 41
ERROR = {np.float16: 1e-3, BF16: 6e-3}
"""Relative L2 error of a head against float64: one rounding of the result, and the dense twin's."""

MASS = 1e-5
"""Of the estimated softmax, what a selection that differs from that in float64 may lose."""


def random_case(rng, tokens=300, dim=64, heads=3, sharp=2.0, dtype=np.float16):
    spread = np.exp(0.7 * rng.standard_normal(dim))
    q = rng.standard_normal((heads, dim)) * spread * sharp
    k, v = rng.standard_normal((2, tokens, dim))
    return *(x.astype(dtype) for x in (q, k, v)), dim**-0.5


def as_tensor(x):
    words = torch.from_numpy(np.ascontiguousarray(x).view(np.uint16))
    return words.view(torch.float16 if x.dtype == np.float16 else torch.bfloat16)


def golden(q, k, v, scale, **selection):
    k, v = (as_tensor(x)[:, None] for x in (k, v))
    return sparf_attention(as_tensor(q), k, v, scale=scale, mean_value=False, **selection)


def same(a, b):
    assert a.out.tobytes() == b.out.tobytes() and a.out.dtype == b.out.dtype
    assert (a.saturated, a.nonfinite) == (b.saturated, b.nonfinite)


@pytest.mark.parametrize("dtype", [np.float16, BF16])
@pytest.mark.parametrize("kept", [300, 301, 1 << 32])
def test_dense_where_all_is_kept(dtype, kept):
    case = random_case(np.random.default_rng(SEED), dtype=dtype)
    selection = {"channels": 5, "kept": kept, "sinks": 4, "window": 9, "pass_tokens": 64}
    same(sparse_twin.attend(*case, **selection), twin.attend(*case, pass_tokens=64))


@pytest.mark.parametrize("heads", [1, 4])
def test_partials_over_all_kept_tokens_are_dense(heads):
    """The sparse path itself, with a token fewer than there are that no query looks at."""
    q, k, v, scale = random_case(np.random.default_rng(SEED), heads=heads)
    k[17] = -60 * np.sign(q.astype(float).sum(axis=0))
    others = np.arange(300) != 17
    found = sparse_twin.attend(q, k, v, scale, channels=64, kept=299)
    assert np.array_equal(sparse_twin.choose(q, k, scale, channels=64, kept=299).keep, others)
    exponents = {"k_exp": twin.block_exponent(k), "v_exp": twin.block_exponent(v)}
    same(found, twin.merge([twin.partial(q, k[others], v[others], scale, **exponents)]))


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_all_channels_estimate_the_exact_scores(heads):
    """r = d leaves the scale as it is, but for the error of the temperature."""
    q, k, _, scale = random_case(np.random.default_rng(SEED), heads=heads)
    estimates = sparse_twin.choose(q, k, scale, channels=64, kept=9).scores
    mant, exp = twin.encode_scale(scale)
    exact, _ = twin.scores(q, k, (mant, exp), k_exp=twin.block_exponent(k))
    np.testing.assert_allclose(estimates, exact, rtol=2.2e-6, atol=1)


@pytest.mark.parametrize("dtype", [np.float16, BF16])
@pytest.mark.parametrize(("heads", "dim", "r"), [(1, 64, 1), (2, 64, 8), (3, 128, 16), (4, 128, 9)])
def test_estimates_by_hand(heads, dim, r, dtype):
    """Kernel by kernel, with queries set to 0 outside the channels, pass by pass."""
    q, k, _, scale = random_case(np.random.default_rng(SEED + r), 150, dim, heads, dtype=dtype)
    choice = sparse_twin.choose(q, k, scale, channels=r, kept=20, pass_tokens=64)
    top = selection_twin.top_channels(q, r)
    mant, exp = selection_twin.temperature(scale, top.q, top.q_r)
    bf16, wanted = int(format_of(q) is not FP16), np.empty((heads, 150), np.int64)
    for at in range(0, 150, 64):
        part, k_exp = k[at : at + 64], twin.block_exponent(k[at : at + 64])
        elements = kernels.element.numpy(x=words_of(part), block_exp=k_exp, bf16=bf16)
        for h in range(heads):
            q_exp = twin.block_exponent(q[h])
            qi = kernels.quantise_query.numpy(x=words_of(q[h]), q_exp=q_exp, bf16=bf16)["qi"]
            qi = qi * top.mask
            product = kernels.product.numpy(qi=qi, a=0, drop=0, **elements)
            found = kernels.score.numpy(
                acc=(product["p"] + product["half"]).sum(axis=1),
                scale_mant=mant[h],
                scale_exp=exp[h],
                q_exp=q_exp,
                k_exp=k_exp,
                q_bf16=bf16,
                k_bf16=bf16,
            )
            wanted[h, at : at + 64] = found["s"]
    assert np.array_equal(choice.channels, top.mask) and choice.channels.sum() == r
    assert np.array_equal(choice.scores, wanted)
    best = torch.sort(torch.from_numpy(choice.keys), descending=True, stable=True).indices[:20]
    assert set(best.tolist()) == set(np.flatnonzero(choice.keep))


def bounds_by_hand(k, bounded):
    """Bounds of the units of 4 tokens, in float64."""
    low, high = [], []
    codes = bounds_code.encode(k[:bounded])
    for unit in range(-(-len(k) // 4)):
        tokens = k[4 * unit : 4 * unit + 4].astype(float)
        pair = tokens.min(axis=0), tokens.max(axis=0)
        if 4 * unit < bounded:
            block = unit // 8 * 8
            code = codes[block : block + 8].astype(int)
            step = 2.0 ** ((code >> 7) * 2 ** np.arange(8)[:, None]).sum(axis=0)
            step /= 2.0 ** format_of(k).bias
            least = (code[unit - block] & 15 ^ 8) - 8
            pair = least * step, (least + (code[unit - block] >> 4 & 7)) * step
        low.append(pair[0])
        high.append(pair[1])
    return np.array(low), np.array(high)


@pytest.mark.parametrize("dtype", [np.float16, BF16])
@pytest.mark.parametrize(
    ("heads", "dim", "bounded", "tokens"),
    [(1, 64, 0, 150), (2, 64, 96, 96), (3, 128, 128, 157), (4, 64, 64, 190), (2, 64, 0, 3)],
)
def test_estimates_from_bounds(heads, dim, bounded, tokens, dtype):
    """A score is the largest that a token within the bounds of its unit can have."""
    q, k, _, scale = random_case(np.random.default_rng(SEED), tokens, dim, heads, dtype=dtype)
    choice = sparse_twin.choose(q, k, scale, bounded=bounded, kept=20, pass_tokens=64)
    low, high = bounds_by_hand(k, bounded)
    wanted = np.zeros((heads, tokens))
    for head, token in np.ndindex(wanted.shape):
        for x, least, most in zip(q[head].astype(float), low[token // 4], high[token // 4]):
            wanted[head, token] += max(x * least, x * most)
    wanted *= scale * np.log2(np.e)
    np.testing.assert_allclose(choice.scores / 2**16, wanted, rtol=2.5e-6, atol=2**-15)
    assert choice.channels.all() and choice.keep.sum() == min(20, tokens)
    exact = (q.astype(float) @ k.astype(float).T) * scale * np.log2(np.e)
    assert (choice.scores / 2**16 >= exact - 1e-3)[:, bounded:].all()


def test_a_bound_above_all_elements_of_its_pass():
    """Rounded to nearest a bound may have an exponent that no element of the pass has."""
    q, k = np.full((1, 64), 1.0, np.float16), np.full((32, 64), 1.999, np.float16)
    found = sparse_twin.choose(q, k, 2**-6, bounded=32, kept=1).scores
    np.testing.assert_allclose(found / 2**16, 2 * np.log2(np.e), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, BF16])
@pytest.mark.parametrize("bounded", [0, 64, 192])
def test_attention_over_what_bounds_choose(bounded, dtype):
    q, k, v, scale = random_case(np.random.default_rng(SEED), tokens=201, dtype=dtype)
    how = {"bounded": bounded, "kept": 50, "sinks": 2, "window": 5, "pass_tokens": 64}
    found = sparse_twin.attend(q, k, v, scale, **how)
    keep = sparse_twin.choose(q, k, scale, **how).keep
    assert keep.sum() == 50 and keep[:2].all() and keep[-5:].all()
    assert np.array_equal(found.choice.keep, keep)
    assert not np.array_equal(keep, sparse_twin.choose(q, k, scale, channels=64, kept=50).keep)
    logits = (q.astype(float) @ k[keep].astype(float).T) * scale
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    ideal = weights / weights.sum(axis=1, keepdims=True) @ v[keep].astype(float)
    error = np.linalg.norm(found.out.astype(float) - ideal, axis=1)
    assert (error < ERROR[dtype] * np.linalg.norm(ideal, axis=1)).all()
    same(
        sparse_twin.attend(q, k, v, scale, bounded=bounded, kept=201, pass_tokens=64),
        twin.attend(q, k, v, scale, pass_tokens=64),
    )


@pytest.mark.parametrize("dtype", [np.float16, BF16])
@pytest.mark.parametrize("pass_tokens", [64, 512])
@pytest.mark.parametrize(
    ("heads", "dim", "r", "kept"),
    [(1, 64, 8, 40), (2, 128, 16, 64), (3, 64, 24, 37), (4, 128, 8, 90)],
)
def test_against_the_golden_model(heads, dim, r, kept, pass_tokens, dtype):
    q, k, v, scale = random_case(
        np.random.default_rng(SEED + heads), 400, dim, heads, sharp=1.0, dtype=dtype
    )
    selection = {"channels": r, "kept": kept, "sinks": 2, "window": 16}
    choice = sparse_twin.choose(q, k, scale, **selection, pass_tokens=pass_tokens)
    found = sparse_twin.attend(q, k, v, scale, **selection, pass_tokens=pass_tokens)
    assert np.array_equal(found.choice.keep, choice.keep)
    ideal = golden(q, k, v, scale, **selection)
    assert np.array_equal(choice.channels, ideal.channels[0].numpy())
    assert choice.keep.sum() == ideal.tokens.sum() == kept
    if not np.array_equal(choice.keep, ideal.tokens[0].numpy()):
        share = torch.from_numpy(selection_twin.key_value(choice.keys))
        lost = share[ideal.tokens[0]].sum() - share[torch.from_numpy(choice.keep)].sum()
        assert abs(lost) < MASS * share.sum()
        return
    error = np.linalg.norm(found.out.astype(float) - ideal.out.numpy(), axis=1)
    assert (error < ERROR[dtype] * np.linalg.norm(ideal.out.numpy(), axis=1)).all()


def test_equal_keys_go_to_the_first_tokens():
    q, k, v, scale = random_case(np.random.default_rng(SEED), tokens=90)
    k[:] = k[0]
    keep = sparse_twin.choose(q, k, scale, channels=4, kept=20, sinks=3, window=5).keep
    assert np.array_equal(np.flatnonzero(keep), [*range(15), *range(85, 90)])
    ideal = golden(q, k, v, scale, channels=4, kept=20, sinks=3, window=5)
    assert np.array_equal(keep, ideal.tokens[0].numpy())
    found = sparse_twin.attend(q, k, v, scale, channels=4, kept=20, sinks=3, window=5)
    mean = v[keep].astype(float).mean(axis=0)
    np.testing.assert_allclose(found.out.astype(float), np.tile(mean, (3, 1)), atol=1e-3)


def test_more_forced_than_kept():
    """Of the tokens that are forced the ones with the largest keys."""
    q, k, _, scale = random_case(np.random.default_rng(SEED))
    choice = sparse_twin.choose(q, k, scale, channels=16, kept=6, sinks=4, window=32)
    forced = [*range(4), *range(268, 300)]
    best = sorted(forced, key=lambda token: (-choice.keys[token], token))[:6]
    assert set(np.flatnonzero(choice.keep)) == set(best)


@pytest.mark.parametrize("dtype", [np.float16, BF16])
def test_a_pass_of_which_nothing_is_kept(dtype):
    """It has no weight, but its place: sums are aligned as those of all passes are."""
    q, k, v, scale = random_case(np.random.default_rng(SEED), tokens=200, dtype=dtype)
    k[64:128] = (-8 * np.sign(q.astype(float).sum(axis=0))).astype(dtype)
    v[64:128] *= dtype(64)
    selection = {"channels": 32, "kept": 30, "pass_tokens": 64}
    keep = sparse_twin.choose(q, k, scale, **selection).keep
    assert not keep[64:128].any() and keep[:64].any() and keep[128:].any()
    found = sparse_twin.attend(q, k, v, scale, **selection)
    ideal = golden(q, k, v, scale, channels=32, kept=30)
    assert np.array_equal(keep, ideal.tokens[0].numpy())
    error = np.linalg.norm(found.out.astype(float) - ideal.out.numpy(), axis=1)
    assert (error < ERROR[dtype] * np.linalg.norm(ideal.out.numpy(), axis=1)).all()
    cuts = [slice(at, at + 64) for at in range(0, 200, 64)]
    parts = [twin.partial(q, k[cut], v[cut], scale, keep=keep[cut]) for cut in cuts]
    empty = parts[1]
    assert (empty.m == -65536).all() and not empty.l.any() and not empty.o.any()
    assert (empty.v_exp == twin.partial(q, k[cuts[1]], v[cuts[1]], scale).v_exp).all()
    same(found, twin.merge(parts, dtype=dtype))
    same(found, twin.merge([parts[0], parts[2], parts[3]], dtype=dtype))
    # One pass alone with anything in it is still the sum of two.
    kept = np.arange(200) < 9
    parts = [twin.partial(q, k[cut], v[cut], scale, keep=kept[cut]) for cut in cuts[:2]]
    np.testing.assert_allclose(
        twin.merge(parts).quotient, twin.merge(parts[:1]).quotient, rtol=1e-6, atol=1e-9
    )


def test_block_exponents_are_those_of_all_tokens():
    q, k, v, scale = random_case(np.random.default_rng(SEED), tokens=100)
    v[50] = 60000
    keep = np.arange(100) < 20
    part = twin.partial(q, k, v, scale, keep=keep)
    own = twin.partial(q, k[keep], v[keep], scale, v_exp=29, k_exp=twin.block_exponent(k))
    assert (part.v_exp == 29).all() and np.array_equal(part.o, own.o)


@pytest.mark.parametrize("kept", [10, 1000])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("where", ["q", "k", "v"])
def test_infinities_and_nans_poison_all_heads_that_choose_together(where, bad, kept):
    arrays = dict(zip(("q", "k", "v", "scale"), random_case(np.random.default_rng(SEED))))
    arrays[where][1, 3] = bad
    result = sparse_twin.attend(**arrays, channels=8, kept=kept, pass_tokens=64)
    assert result.nonfinite and not result.saturated
    assert (result.out.view(np.uint16) == 0x7E00).all() and np.isnan(result.quotient).all()


def test_only_scores_of_kept_tokens_saturate():
    q, k, v, _ = random_case(np.random.default_rng(SEED), heads=1)
    q[:], k[:] = 1, 0.001
    k[5] = -2000
    scale = 1.0
    assert twin.attend(q, k, v, scale).saturated
    assert not sparse_twin.attend(q, k, v, scale, channels=64, kept=9).saturated
    assert sparse_twin.attend(q, k, v, scale, channels=64, kept=9, sinks=6).saturated


def test_queries_of_zero():
    """No channel says anything: the first tokens are kept, and weigh the same."""
    q, k, v, scale = random_case(np.random.default_rng(SEED))
    q[:] = 0
    choice = sparse_twin.choose(q, k, scale, channels=8, kept=7)
    assert np.array_equal(np.flatnonzero(choice.channels), range(8)) and not choice.scores.any()
    assert np.array_equal(np.flatnonzero(choice.keep), range(7))


def test_sums_of_weights_of_the_longest_sequence():
    """131072 equal tokens: the sum before it is cut is 2**63."""
    s = np.zeros((2, 131_072), np.int64)
    s[1, 1:] = -12345
    z = selection_twin.weight_sums(s)
    terms = kernels.weight.numpy(s=s, m=np.array([[0], [0]]))["term"]
    assert z.tolist() == [sum(map(int, row)) // 4 for row in terms] and z[0] == 1 << 61


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 0}, r"channels must be in 1\.\.64, the head_dim, got 0"),
        ({"channels": 65}, "got 65"),
        ({"kept": 0}, "kept must be 1 or more, got 0"),
        ({"sinks": -1}, "sinks must be 0 or more, got -1"),
        ({"window": -2}, "window must be 0 or more, got -2"),
        ({"pass_tokens": 100}, "pass_tokens must be a power of two"),
        ({"channels": None}, "give channels or bounded, got None and None"),
        ({"bounded": 0}, "give channels or bounded, got 8 and 0"),
        ({"channels": None, "bounded": 33}, r"a multiple of 32 in 0\.\.20, got 33"),
        ({"channels": None, "bounded": 32}, "got 32"),
    ],
)
def test_errors(change, message):
    case = random_case(np.random.default_rng(SEED), tokens=20)
    with pytest.raises(ValueError, match=message):
        sparse_twin.attend(*case, **{"channels": 8, "kept": 4, **change})
