"""What a controller has to wait so that an NV-DDR PHY keeps up with it; see `sdr_timing`.

Besides the word, a pause in data to a die costs the PHY a gap at both ends, in which the controller
goes on; and the pins begin things at the next cycle of CLK. From data of one die to those of
another W/R_n has to rise and fall: the preamble is as long.
"""

import dataclasses
import math
from fractions import Fraction

from flash_model.timing import cycles

from .nv_ddr_modes import WORD_SLOTS, nv_ddr_clocks

__all__ = ["check_nv_ddr_profile", "nv_ddr_timing"]

T_WB, T_RR, T_WHR, T_RHW, T_ADL = 100, 20, 80, 100, 400
SELECT_SLOTS = 1
PIPELINE = 8
"""Clocks through ring, registers and buffers to the pins, and from R/B_n."""


def nv_ddr_timing(timing, mode, clock_hz):
    """The fastest timing that an NV-DDR PHY keeps up with.

    Parameters
    ----------
    timing : Timing
        A part's: its array times and the rest stay.
    mode : int
        NV-DDR timing mode, 0..5.
    clock_hz : int
        Core clock.

    Returns
    -------
    Timing
    """
    changes = {
        name: math.ceil(Fraction(n * 10**9, clock_hz))
        for name, n in _least_clocks(mode, clock_hz).items()
    }
    rate = Fraction(2 * clock_hz, nv_ddr_clocks(mode, clock_hz).slot * 10**6)
    return dataclasses.replace(timing, rate_mts=rate, t_dqsre_ns=1, **changes)


def check_nv_ddr_profile(profile, mode, clock_hz):
    """Refuse a profile that is too fast for a PHY (``ValueError``).

    Parameters
    ----------
    profile : Profile
    mode, clock_hz : int
        As of `nv_ddr_timing`.
    """
    timing = profile.timing
    here = f"an NV-DDR PHY of timing mode {mode} at {clock_hz / 1e6:g} MHz"
    slot = nv_ddr_clocks(mode, clock_hz).slot
    if timing.bytes_per_clock(clock_hz) * slot > 2:
        raise ValueError(
            f"rate_mts = {timing.rate_mts} of profile {profile.name!r} is too fast for {here}, "
            f"which moves two bytes in {slot} clocks: choose at most "
            f"{2e-6 * clock_hz / slot:g} MT/s"
        )
    for name, least in _least_clocks(mode, clock_hz).items():
        value = getattr(timing, name)
        if cycles(value, clock_hz) < least:
            raise ValueError(
                f"{name} = {value} of profile {profile.name!r} is too short for {here}: "
                f"choose at least {math.ceil(least * 10**9 / clock_hz)} ns ({least} clocks)"
            )


def _least_clocks(mode, clock_hz):
    """Field of `Timing` -> its least clocks."""
    c = nv_ddr_clocks(mode, clock_hz)
    pauses = 2 * c.gap_written * c.slot
    word = WORD_SLOTS * c.slot + pauses + PIPELINE
    turns = (SELECT_SLOTS + c.turn + c.gap_read + c.released + 1) * c.slot

    def standard(ns):
        return cycles(ns, clock_hz)

    return {
        "t_wc_ns": c.gap * c.slot,
        "t_cs_ns": SELECT_SLOTS * c.slot,
        "t_rpre_ns": turns,
        "t_wb_ns": standard(T_WB) + word,
        "t_rhw_ns": standard(T_RHW) + WORD_SLOTS * c.slot + turns + PIPELINE,
        "t_rr_ns": standard(T_RR),
        "t_whr_ns": standard(T_WHR) + pauses,
        "t_adl_ns": standard(T_ADL) + pauses,
    }
