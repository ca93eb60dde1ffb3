"""``golden.h``: an attend for the bring-up test, with its result by two models.

The twin says which bits the drive gives, the golden model in PyTorch what attention is.
"""

import random

import numpy as np
import torch

from cosim import golden
from cosim.reference import encode_scale, twin_attend

__all__ = ["golden_vectors"]

HEAD_DIM = 64
REST = 3
"""Tokens beyond whole groups: they stay in the tail."""

SEED = 7
SCALE = HEAD_DIM**-0.5

_TEXT = """\
/*
 * Golden vectors of the bring-up test: tokens of one KV head and queries, FP16, 4 to a word.
 * Generated: golden_bits by the bit-exact model of the gateware, golden_attention by attention in
 * float64, rounded once.
 */
#ifndef INSTINFER_GOLDEN_H
#define INSTINFER_GOLDEN_H

#include <stdint.h>

#define GOLDEN_HEAD_DIM {head_dim}u
#define GOLDEN_TOKENS {tokens}u
#define GOLDEN_PAGES {pages}u /* of flash: the other tokens are in the tail */
#define GOLDEN_QUERIES {queries}u
#define GOLDEN_SCALE_MANT {mant}u
#define GOLDEN_SCALE_EXP {exp}u
#define GOLDEN_TOLERANCE {tolerance} /* in 2^-24, off golden_attention */
#define GOLDEN_KV_WORDS {kv_words}u
#define GOLDEN_Q_WORDS {q_words}u

/* K [tokens][head_dim], V [tokens][head_dim] */
static const uint64_t golden_kv[GOLDEN_KV_WORDS] = {{
{kv}}};

/* [queries][head_dim] */
static const uint64_t golden_q[GOLDEN_Q_WORDS] = {{
{q}}};

static const uint64_t golden_bits[GOLDEN_Q_WORDS] = {{
{bits}}};

static const uint64_t golden_attention[GOLDEN_Q_WORDS] = {{
{attention}}};

#endif
"""


def golden_vectors(config, *, groups=None):
    """Text of ``golden.h``.

    Parameters
    ----------
    config : rtl.config.DriveConfig
    groups : int, optional
        Token groups on flash, two pages each, on one channel after the other; 1 up to what fits one
        command and a block of each die. If not given, one for each channel, or what fits.

    Returns
    -------
    str
    """
    geometry = config.flash.geometry
    group = config.group_tokens(HEAD_DIM)
    held = min(config.max_tokens, config.max_transfer // (4 * HEAD_DIM)) - REST
    most = min(held // group, geometry.channels * (geometry.dies * geometry.pages // 2))
    groups = max(1, min(geometry.channels, most)) if groups is None else groups
    tokens = group * groups + REST
    if not 1 <= groups <= most:
        raise ValueError(
            f"groups = {groups} is not possible: they and {REST} tokens make {tokens} tokens, of "
            f"{config.max_tokens}, and {4 * HEAD_DIM * tokens} bytes, of {config.max_transfer} in "
            f"one command, on {geometry.channels} channels of {geometry.dies} blocks of "
            f"{geometry.pages} pages: choose fewer, 1 at least"
        )
    rng = random.Random(SEED)
    queries = min(2, config.max_queries_per_kv)
    q, k, v = (
        np.array([rng.gauss(0, 1) for _ in range(n * HEAD_DIM)], np.float16).reshape(n, HEAD_DIM)
        for n in (queries, tokens, tokens)
    )
    bits = twin_attend(q, k, v, SCALE, pass_tokens=config.pass_tokens).out
    keys, values = (torch.from_numpy(x)[:, None] for x in (k, v))
    attention = golden.attend_rounded(torch.from_numpy(q), keys, values, SCALE).numpy()
    largest = float(np.abs(attention.astype(np.float64)).max())
    tolerance = 2 * int(np.spacing(np.float16(largest)).astype(np.float64) * 2**24)
    mant, exp = encode_scale(SCALE)
    return _TEXT.format(
        head_dim=HEAD_DIM,
        tokens=tokens,
        queries=queries,
        pages=2 * groups,
        mant=mant,
        exp=exp & 63,
        tolerance=tolerance,
        kv_words=(k.nbytes + v.nbytes) // 8,
        q_words=q.nbytes // 8,
        kv=_words(np.stack([k, v])),
        q=_words(q),
        bits=_words(bits),
        attention=_words(attention),
    )


def _words(array):
    """Elements of an initialiser, 64 bits each."""
    words = [f"0x{word:016x}," for word in array.ravel().view("<u8").tolist()]
    return "".join("    " + " ".join(words[n : n + 4]) + "\n" for n in range(0, len(words), 4))
