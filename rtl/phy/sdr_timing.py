"""What a controller has to wait so that an SDR PHY keeps up with it.

The PHY does a symbol after its strobe, and the bytes of a word one after the other: so the pins are
behind the controller, by a word at most. What the controller counts from its own strobes must allow
for that::

    tWB    tWB, a word before the command, the command's WE_n and two clocks to see R/B_n
    tRHW   tRHW, the word and what comes before its first RE_n
    tCS    what CE_n needs beyond WE_n's low time
    tRPRE  the same before RE_n: data of one die after another have nothing else between them

The others only grow on the way to the pins: a word's strobe comes when its time on the bus is over.
"""

import dataclasses
import math
from fractions import Fraction

from flash_model.timing import cycles

from .sdr_modes import sdr_clocks, sdr_time

__all__ = ["check_sdr_profile", "sdr_timing"]

R_B_STAGES = 2


def sdr_timing(timing, mode, clock_hz, **board):
    """The fastest timing that an SDR PHY keeps up with.

    Parameters
    ----------
    timing : Timing
        A part's: its array times, tCCS and the rest stay.
    mode : int
        SDR timing mode, 0..5.
    clock_hz : int
        Core clock.
    board
        Further options of `sdr_clocks`.

    Returns
    -------
    Timing
    """
    least = _least_clocks(mode, clock_hz, board)
    clocks = sdr_clocks(mode, clock_hz, **board)
    changes = {name: math.ceil(Fraction(n * 10**9, clock_hz)) for name, n in least.items()}
    rate = Fraction(clock_hz, max(clocks.read, clocks.write) * 10**6)
    return dataclasses.replace(timing, rate_mts=rate, t_dqsre_ns=1, **changes)


def check_sdr_profile(profile, mode, clock_hz, **board):
    """Refuse a profile that is too fast for a PHY (``ValueError``).

    Parameters
    ----------
    profile : Profile
    mode, clock_hz, board
        As of `sdr_timing`.
    """
    timing = profile.timing
    here = f"an SDR PHY of timing mode {mode} at {clock_hz / 1e6:g} MHz"
    clocks = sdr_clocks(mode, clock_hz, **board)
    byte = max(clocks.read, clocks.write)
    if timing.bytes_per_clock(clock_hz) * byte > 1:
        raise ValueError(
            f"rate_mts = {timing.rate_mts} of profile {profile.name!r} is too fast for {here}, "
            f"which moves a byte in {byte} clocks: choose at most {clock_hz / byte / 1e6:g} MT/s"
        )
    for name, least in _least_clocks(mode, clock_hz, board).items():
        value = getattr(timing, name)
        if cycles(value, clock_hz) < least:
            raise ValueError(
                f"{name} = {value} of profile {profile.name!r} is too short for {here}: "
                f"choose at least {math.ceil(least * 10**9 / clock_hz)} ns ({least} clocks)"
            )


def _least_clocks(mode, clock_hz, board):
    """Field of `Timing` -> its least clocks."""
    clocks = sdr_clocks(mode, clock_hz, **board)

    def standard(name):
        return cycles(sdr_time(name, mode), clock_hz)

    return {
        "t_wc_ns": clocks.write,
        "t_cs_ns": clocks.select_write,
        "t_rpre_ns": clocks.select_read,
        "t_wb_ns": standard("t_wb") + 8 * clocks.write + clocks.write_low + R_B_STAGES,
        "t_rhw_ns": standard("t_rhw") + 8 * clocks.read + clocks.select_read,
        "t_rr_ns": standard("t_rr"),
        "t_whr_ns": standard("t_whr"),
        "t_adl_ns": standard("t_adl"),
    }
