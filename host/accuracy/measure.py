"""How far a model with sparse attention is from itself with dense attention, on windows of text.

The first ``first`` tokens of a window are read with dense attention, as prefill is on the host;
each later position attends by a method, as a decode step in the drive would, and its prediction of
the next token is compared with that of dense attention and with the text (teacher forcing).
"""

import math

import torch
from transformers import DynamicCache

from .emulation import emulated
from .tally import Tally

__all__ = ["Prefix", "measure_text"]

ROWS = 128
"""Predictions compared at a time: a vocabulary of 100,000 takes 50 MB."""


class Prefix:
    """The beginning of a window, read with dense attention, once for all methods.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    tokens : torch.Tensor
        [tokens], one or more.
    """

    @torch.no_grad()
    def __init__(self, model, tokens):
        self._model = model
        self._cache = DynamicCache(config=model.config)
        model(tokens[None], past_key_values=self._cache, logits_to_keep=1)

    @torch.no_grad()
    def logits(self, tokens):
        """float32 [tokens, vocabulary] after each of the tokens that follow the prefix."""
        out = self._model(tokens[None], past_key_values=self._cache).logits[0].float()
        self._cache.crop(-len(tokens))
        return out


def measure_text(model, windows, first, cases, layout, watch=lambda text: None):
    """Rows of figures, that of dense attention first.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    windows : torch.Tensor
        Token ids [windows, tokens].
    first : int
        First position scored, 1..tokens - 2.
    cases : list of host.accuracy.cases.Case
    layout : host.accuracy.ratio.Layout
    watch : callable, optional
        Called with what is done next.

    Returns
    -------
    list of dict
        ``method``, ``ratio`` (nominal), ``moved`` and ``elements`` (bytes over those of dense
        attention), ``nll`` (nats a token), ``perplexity``, ``change`` (of it, over dense), ``kl``
        (nats a token, from dense), ``top1`` (share of predictions that are dense attention's),
        and ``windows``: nll, kl and top1 of each.
    """
    tally = Tally(cases)
    for number, tokens in enumerate(windows):
        place = f"window {number + 1} of {len(windows)}"
        watch(f"{place}: dense")
        prefix, rest, targets = Prefix(model, tokens[:first]), tokens[first:-1], tokens[first + 1 :]
        dense = torch.log_softmax(prefix.logits(rest), dim=-1)
        tally.add_dense(_scores(dense, dense, targets))
        for method in tally.methods:
            watch(f"{place}: {tally.title(method)}")
            with emulated(model, method, layout) as run:
                logits = prefix.logits(rest)
            tally.add(run, _scores(logits, dense, targets))
    rows = list(tally.rows(_means))
    for row in rows:
        row["change"] = row["perplexity"] / rows[0]["perplexity"] - 1
    return rows


def _scores(logits, dense, targets):
    """Mean nll, KL from dense and top-1 agreement of a window's predictions."""
    sums = torch.zeros(3, dtype=torch.float64)
    parts = zip(logits.split(ROWS), dense.split(ROWS), targets.split(ROWS), strict=True)
    for mine, theirs, wanted in parts:
        mine = torch.log_softmax(mine, dim=-1)
        sums[0] -= mine.gather(1, wanted[:, None]).double().sum()
        sums[1] += (theirs.exp() * (theirs - mine)).double().sum()
        sums[2] += (mine.argmax(dim=-1) == theirs.argmax(dim=-1)).sum()
    nll, kl, top1 = (sums / len(targets)).tolist()
    return {"nll": nll, "kl": kl, "top1": top1}


def _means(windows):
    """Means over windows, which have equally many predictions each."""
    means = {
        name: sum(window[name] for window in windows) / len(windows)
        for name in ("nll", "kl", "top1")
    }
    return {**means, "perplexity": math.exp(means["nll"]), "windows": windows}
