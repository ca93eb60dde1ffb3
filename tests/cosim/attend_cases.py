"""The table of attends on which gateware and twin must agree: axes, a cover of all pairs, data."""

import itertools
import random

import numpy as np

__all__ = ["AXES", "full_cross", "pairwise", "tensors"]

AXES = {
    "tokens": (1, 2, 63, 64, 65, 1000, 8192),
    "head_dim": (64, 128),
    "queries": (1, 3, 4),
    "scores": ("flat", "normal", "sharp"),
    "v_scale": (2.0**-12, 1.0, 2.0**10),
    "outlier": (False, True),
    "channels": (1, 2, 4, 8),
}

SHARPNESS = {"flat": 0.02, "normal": 1.0, "sharp": 6.0}


def full_cross():
    """Every case, as dicts."""
    return [dict(zip(AXES, values)) for values in itertools.product(*AXES.values())]


def pairwise(seed=0):
    """A small set of cases in which every pair of values of two axes occurs; greedy, repeatable."""
    names = list(AXES)
    rng = random.Random(seed)
    missing = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(names, 2)
        for x in AXES[a]
        for y in AXES[b]
    }
    cases = []
    while missing:
        best, covered = None, set()
        for _ in range(200):
            (a, x), (b, y) = rng.choice(sorted(missing, key=repr))
            case = {n: rng.choice(AXES[n]) for n in names} | {a: x, b: y}
            hits = missing & {
                ((a, case[a]), (b, case[b])) for a, b in itertools.combinations(names, 2)
            }
            if len(hits) > len(covered):
                best, covered = case, hits
        cases.append(best)
        missing -= covered
    return cases


def tensors(case, seed):
    """q [queries, d], k and v [tokens, 1, d] of a case, float16, and what the seed was."""
    rng = np.random.default_rng(seed)
    d, tokens, queries = case["head_dim"], case["tokens"], case["queries"]
    q = rng.standard_normal((queries, d)) * SHARPNESS[case["scores"]]
    if case["outlier"]:
        q[:, rng.integers(d)] *= 64
    k = rng.standard_normal((tokens, 1, d))
    v = rng.standard_normal((tokens, 1, d)) * case["v_scale"]
    return q.astype(np.float16), k.astype(np.float16), v.astype(np.float16)
