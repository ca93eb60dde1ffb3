"""Times of a NAND interface and of the array behind it, and their conversion to clocks."""

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction

from .suspend import Suspend

__all__ = ["Timing", "cycles", "BUS_BYTES_MAX"]

BUS_BYTES_MAX = 8
"""Most data bytes that cross the digital side of the PHY in one clock."""


def cycles(ns, clock_hz):
    """Whole clocks that last at least ``ns`` nanoseconds (exact, rounded up)."""
    return math.ceil(Fraction(str(ns)) * clock_hz / 10**9)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Parameter set of a NAND part, in ONFI's names. All times in nanoseconds, all positive; tCS
    may be 0. Chip enable hold (tCH) is counted as part of the last command cycle.

    Parameters
    ----------
    rate_mts : int or Fraction
        Transfers (of one byte: 8-bit bus) per second, in millions.
    t_wc_ns : float
        Cycle time of a command or address cycle.
    t_cs_ns : float
        Chip enable to the first command cycle of a sequence; 0: it is part of that cycle.
    t_wb_ns : float
        Confirm command to R/B# low; R/B# says nothing before.
    t_rr_ns : float
        R/B# high to the first data output.
    t_whr_ns : float
        Command or address to data output (READ STATUS, READ ID, READ MODE).
    t_rhw_ns : float
        Data output to the next command.
    t_adl_ns : float
        Address to data input.
    t_ccs_ns : float
        CHANGE READ COLUMN to data output.
    t_rpre_ns, t_dqsre_ns : float
        Read preamble and strobe latency before the first data of a burst.
    t_r_ns, t_prog_ns, t_bers_ns, t_rst_ns : float
        Array busy times: page read, page program, block erase, reset.
    t_rcbsy_ns : float
        Busy time of a cache read, in which a page moves between the two registers of a die.
    t_pcbsy_ns : float
        Busy time of a cache program, in which a page moves between them the other way.
    t_dbsy_ns : float
        Busy time between the planes of a multi-plane command.
    t_feat_ns : float
        Busy time of GET FEATURES and SET FEATURES.
    suspend : Suspend, optional
        None: programs and erases cannot be suspended.
    """

    rate_mts: int | Fraction
    t_wc_ns: float
    t_wb_ns: float
    t_rr_ns: float
    t_whr_ns: float
    t_rhw_ns: float
    t_adl_ns: float
    t_ccs_ns: float
    t_rpre_ns: float
    t_dqsre_ns: float
    t_r_ns: float
    t_prog_ns: float
    t_bers_ns: float
    t_rst_ns: float
    t_rcbsy_ns: float
    t_pcbsy_ns: float
    t_dbsy_ns: float
    t_feat_ns: float
    suspend: Suspend | None = None
    t_cs_ns: float = 0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "suspend" or (field.name, value) == ("t_cs_ns", 0):
                continue
            if not value > 0:
                raise ValueError(
                    f"{field.name} = {value!r} is not possible: choose a positive number"
                )
        if not self.rate_mts <= 10_000:
            raise ValueError(f"rate_mts = {self.rate_mts!r} is not possible: choose 1..10000 MT/s")

    @property
    def t_preamble_ns(self):
        """Time from the first read strobe of a burst to its first data (exact)."""
        return Fraction(str(self.t_rpre_ns)) + Fraction(str(self.t_dqsre_ns))

    def bytes_per_clock(self, clock_hz):
        """Data bytes per clock as an exact fraction, never above `BUS_BYTES_MAX`."""
        return min(Fraction(BUS_BYTES_MAX), Fraction(str(self.rate_mts)) * 10**6 / clock_hz)

    def data_cycles(self, words, clock_hz):
        """Clocks that ``words`` 8-byte words take on the bus."""
        return math.ceil(words * 8 / self.bytes_per_clock(clock_hz))
