"""Sparse attention as a caller asks for it: SparF, by a compression ratio or by r and k.

::

    Sparf(1 / 8)  or  Sparf(channels=16, kept=512)
        .selection(head_dim, tokens) --> Selection(channels, kept, sinks, window) of one attend
"""

import math
import numbers
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from rtl.commands import JOB, Status

from .accuracy.names import FORCED
from .accuracy.ratio import kept_of, sparf_of
from .checks import checked_integer
from .errors import DriveError, DriveTypeError, DriveValueError

__all__ = ["DENSE", "Selection", "Sparf", "checked_attention", "with_sparse_tokens"]

DENSE = "dense"

ROOM = 16384
"""Tokens to select from, where nobody says more: one drive to compile for all shorter texts."""


class Selection(NamedTuple):
    """What one sparse attend selects, by the names that `rtl.commands.JOB` has for it."""

    channels: int
    kept: int
    sinks: int
    window: int


@dataclass(frozen=True)
class Sparf:
    """SparF attention: scores of all tokens are estimated from the r channels of K in which the
    queries of a KV head are largest, and the k tokens with the largest estimates are attended.

    Give a ratio, or channels and kept.

    Parameters
    ----------
    ratio : float, optional
        Of the elements of K and V that dense attention reads, 0 < ratio <= 1, after
        `host.accuracy.ratio`: half for r = ratio * head_dim channels of all tokens, half for K and
        V of k = ratio * tokens / 2 tokens; both are rounded down, and 1 at least.
    channels : int, optional
        r, 1..head_dim.
    kept : int, optional
        k, tokens; where no more are there, attention is dense.
    sinks, window : int
        First and last tokens that are attended whatever their scores, 0..65535 each.
    forced : str
        How these count, as in ``instinfer eval``: "within" k, which is at least their sum, or
        "besides" it: so many more are attended.

    Raises
    ------
    DriveValueError, DriveTypeError
    """

    ratio: float | None = None
    channels: int | None = None
    kept: int | None = None
    sinks: int = 4
    window: int = 32
    forced: str = "within"

    def __post_init__(self):
        if self.forced not in FORCED:
            raise _impossible(f"forced = {self.forced!r}: give one of {', '.join(FORCED)}")
        for name, least in (("channels", 1), ("kept", 1), ("sinks", 0), ("window", 0)):
            if (value := getattr(self, name)) is None:
                continue
            value, most = checked_integer(name, value), (1 << JOB.fields[name].width) - 1
            if not least <= value <= most:
                raise _impossible(f"{name} = {value} is not possible: give {least}..{most}")
            object.__setattr__(self, name, value)
        if self.ratio is None:
            if None in (self.channels, self.kept):
                raise _impossible(
                    f"channels = {self.channels}, kept = {self.kept}: give both, or a ratio, "
                    "0 < ratio <= 1"
                )
            return
        if not (self.channels is None and self.kept is None):
            raise _impossible(
                f"ratio = {self.ratio} with channels = {self.channels}, kept = {self.kept}: "
                "these are instead of a ratio, leave one out"
            )
        object.__setattr__(self, "ratio", _checked_ratio(self.ratio))

    def selection(self, head_dim, tokens):
        """`Selection` of an attend of so many tokens."""
        channels, kept = self.channels, self.kept
        if self.ratio is not None:
            channels, share = sparf_of(self.ratio, head_dim)
            kept = int(kept_of(share, torch.tensor(tokens)))
        assert channels is not None and kept is not None
        if channels > head_dim:
            raise _impossible(f"channels = {channels} of heads of {head_dim}: give 1..{head_dim}")
        always = self.sinks + self.window
        kept = kept + always if self.forced == "besides" else max(kept, always)
        return Selection(channels, kept, self.sinks, self.window)


def _checked_ratio(ratio):
    if not isinstance(ratio, numbers.Real):
        raise DriveTypeError(f"ratio is {ratio!r}: give a number, 0 < ratio <= 1")
    if not 0 < float(ratio) <= 1:
        raise _impossible(f"ratio = {ratio} is not possible: give 0 < ratio <= 1")
    return float(ratio)


def _impossible(detail):
    return DriveValueError(detail, Status.INVALID_SELECTION)


def checked_attention(attention, config, partial=False):
    """``attention`` if a drive of this configuration has it.

    Parameters
    ----------
    attention : str or Sparf
        "dense", or what sparse attention is to select.
    config : DriveConfig
    partial : bool
        Whether unnormalised sums are wanted.
    """
    if isinstance(attention, str) and attention == DENSE:
        return attention
    if not isinstance(attention, Sparf):
        kind = DriveValueError if isinstance(attention, str) else DriveTypeError
        raise kind(f"attention = {attention!r}: give {DENSE!r} or host.Sparf(...)")
    if config.sparse_tokens == 0:
        raise DriveError(
            Status.UNSUPPORTED_MODE,
            "this drive has no sparse attention, sparse_tokens = 0: give its configuration the "
            "most tokens to select from, KvDrive(DriveConfig(..., sparse_tokens=...))",
        )
    if partial:
        raise DriveValueError(
            "partial=True with sparse attention: the sums of passes are given of dense attention "
            "alone, leave one out",
            Status.UNSUPPORTED_MODE,
        )
    return attention


def with_sparse_tokens(config, tokens):
    """The configuration with room to select from ``tokens``: `ROOM` of them or the next power of
    two, and max_tokens at most. One that has ``sparse_tokens`` stays as it is."""
    if config.sparse_tokens:
        return config
    room = max(ROOM, 1 << math.ceil(math.log2(max(tokens, 1))))
    return replace(config, sparse_tokens=min(room, config.max_tokens))
