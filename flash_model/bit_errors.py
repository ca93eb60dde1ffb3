"""How many bits of a page are wrong: raw bit error rate from wear, time and reads.

With x the block's erases as a part of those it endures, d the days since it was last programmed, n
its page reads since it was erased, and l the die's read-retry level::

    RBER = fresh + worn x^2
         + kept x ln(1 + d) / ln(366) * 4^(|l - best| - best)
         + disturbed (1 + x) n / 100 000
    best = min(7, round(7 x ln(1 + d) / ln(366)))

The charge that leaks from a cell over time moves its threshold: the third term. A read-retry level
moves the read voltages after it, each level that goes the right way leaves a quarter of those
errors, and each beyond the best one brings them back.

The shape is assumed (wear grows faster than linear, retention with the logarithm of time, read
disturb linear); so are the default coefficients, which put a TLC part near 1e-6 when new, 1e-4 at
the end of its life, and 4e-3 a year after that. They are no measurement of any part.
"""

import math
from dataclasses import dataclass

__all__ = ["BitErrorRate"]

_DAY_S = 86_400
_LEVELS = 7


@dataclass(frozen=True, kw_only=True)
class BitErrorRate:
    """Coefficients of the module's formula, each 0..0.5, and the erases that a block endures.

    Parameters
    ----------
    erases : int
        Endurance of a block (`flash_model.endurance.Endurance.erases`).
    fresh : float
        RBER of a new block.
    worn : float
        Added at the end of its life.
    kept : float
        Added a year later.
    disturbed : float
        Added by 100 000 reads of pages of a new block.
    """

    erases: int
    fresh: float = 1e-6
    worn: float = 1e-4
    kept: float = 4e-3
    disturbed: float = 1e-5

    def __post_init__(self):
        if not self.erases >= 1:
            raise ValueError(f"erases = {self.erases!r} is not possible: choose 1 or more")
        for name in ("fresh", "worn", "kept", "disturbed"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise ValueError(
                    f"{name} = {getattr(self, name)!r} is not possible: choose a rate of 0..0.5"
                )

    def _aged(self, erases, kept_s):
        """Wear and logarithmic time, 1 at the end of life and a year after."""
        return erases / self.erases * math.log1p(kept_s / _DAY_S) / math.log(366)

    def best_level(self, erases, kept_s):
        """The read-retry level, 0..7, with the fewest errors."""
        return min(_LEVELS, round(_LEVELS * self._aged(erases, kept_s)))

    def __call__(self, erases, kept_s, reads, level=0):
        """The rate, 0..0.5.

        Parameters
        ----------
        erases : int
            Of the block.
        kept_s : float
            Seconds since it was last programmed.
        reads : int
            Of the block's pages, since its last erase.
        level : int
            Read-retry level, 0..7.
        """
        best = self.best_level(erases, kept_s)
        wear = erases / self.erases
        rate = (
            self.fresh
            + self.worn * wear**2
            + self.kept * self._aged(erases, kept_s) * 4.0 ** (abs(level - best) - best)
            + self.disturbed * (1 + wear) * reads / 100_000
        )
        return min(0.5, rate)
