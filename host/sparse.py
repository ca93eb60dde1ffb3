"""Sparse attention as a caller asks for it: SparF or by bounds, by a ratio or by numbers.

::

    Sparf(1 / 8)  or  Sparf(channels=16, kept=512)  or  Bounds(1 / 5)  or  Bounds(kept=512)
        .selection(head_dim, tokens) --> Selection(channels, kept, sinks, window) of one attend
"""

import math
import numbers
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch

from rtl.commands import JOB, AttendMode, Status

from .accuracy.names import FORCED
from .accuracy.ratio import bounds_of, kept_of, sparf_of
from .checks import checked_integer
from .errors import DriveError, DriveTypeError, DriveValueError

__all__ = ["DENSE", "Bounds", "Selection", "Sparf", "checked_attention", "drive_for"]

DENSE = "dense"

ROOM = 16384
"""Tokens to select from, where nobody says more: one drive to compile for all shorter texts."""


class Selection(NamedTuple):
    """What one sparse attend selects, by the names that `rtl.commands.JOB` has for it; bounds are
    of all channels."""

    channels: int
    kept: int
    sinks: int
    window: int


LEAST = {"channels": 1, "kept": 1, "sinks": 0, "window": 0}


@dataclass(frozen=True)
class _Sparse(ABC):
    """What `Sparf` and `Bounds` have in common."""

    mode: ClassVar[AttendMode]
    index: ClassVar[str]
    """What a sequence has to be opened with."""

    ratio: float | None = None
    kept: int | None = None
    sinks: int = 4
    window: int = 32
    forced: str = "within"

    def __post_init__(self):
        if self.forced not in FORCED:
            raise _impossible(f"forced = {self.forced!r}: give one of {', '.join(FORCED)}")
        for name, least in LEAST.items():
            if (value := getattr(self, name, None)) is None:
                continue
            value, most = checked_integer(name, value), (1 << JOB.fields[name].width) - 1
            if not least <= value <= most:
                raise _impossible(f"{name} = {value} is not possible: give {least}..{most}")
            object.__setattr__(self, name, value)
        by_number = ("channels", "kept") if hasattr(self, "channels") else ("kept",)
        given = {name: getattr(self, name) for name in by_number}
        said = ", ".join(f"{name} = {value}" for name, value in given.items())
        if self.ratio is None:
            if None in given.values():
                each = "both, " if len(given) > 1 else "it, "
                raise _impossible(f"{said}: give {each}or a ratio, 0 < ratio <= 1")
            return
        if any(value is not None for value in given.values()):
            raise _impossible(
                f"ratio = {self.ratio} with {said}: these are instead of a ratio, leave one out"
            )
        object.__setattr__(self, "ratio", _checked_ratio(self.ratio))

    @abstractmethod
    def _numbers(self, head_dim, tokens):
        """Channels, and tokens kept of so many (an integer tensor)."""

    @property
    def kind(self):
        """Its name on the command line and in records."""
        return self.mode.name.lower()

    def selection(self, head_dim, tokens):
        """`Selection` of an attend of so many tokens."""
        channels, kept = self._numbers(head_dim, torch.tensor(tokens))
        if channels > head_dim:
            raise _impossible(f"channels = {channels} of heads of {head_dim}: give 1..{head_dim}")
        always = self.sinks + self.window
        kept = kept + always if self.forced == "besides" else max(kept, always)
        return Selection(channels, kept, self.sinks, self.window)


@dataclass(frozen=True)
class Sparf(_Sparse):
    """SparF attention: scores of all tokens are estimated from the r channels of K in which the
    queries of a KV head are largest, and the k tokens with the largest estimates are attended.

    Give a ratio, or channels and kept.

    Parameters
    ----------
    ratio : float, optional
        Of the elements of K and V that dense attention reads, 0 < ratio <= 1, after
        `host.accuracy.ratio`: half for r = ratio * head_dim channels of all tokens, half for K and
        V of k = ratio * tokens / 2 tokens; both are rounded down, and 1 at least.
    kept : int, optional
        k, tokens; where no more are there, attention is dense.
    sinks, window : int
        First and last tokens that are attended whatever their scores, 0..65535 each.
    forced : str
        How these count, as in ``instinfer eval``: "within" k, which is at least their sum, or
        "besides" it: so many more are attended.
    channels : int, optional
        r, 1..head_dim.

    Raises
    ------
    DriveValueError, DriveTypeError
    """

    mode: ClassVar[AttendMode] = AttendMode.SPARF
    index: ClassVar[str] = "channel"

    channels: int | None = None

    def _numbers(self, head_dim, tokens):
        if self.ratio is None:
            return self.channels, self.kept
        channels, share = sparf_of(self.ratio, head_dim)
        return channels, int(kept_of(share, tokens))


@dataclass(frozen=True)
class Bounds(_Sparse):
    """Attention by bounds: a token's score is estimated from the smallest and the largest value
    that each channel of K has in its unit of 4 tokens, and the k tokens with the largest estimates
    are attended.

    Give a ratio, or kept.

    Parameters
    ----------
    ratio : float, optional
        Of the bytes of K and V that dense attention reads, 1/16 < ratio <= 1, after
        `host.accuracy.ratio`: 1/16 for the bounds, the rest for K and V of
        k = (ratio - 1/16) * tokens tokens, rounded down, and 1 at least.
    kept, sinks, window, forced
        As of `Sparf`.

    Raises
    ------
    DriveValueError, DriveTypeError
    """

    mode: ClassVar[AttendMode] = AttendMode.BOUNDS
    index: ClassVar[str] = "bounds"

    def __post_init__(self):
        super().__post_init__()
        if self.ratio is not None:
            try:
                bounds_of(self.ratio)
            except ValueError as error:
                raise _impossible(str(error)) from error

    def _numbers(self, head_dim, tokens):
        return head_dim, self.kept or int(kept_of(bounds_of(self.ratio), tokens))


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
    attention : str, Sparf or Bounds
        "dense", or what sparse attention is to select.
    config : DriveConfig
    partial : bool
        Whether unnormalised sums are wanted.
    """
    if isinstance(attention, str) and attention == DENSE:
        return attention
    if not isinstance(attention, Sparf | Bounds):
        kind = DriveValueError if isinstance(attention, str) else DriveTypeError
        raise kind(
            f"attention = {attention!r}: give {DENSE!r}, host.Sparf(...) or host.Bounds(...)"
        )
    if config.sparse_tokens == 0:
        raise DriveError(
            Status.UNSUPPORTED_MODE,
            "this drive has no sparse attention, sparse_tokens = 0: give its configuration the "
            "most tokens to select from, KvDrive(DriveConfig(..., sparse_tokens=...))",
        )
    if isinstance(attention, Bounds) and not config.bounds:
        raise DriveError(
            Status.UNSUPPORTED_MODE,
            "this drive has no attention by bounds: give its configuration bounds=True, "
            "KvDrive(DriveConfig(..., sparse_tokens=..., bounds=True))",
        )
    if partial:
        raise DriveValueError(
            "partial=True with sparse attention: the sums of passes are given of dense attention "
            "alone, leave one out",
            Status.UNSUPPORTED_MODE,
        )
    return attention


def drive_for(attention, config, tokens):
    """The configuration with what an attention needs: room to select from ``tokens``, `ROOM` of
    them or the next power of two, and max_tokens at most, unless ``sparse_tokens`` is given; and
    bounds."""
    if attention == DENSE:
        return config
    room = max(ROOM, 1 << math.ceil(math.log2(max(tokens, 1))))
    return replace(
        config,
        sparse_tokens=config.sparse_tokens or min(room, config.max_tokens),
        bounds=config.bounds or isinstance(attention, Bounds),
    )
