"""Flags of results: how many had each, and a warning when one comes for the first time."""

import warnings

from rtl.commands import ResultFlag

from .errors import DriveWarning

__all__ = ["FlagCounts"]

_TEXT = {
    ResultFlag.SATURATED: "a score was clipped to the engine's range: the result may be inexact",
    ResultFlag.NONFINITE: "an infinity or NaN in q, K or V: that head's output is NaN",
}


class FlagCounts(dict):
    """Results that had a flag, by `ResultFlag`."""

    def __init__(self):
        super().__init__((flag, 0) for flag in ResultFlag)

    def count(self, flags):
        """Called by what a caller has called, so that warnings name the caller's line."""
        for flag in flags:
            self[flag] += 1
            if self[flag] == 1:
                warnings.warn(
                    f"{flag.name}: {_TEXT[flag]} (shown once; counted in stats())",
                    DriveWarning,
                    stacklevel=4,
                )
