"""Left padding: the column in which each row of a batch begins.

A row of an attention mask is zeros, its padding, and then ones. The drive never sees padding: a
row's first token is token 0 of its sequence, whatever column it stands in.
"""

import torch

from ..support import PromptError

__all__ = ["first_columns"]


def first_columns(mask):
    """Column of the first token of each row.

    Parameters
    ----------
    mask : torch.Tensor
        [rows, columns], 0 for padding and anything else for a token.

    Returns
    -------
    list of int
        One per row, 0..columns - 1.

    Raises
    ------
    PromptError
        A row without a token, with padding on its right, or with a hole.
    """
    mask = mask.bool().cpu()
    columns = mask.shape[1]
    firsts = []
    for number, row in enumerate(mask):
        tokens = torch.nonzero(row).flatten().tolist()
        if not tokens:
            raise PromptError(
                f"row {number} of the attention mask has no 1 in its {columns} columns: each row "
                "needs 1 token or more (with prefill_chunk_size, in its first chunk)"
            )
        first, last = tokens[0], tokens[-1]
        if last != columns - 1:
            raise PromptError(
                f"row {number} of the attention mask ends with 0 in columns {last + 1}.."
                f"{columns - 1}: pad prompts on the left (tokenizer.padding_side = 'left'), the "
                f"last column, {columns - 1}, must be 1"
            )
        if len(tokens) != last - first + 1:
            hole = next(n for n, at in enumerate(tokens, first) if n != at)
            raise PromptError(
                f"row {number} of the attention mask has a 0 in column {hole}, after a 1 in column "
                f"{first}: a row is zeros and then ones, only columns 0..{first - 1} may be 0"
                if first
                else f"row {number} of the attention mask has a 0 in column {hole}, after a 1 in "
                "column 0: a row that begins with 1 has ones only"
            )
        firsts.append(first)
    return firsts
