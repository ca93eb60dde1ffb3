"""The same prompt and the same tokens on other backends: do they agree, and by how much not."""

import torch

from .decode import float_logits, generate, generate_batch

__all__ = ["compare_float", "compare_rows", "compare_runs", "same_batch_path", "same_path"]


def same_path(model, tokenizer, drive, run):
    """`run` again on another drive, following its tokens (teacher forcing), logits kept."""
    return generate(
        model,
        tokenizer,
        drive,
        run.prompt_ids,
        len(run.tokens),
        attention=run.attention,
        forced=run.tokens,
        keep_logits=True,
    )


def same_batch_path(model, tokenizer, drive, batch):
    """`batch` again on another drive, as `same_path` does it with a run."""
    forced = [row.tokens for row in batch.rows]
    return generate_batch(
        model,
        tokenizer,
        drive,
        [row.prompt_ids for row in batch.rows],
        max(map(len, forced)),
        attention=batch.attention,
        forced=forced,
        keep_logits=True,
    )


def compare_rows(results):
    """Results of `compare_runs` or `compare_float`, one per row of a batch, as one.

    Returns
    -------
    dict
        As theirs; ``first_difference`` is ``[row, token]``, of the first row that has one, and
        ``rows`` are the results themselves.
    """
    differing = [(n, r["first_difference"]) for n, r in enumerate(results) if not r["same_tokens"]]
    known = [r for r in results if r["max_logit_difference"] is not None]
    return {
        "same_tokens": not differing,
        "first_difference": list(differing[0]) if differing else None,
        "max_logit_difference": max((r["max_logit_difference"] for r in known), default=None),
        "rows": results,
    }


def compare_runs(run, other):
    """How two runs over the same tokens differ.

    Returns
    -------
    dict
        ``same_tokens``: would the other run have produced the same tokens by itself;
        ``first_difference``: index of the first token that differs, or None;
        ``max_logit_difference``, ``rms_logit_difference``: over all decode steps and logits.
    """
    logits = torch.stack([step.logits for step in other.steps]) if other.steps else None
    return _compare(run, [step.choice for step in other.all_steps], logits)


def compare_float(model, run):
    """Like `compare_runs`, with the unmodified float32 model over the same tokens."""
    logits = float_logits(model, run.prompt_ids, run.tokens)
    return _compare(run, logits.argmax(-1).tolist(), logits[1:] if run.steps else None)


def _compare(run, choices, logits):
    differing = [i for i, (a, b) in enumerate(zip(run.tokens, choices, strict=True)) if a != b]
    delta = None
    if logits is not None:
        delta = torch.stack([step.logits for step in run.steps]) - logits
    return {
        "same_tokens": not differing,
        "first_difference": differing[0] if differing else None,
        "max_logit_difference": None if delta is None else delta.abs().max().item(),
        "rms_logit_difference": None if delta is None else delta.square().mean().sqrt().item(),
    }
