"""Sparse attention under a small model: as decoding token by token; figures by hand."""

import pytest
import torch
from transformers import DynamicCache

from host.accuracy.cases import Case
from host.accuracy.emulation import emulated
from host.accuracy.measure import measure_text
from host.accuracy.methods import Bounds, Dense, Local, Sparf
from host.accuracy.ratio import Layout
from host.support import UnsupportedModel
from tests.host.small_models import make

LAYOUT = Layout(64, 512)
FIRST, TOKENS = 40, 75
METHODS = [
    Sparf(8, 1 / 8, window=6, sinks=2),
    Sparf(16, 1 / 4, mean_value=False, window=6, sinks=2),
    Sparf(8, 1 / 8, window=6, sinks=2, besides=True),
    Bounds(1 / 3, 32, window=6, sinks=2),
    Local(1 / 4),
]


@pytest.fixture(scope="module", params=[1, 3], ids=["g3", "g1"])
def model(request):
    return make("Llama", num_key_value_heads=request.param)


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(1, 300, (TOKENS,), generator=torch.Generator().manual_seed(3))


def logits(model, pieces):
    """Of the last tokens, after a dense prefix and pieces of tokens."""
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        return torch.cat([model(piece[None], past_key_values=cache).logits[0] for piece in pieces])


def test_dense_is_the_models_own_attention(model, tokens):
    want = logits(model, [tokens])
    with emulated(model, Dense(), LAYOUT) as run:
        got = logits(model, [tokens])
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)
    assert run.fraction == 1
    torch.testing.assert_close(logits(model, [tokens]), want)  # it has its own again


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_all_positions_at_once_are_steps_of_decoding(model, tokens, method):
    with emulated(model, method, LAYOUT) as at_once:
        want = logits(model, [tokens])
    with emulated(model, method, LAYOUT) as steps:
        got = logits(model, tokens.split(1))
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)
    counts = [(run.moved, run.elements, run.dense) for run in (at_once, steps)]
    assert counts[0] == counts[1]
    assert (want - logits(model, [tokens])).abs().max() > 1e-2  # and it is not dense attention


def test_what_cannot_be_emulated_is_refused(tokens):
    mistral = make("Mistral", sliding_window=8)
    with emulated(mistral, Dense(), LAYOUT), pytest.raises(UnsupportedModel, match="window of 8"):
        logits(mistral, [tokens])
    gemma = make("Gemma2")
    with emulated(gemma, Dense(), LAYOUT), pytest.raises(UnsupportedModel, match="softcap"):
        logits(gemma, [tokens[:20]])


def test_figures(model, tokens):
    """Perplexity, KL and agreement, from logits of the whole window in float64."""
    windows = torch.stack([tokens, tokens.flip(0)])
    method = Local(1 / 4)
    dense, row = measure_text(model, windows, FIRST, [Case("local", 0.25, method)], LAYOUT)
    nll, kl, same = [], [], []
    for window in windows:
        pieces = window[:FIRST], window[FIRST:-1]
        reference = torch.log_softmax(logits(model, pieces)[FIRST:].double(), dim=1)
        cache = DynamicCache(config=model.config)
        with torch.no_grad():
            model(pieces[0][None], past_key_values=cache)
            with emulated(model, method, LAYOUT):
                mine = model(pieces[1][None], past_key_values=cache).logits[0].double()
        mine = torch.log_softmax(mine, dim=1)
        nll += [-mine[n, token].item() for n, token in enumerate(window[FIRST + 1 :])]
        kl += (reference.exp() * (reference - mine)).sum(dim=1).tolist()
        same += (reference.argmax(dim=1) == mine.argmax(dim=1)).tolist()
    count = 2 * (TOKENS - 1 - FIRST)
    assert len(nll) == len(kl) == count
    assert row["nll"] == pytest.approx(sum(nll) / count, rel=1e-4)
    assert row["kl"] == pytest.approx(sum(kl) / count, rel=1e-3)
    assert row["top1"] == pytest.approx(sum(same) / count)
    assert dense["kl"] == pytest.approx(0, abs=1e-6) and dense["top1"] == 1
    assert row["change"] == pytest.approx(row["perplexity"] / dense["perplexity"] - 1)
    assert len(row["windows"]) == 2 and 0 < row["elements"] <= row["moved"] < 0.4
