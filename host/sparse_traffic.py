"""What a sparse attend reads, for backends that keep K and V in arrays: whole codewords of flash.

::

    K by channel   codewords of the channels chosen, of every whole unit on flash
    or bounds      all of every whole unit on flash
    K              of tokens beyond the last unit, to estimate their scores too
    K and V        codewords that hold a token kept; the tail's as far as it has tokens

Codewords side by side are one read, up to as many tokens as a request names. A page is sensed once
for all of its reads that follow each other.
"""

import numpy as np

from cosim.reference import UNIT_TOKENS
from rtl.config import MASK_TOKENS

__all__ = ["reads_of_a_page", "sparse_traffic"]


def sparse_traffic(shape, codeword_bytes, full, channels, keep, bounds=False):
    """Counters of one attend of all KV heads of a layer.

    Parameters
    ----------
    shape : SequenceShape
        Of a sequence with K by channel, or with bounds.
    codeword_bytes : int
    full : int
        Groups on flash.
    channels : array of bool, [kv_heads, head_dim]
    keep : array of bool, [kv_heads, tokens]
    bounds : bool
        Estimates were made from bounds, not from K by channel.

    Returns
    -------
    dict
        ``pages_read``, ``bytes_flash``, ``bytes_tail``, see `rtl.registers.COUNTERS`.
    """
    heads, row, group = shape.kv_heads, 2 * shape.head_dim, shape.group_tokens
    units = full // shape.unit_groups
    beyond = heads * (full - units * shape.unit_groups)
    on_flash, tail = np.split(keep, [full * group], axis=1)
    of_codeword = codeword_bytes // row
    first = np.arange(0, tail.shape[1], of_codeword)
    in_tail = np.minimum(of_codeword, tail.shape[1] - first)  # tokens of each codeword
    padded = np.pad(tail, [(0, 0), (0, -tail.shape[1] % of_codeword)])
    tail_read = padded.reshape(heads, len(first), of_codeword).any(axis=2) @ in_tail
    reads = codewords = units * int(channels.sum())
    if bounds:
        reads = units * heads
        codewords = reads * shape.unit_tokens * shape.head_dim // UNIT_TOKENS // codeword_bytes
    touched = on_flash.reshape(heads, full, group) @ _codewords(group, row, codeword_bytes)
    return {
        "pages_read": reads + beyond + 2 * _runs(touched, _most(of_codeword)),
        "bytes_flash": codewords * codeword_bytes
        + beyond * group * row
        + 2 * int(touched.sum()) * codeword_bytes,
        "bytes_tail": tail.size * row + 2 * int(tail_read.sum()) * row,
    }


def reads_of_a_page(shape, codeword_bytes):
    """Reads of a page of K or V of which all tokens are kept."""
    of_codeword = codeword_bytes // (2 * shape.head_dim)
    return -(-shape.page_bytes // codeword_bytes // _most(of_codeword))


def _most(of_codeword):
    """Codewords side by side that are one read."""
    return max(1, MASK_TOKENS // of_codeword)


def _runs(touched, most):
    """Reads of the codewords touched, bool [heads, pages, codewords], ``most`` side by side."""
    reads, length = 0, np.zeros(touched.shape[:2], int)
    for wanted in np.moveaxis(touched, 2, 0):
        reads += int((wanted & (length == 0)).sum())
        length = np.where(wanted, (length + 1) % most, 0)
    return reads


def _codewords(group, row, codeword_bytes):
    """Which codewords of a page each token has bytes in: bool [group, codewords]."""
    word = np.arange(-(-group * row // codeword_bytes))
    first = np.arange(group)[:, None] * row
    return (word * codeword_bytes < first + row) & ((word + 1) * codeword_bytes > first)
