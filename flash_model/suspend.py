"""Suspend and resume of programs and erases: what a part's maker says of them; ONFI does not."""

from dataclasses import dataclass

__all__ = ["MOST", "Suspend"]

MOST = 63
"""Most reads that can be allowed."""


@dataclass(frozen=True, kw_only=True)
class Suspend:
    """Commands, time and bounds.

    Parameters
    ----------
    erase_suspend, erase_resume, program_suspend, program_resume : int
        Command bytes, without an address.
    t_susp_ns : float
        Busy time of a suspend command; an operation that ends sooner is not suspended.
    erase_most, program_most : int
        Most reads for which one operation steps aside, 0..63: a bound on how late it ends. What
        cannot be suspended at all has 0.
    """

    erase_suspend: int = 0x61
    erase_resume: int = 0xD2
    program_suspend: int = 0x86
    program_resume: int = 0xD1
    t_susp_ns: float
    erase_most: int
    program_most: int

    def __post_init__(self):
        for name in ("erase_suspend", "erase_resume", "program_suspend", "program_resume"):
            if not 0 <= getattr(self, name) <= 0xFF:
                raise ValueError(f"{name} = {getattr(self, name)!r} is not possible: choose a byte")
        if not self.t_susp_ns > 0:
            raise ValueError(
                f"t_susp_ns = {self.t_susp_ns!r} is not possible: choose a positive number"
            )
        for name in ("erase_most", "program_most"):
            if not 0 <= getattr(self, name) <= MOST:
                raise ValueError(
                    f"{name} = {getattr(self, name)!r} is not possible: choose 0..{MOST}"
                )
