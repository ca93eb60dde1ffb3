"""The names of the protocol monitor's rules, and what it says when one is broken."""

from typing import NamedTuple

__all__ = ["RULES", "ProtocolError", "Violation"]

RULES = (
    "unknown command",
    "R/B#",
    "array",
    "confirmation",
    "broken off",
    "address",
    "no read before",
    "no program before",
    "nothing to output",
    "page",
    "column",
    "row",
    "WP#",
    "suspend",
    "chip enable",
    "symbol",
    "rate",
    "tWC",
    "tWB",
    "tRHW",
    "tWHR",
    "tCCS",
    "tRR",
    "tADL",
    "preamble",
    "multi-plane",
    "same plane",
    "page number",
    "copyback",
    "page order",
)
"""Those of the table in `flash_model.monitor`."""


class Violation(NamedTuple):
    """What was wrong: ``rule`` is one of `RULES`."""

    clock: int
    die: int
    rule: str
    text: str

    def __str__(self):
        return f"clock {self.clock}, die {self.die}: {self.rule}: {self.text}"


class ProtocolError(AssertionError):
    """A bus that was to be without violations had some."""
