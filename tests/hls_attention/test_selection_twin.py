"""The whole selection of SparQ on the twin against float64: channels, temperature, keys, tokens."""

import ml_dtypes
import numpy as np
import pytest
import torch

from hls_attention import kernels
from hls_attention import selection_twin as twin
from hls_attention.formats import FP16, format_of, words_of
from hls_attention.twin import block_exponent

SEED = 31


def approximate_scores(q, k, mask, mant, exp):
    """What the engine's kernels make of the chosen channels alone: [heads, tokens]."""
    bf16, k_exp = int(format_of(q) is not FP16), block_exponent(k)
    scores = []
    for head, words in enumerate(words_of(q)):
        q_exp = block_exponent(q[head])
        qi = kernels.quantise_query.numpy(x=words[mask], q_exp=q_exp, bf16=bf16)["qi"]
        elements = kernels.element.numpy(x=words_of(k)[:, mask], block_exp=k_exp, bf16=bf16)
        product = kernels.product.numpy(qi=qi, a=0, drop=0, **elements)
        result = kernels.score.numpy(
            acc=(product["p"] + product["half"]).sum(axis=1),
            scale_mant=mant[head],
            scale_exp=exp[head],
            q_exp=q_exp,
            k_exp=k_exp,
            q_bf16=bf16,
            k_bf16=bf16,
        )
        assert not result["saturated"].any()
        scores.append(result["s"])
    return np.stack(scores)


def golden(q, k, r):
    """Softmaxed approximate scores, summed over the heads: SparQ in float64 and torch."""
    q, k = (torch.from_numpy(x.astype(np.float64)) for x in (q, k))
    chosen = q.abs().sum(dim=0).topk(r).indices
    temperature = (q.shape[1] * q[:, chosen].abs().sum(dim=1) / q.abs().sum(dim=1)).sqrt()
    logits = q[:, chosen] @ k[:, chosen].T / temperature[:, None]
    return logits.softmax(dim=1).sum(dim=0), chosen


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("heads, dim, r", [(1, 64, 8), (4, 128, 16), (8, 256, 64)])
@pytest.mark.parametrize("sharp", [0.3, 3.0])
def test_selection_against_float64(heads, dim, r, sharp, dtype):
    rng = np.random.default_rng(SEED)
    tokens, count = 1500, 190
    spread = np.exp(rng.standard_normal(dim))
    q = (rng.standard_normal((heads, dim)) * spread * sharp).astype(dtype)
    k = rng.standard_normal((tokens, dim)).astype(dtype)
    ideal, channels = golden(q, k, r)

    top = twin.top_channels(q, r)
    assert set(np.flatnonzero(top.mask)) == set(channels.tolist())
    scale = twin.temperature(dim**-0.5, top.q, top.q_r)
    s = approximate_scores(q, k, top.mask, *scale)
    m, inverse = twin.references(s), twin.reciprocals(twin.weight_sums(s))
    key = twin.selection_keys(s, m, *inverse)
    keep = twin.select(key, count)

    best = ideal.topk(count)
    lost = float((best.values.sum() - ideal[torch.from_numpy(keep)].sum()) / best.values.sum())
    missed = len(set(best.indices.tolist()) - set(np.flatnonzero(keep).tolist()))
    if heads > 1:
        found = twin.key_value(key)
        large = ideal.numpy() > 2.0**-30
        error = np.abs(found / ideal.numpy() - 1)[large].max()
        print(f"{heads} heads, {dim}, sharp {sharp}: key error {error:.2g}, mass lost {lost:.2g}")
        assert error < 1e-4
    assert abs(lost) < 1e-6 and missed <= 1
