"""Memory for a drive's contents that costs only what is written."""

import math
import mmap

import numpy as np

__all__ = ["anonymous"]

_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python names it from 3.12 on


def _bytes(shape, dtype):
    return math.prod(shape) * np.dtype(dtype).itemsize


def anonymous(layout):
    """Zeroed arrays whose memory is taken page by page, when written.

    Parameters
    ----------
    layout : dict of str to (shape, dtype)

    Returns
    -------
    dict of str to numpy.ndarray
    """
    arrays = {}
    for name, (shape, dtype) in layout.items():
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        memory = mmap.mmap(-1, _bytes(shape, dtype), flags=flags)
        arrays[name] = np.frombuffer(memory, dtype=dtype).reshape(shape)
    return arrays
