"""Checks of what callers hand to `KvDrive`: the same errors whatever the backend."""

import math
import operator

import numpy as np

from cosim.reference import BF16, FP16, encode_scale
from rtl.commands import Status

from .errors import DriveError, DriveTypeError, DriveValueError

__all__ = [
    "FORMATS",
    "INDEXES",
    "checked_array",
    "checked_format",
    "checked_index",
    "checked_integer",
    "checked_queries",
    "checked_scale",
    "checked_length",
]

FORMATS = (FP16, BF16)
"""Element formats by the number the drive knows them by."""

INDEXES = ("none", "channel", "bounds")
"""What is kept of K besides, by the number the drive knows it by: nothing, K by channel, bounds."""


def checked_integer(name, value):
    """``value`` as an int; floats, strings and the like are refused."""
    try:
        return operator.index(value)
    except TypeError:
        raise DriveTypeError(f"{name} is {value!r}: give an integer") from None


def checked_length(name, tokens, least, most, why=""):
    """A number of tokens from ``least`` to ``most``; ``why`` ends the message."""
    tokens = checked_integer(name, tokens)
    if not least <= tokens <= most:
        raise DriveError(
            Status.CONTEXT_EXCEEDED, f"{name} = {tokens} is not in {least}..{most}{why}"
        )
    return tokens


def checked_format(name):
    """The element format called ``name``."""
    for format in FORMATS:
        if format.name == name:
            return format
    known = " or ".join(repr(format.name) for format in FORMATS)
    raise DriveError(Status.UNSUPPORTED_FORMAT, f"kv_format = {name!r}: give {known}")


def checked_index(name):
    """The number of an index."""
    if name not in INDEXES:
        known = f"{', '.join(map(repr, INDEXES[:-1]))} or {INDEXES[-1]!r}"
        raise DriveError(Status.UNSUPPORTED_INDEX, f"index = {name!r}: give {known}")
    return INDEXES.index(name)


def checked_array(name, array, wanted, formats):
    """A C-contiguous array of the wanted shape, in one of the formats.

    Parameters
    ----------
    name : str
        What messages call it.
    array : numpy.ndarray
    wanted : dict of str to (int or None)
        Axis name -> length, None where any will do.
    formats : sequence of FloatFormat
    """
    axes = ", ".join(
        f"{axis}={size}" if size is not None else axis for axis, size in wanted.items()
    )
    types = " or ".join(format.dtype.name for format in formats)
    if not isinstance(array, np.ndarray):
        kind = f"{type(array).__module__.split('.')[0]}.{type(array).__name__}"
        raise DriveTypeError(f"{name} is a {kind}: give a numpy array, {types} [{axes}]")
    if array.dtype not in [format.dtype for format in formats]:
        raise DriveTypeError(f"{name} is {array.dtype}: give {types} [{axes}]")
    if array.ndim != len(wanted) or any(
        size is not None and size != got
        for got, size in zip(array.shape, wanted.values(), strict=True)
    ):
        raise DriveValueError(f"{name} has shape {list(array.shape)}: give {types} [{axes}]")
    return np.ascontiguousarray(array)


def checked_queries(q, shape, limit):
    """Queries of one job, [q_heads, head_dim], q_heads a multiple of kv_heads."""
    q = checked_array("q", q, {"q_heads": None, "head_dim": shape.head_dim}, FORMATS)
    if len(q) == 0 or len(q) % shape.kv_heads:
        raise DriveValueError(
            f"q has {len(q)} query heads: give a multiple of kv_heads = {shape.kv_heads}",
            Status.UNSUPPORTED_SHAPE,
        )
    if len(q) > limit * shape.kv_heads:
        raise DriveError(
            Status.TOO_MANY_QUERY_HEADS,
            f"q has {len(q)} query heads for {shape.kv_heads} KV heads, the drive serves "
            f"{limit} per KV head",
        )
    return q


def checked_scale(scale, head_dim):
    """``(value, mant, exp)`` of a scale; None stands for ``1 / sqrt(head_dim)``."""
    if scale is None:
        scale = 1 / math.sqrt(head_dim)
    try:
        value = float(scale)
    except (TypeError, ValueError):
        raise DriveTypeError(f"scale is {scale!r}: give a positive number") from None
    if not (math.isfinite(value) and value > 0):
        raise DriveValueError(f"scale = {value}: give a finite number above 0")
    try:
        mant, exp = encode_scale(value)
    except ValueError as error:
        raise DriveValueError(f"scale = {value}: {error}") from None
    return value, int(mant), int(exp)
