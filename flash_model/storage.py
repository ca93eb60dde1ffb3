"""Memory for a drive's contents that costs only what is written: anonymous, or a file.

A file is sparse and shared, so that a drive may be larger than the machine's memory and is still
there for the next run: a header of 4096 bytes (a line with magic and version, a line of JSON with
geometry and sections), then one section for each buffer, from a multiple of 4096 on. Numbers are
little-endian.
"""

import json
import math
import mmap
import os

import numpy as np

__all__ = ["anonymous", "mapped"]

_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python names it from 3.12 on
_PAGE = 4096
_MAGIC = b"InstInfer NAND array 2\n"


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


def mapped(path, layout, identity):
    """Arrays in a file, which is made if there is none.

    Parameters
    ----------
    path : path-like
    layout : dict of str to (shape, dtype)
    identity : dict
        What a file must have been made for, as JSON has it.

    Returns
    -------
    dict of str to numpy.ndarray, mmap.mmap
        The arrays, and the mapping that they lie in, to be flushed.

    Raises
    ------
    ValueError
        If the file is none of this kind, or was made for something else.
    """
    sections, end = {}, _PAGE
    for name, (shape, dtype) in layout.items():
        sections[name] = end
        end += -(-_bytes(shape, dtype) // _PAGE) * _PAGE
    about = json.dumps({"identity": identity, "sections": sections}, sort_keys=True).encode()
    header = _MAGIC + about + b"\n"
    if len(header) > _PAGE:
        raise ValueError(f"a header of {len(header)} bytes does not fit {_PAGE}")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if os.fstat(descriptor).st_size == 0:
            os.truncate(descriptor, end)
            os.pwrite(descriptor, header, 0)
        else:
            _check(path, os.pread(descriptor, _PAGE, 0), header, identity)
            if os.fstat(descriptor).st_size != end:
                raise ValueError(f"{path} is cut off: {end} bytes were expected")
        memory = mmap.mmap(descriptor, end, flags=mmap.MAP_SHARED)
    finally:
        os.close(descriptor)
    arrays = {
        name: np.frombuffer(
            memory, dtype=np.dtype(dtype), count=math.prod(shape), offset=sections[name]
        ).reshape(shape)
        for name, (shape, dtype) in layout.items()
    }
    return arrays, memory


def _check(path, found, header, identity):
    if not found.startswith(_MAGIC):
        raise ValueError(f"{path} is no NAND array of this version: choose another file")
    if found[: len(header)] != header:
        was = json.loads(found[len(_MAGIC) :].split(b"\n")[0])["identity"]
        differs = {name: was.get(name) for name in identity if was.get(name) != identity[name]}
        raise ValueError(
            f"{path} was made for {differs}, not for "
            f"{ {name: identity[name] for name in differs} }: choose another file"
        )
