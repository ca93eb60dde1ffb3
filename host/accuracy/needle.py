"""Needles in text: a number that was said once, long ago, asked for at the end.

::

    ... text ... The secret number of Lisbon is 48213. ... text ...
    Question: What is the secret number of Lisbon? Answer: The secret number of Lisbon is 48213
    <-------- dense, as prefill --------><----------------- by the method ------------------->

With several keys there are as many sentences, each of another town, and one is asked for. The
answer is found if every token of it is the model's first choice: what greedy decoding would give.
"""

import random

import torch

from ..options import BadOption
from .emulation import emulated
from .measure import Prefix
from .tally import Tally
from .windows import text_tokens

__all__ = ["TOWNS", "Trial", "make_trials", "measure_needles"]

TOWNS = "Lisbon Oslo Cairo Lima Quito Delhi Perth Turin".split()
FACT = " The secret number of {town} is {number}. "
QUESTION = "\nQuestion: What is the secret number of {town}? Answer: The secret number of {town} is"
DIGITS = 5


class Trial:
    """One haystack with its question.

    Attributes
    ----------
    prefix, question, answer : torch.Tensor
        Token ids.
    """

    def __init__(self, prefix, question, answer):
        self.prefix, self.question, self.answer = prefix, question, answer


def make_trials(tokenizer, tokens, lead, length, count, keys, seed):
    """Trials whose needles lie evenly over the depth.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
    tokens : torch.Tensor
        Ids of the text around the needles; begun anew where it ends.
    lead : torch.Tensor
        Ids that each haystack begins with.
    length : int
        Tokens of haystack and question.
    count, keys : int
        Trials; sentences in each.
    seed : int
        Of numbers, towns and places of the other sentences.
    """
    if not 1 <= keys <= len(TOWNS):
        raise BadOption(f"--keys {keys} is not possible: choose 1..{len(TOWNS)}")
    draw = random.Random(seed)
    return [
        _trial(tokenizer, tokens, lead, length, (n + 0.5) / count, keys, draw) for n in range(count)
    ]


def _trial(tokenizer, tokens, lead, length, depth, keys, draw):
    towns = draw.sample(TOWNS, keys)
    numbers = ["".join(draw.choices("123456789", k=DIGITS)) for _ in towns]
    facts = [
        text_tokens(tokenizer, FACT.format(town=town, number=number))
        for town, number in zip(towns, numbers, strict=True)
    ]
    asked = QUESTION.format(town=towns[0])
    question = text_tokens(tokenizer, asked)
    whole = text_tokens(tokenizer, f"{asked} {numbers[0]}")
    if not whole[: len(question)].equal(question):
        raise BadOption("this model's tokenizer joins question and answer: needles cannot be asked")
    room = length - len(lead) - len(question) - sum(map(len, facts))
    if room < 1:
        raise BadOption(
            f"--window {length} has no room for {keys} sentences and a question: give "
            f"{length - room + 1} or more, or fewer --keys"
        )
    hay = tokens.repeat(-(-room // len(tokens)))[:room]
    depths = [depth, *(draw.random() for _ in facts[1:])]
    pieces, last = [lead], 0
    for where, fact in sorted(zip(depths, facts, strict=True), key=lambda pair: pair[0]):
        place = int(where * room)
        pieces += [hay[last:place], fact]
        last = place
    pieces.append(hay[last:])
    return Trial(torch.cat(pieces), question, whole[len(question) :])


def measure_needles(model, trials, cases, layout, watch=lambda text: None):
    """Rows of figures, that of dense attention first.

    Parameters
    ----------
    model, cases, layout, watch
        As of `host.accuracy.measure.measure_text`.
    trials : list of Trial

    Returns
    -------
    list of dict
        ``method``, ``ratio``, ``moved``, ``elements``; ``found`` of ``trials`` answers, and
        ``right``, the share of their tokens that were the model's first choice.
    """
    tally = Tally(cases)
    for number, trial in enumerate(trials):
        place = f"needle {number + 1} of {len(trials)}"
        watch(f"{place}: dense")
        prefix = Prefix(model, trial.prefix)
        tally.add_dense(_hits(prefix, trial))
        for method in tally.methods:
            watch(f"{place}: {tally.title(method)}")
            with emulated(model, method, layout) as run:
                hits = _hits(prefix, trial)
            tally.add(run, hits)
    return list(tally.rows(_found))


def _hits(prefix, trial):
    """bool [answer]: tokens of the answer that are the model's first choice."""
    logits = prefix.logits(torch.cat([trial.question, trial.answer[:-1]]))
    return logits[len(trial.question) - 1 :].argmax(dim=-1) == trial.answer


def _found(hits):
    return {
        "found": sum(bool(hit.all()) for hit in hits),
        "trials": len(hits),
        "right": float(torch.cat(hits).float().mean()),
    }
