"""Text as windows of tokens that a model is scored on."""

import torch

from ..options import BadOption

__all__ = ["cut_windows", "lead_tokens", "text_tokens"]


def text_tokens(tokenizer, text):
    """Token ids of a text, as a tensor, without what the tokenizer puts around texts."""
    # verbose: that a text is longer than the model's context is known, it is cut
    return torch.tensor(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def lead_tokens(tokenizer):
    """Token ids that the model wants before a text: its begin token, or none."""
    ids = tokenizer("")["input_ids"]
    return torch.tensor([n for n in ids if n == tokenizer.bos_token_id], dtype=torch.long)


def cut_windows(tokens, lead, length, count):
    """Windows spread evenly over a text.

    Parameters
    ----------
    tokens : torch.Tensor
        Ids of the text.
    lead : torch.Tensor
        Ids that each window begins with.
    length : int
        Tokens of a window, the lead among them.
    count : int
        Windows, which do not overlap.

    Returns
    -------
    torch.Tensor
        [count, length].

    Raises
    ------
    BadOption
        The text is too short.
    """
    own = length - len(lead)
    if len(tokens) < own * count:
        most = len(tokens) // own
        remedy = f"--windows {most}" if most else f"a longer --text or a --window of {len(tokens)}"
        raise BadOption(
            f"the text has {len(tokens):,} tokens, {count} windows of {length:,} need "
            f"{own * count:,}: give {remedy}"
        )
    apart = len(tokens) // count
    return torch.stack(
        [torch.cat([lead, tokens[n * apart : n * apart + own]]) for n in range(count)]
    )
