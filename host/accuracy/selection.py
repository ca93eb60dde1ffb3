"""Selecting the largest keys of many rows, each its own number, as the golden model does it."""

import torch

__all__ = ["forced_of_lengths", "largest"]


def largest(keys, counts):
    """Mask of the largest keys of each row; of equal ones the first.

    Parameters
    ----------
    keys : torch.Tensor
        [..., rows, columns]; -inf is never selected.
    counts : torch.Tensor
        int64 [rows] or broadcast to the rows: how many, 1 or more.

    Returns
    -------
    torch.Tensor
        bool, shaped as ``keys``.
    """
    most = min(int(counts.max()), keys.shape[-1])
    best = torch.topk(keys, most, dim=-1).values
    place = (counts.clamp(max=most) - 1).expand(keys.shape[:-1])[..., None]
    least = best.gather(-1, place)
    mask = (keys >= least) & (keys > -torch.inf)
    # Rows with equals of the last key selected: only as many of them as are wanted, the first.
    tied = mask.sum(dim=-1) > place[..., 0] + 1
    if tied.any():
        rows, smallest = keys[tied], least[tied]
        above, equal = rows > smallest, rows == smallest
        room = place[tied] + 1 - above.sum(dim=-1, keepdim=True)
        mask[tied] = above | (equal & (equal.cumsum(dim=-1) <= room) & (rows > -torch.inf))
    return mask


def forced_of_lengths(lengths, tokens, window, sinks):
    """Mask [rows, tokens] of the first ``sinks`` and last ``window`` of each row's tokens."""
    place, lengths = torch.arange(tokens), lengths[:, None]
    return ((place < sinks) | (place >= lengths - window)) & (place < lengths)
