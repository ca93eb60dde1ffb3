"""Clocks of a board's drive: what its logic is estimated to reach, and how slow it may be."""

from dataclasses import dataclass
from fractions import Fraction

from rtl.phy.nv_ddr_modes import T_CK, nv_ddr_clocks
from rtl.phy.sdr_modes import sdr_clocks, sdr_time

from .phys import profiles_for

__all__ = ["LONGEST_NS", "clock_warning", "slower", "slowest_clock"]

LONGEST_NS = {"xc7": 10.2, "xcup": 6.1}
"""Longest way between registers of a board's drive, by the family of its part, setup included.

7 series: `instinfer area --board cosmos_plus --depth`, without the way to ``quiet``, which boards
leave open (docs/area.md, "Depth of logic"). UltraScale+ has no delays there: the same way, by 0.300
to 0.500 ns, AMD's budgets for a look-up table with its net at grade -2 ("Where the delays come
from").
"""

T_CK_MOST = (100, *T_CK[:-1])
"""ns of ONFI's NV-DDR modes 0 to 5: from there on the mode below is meant; mode 0 from memory."""

SLOWEST = 50_000_000
"""Hz: the least that a configuration may have."""


@dataclass(frozen=True, kw_only=True)
class Slower:
    """What to do where timing is missed.

    Parameters
    ----------
    same : int or None
        Slowest clock, in Hz, that the folder's own Verilog may be given; None: as the PHY allows
        that comes from elsewhere.
    options : str
        Of the command, for a drive that is made for a slower clock; empty: there are none.
    """

    same: int | None
    options: str


def clock_warning(board, config):
    """What is to be said of a clock that the logic is not estimated to reach, or nothing.

    Parameters
    ----------
    board : rtl.boards.Board
    config : rtl.config.DriveConfig

    Returns
    -------
    str
    """
    family = board.part.family if board.part else "xc7"
    longest, period = LONGEST_NS[family], 1e9 / config.clock_hz
    if longest <= period:
        return ""
    part = f"the {board.part.name}" if board.part else "a 7-series FPGA"
    return (
        f"{config.clock_hz / 1e6:g} MHz, a period of {period:.1f} ns, is beyond what the drive is "
        f"estimated to reach in {part}: its longest way is {longest} ns, about "
        f"{1e3 / longest:.0f} MHz, before placing"
    )


def slowest_clock(kind, mode, clock_hz):
    """The slowest clock that a PHY may be given which was made for another one.

    All that the PHY and the controller count in clocks lasts longer then; what may not last longer
    is the cycle of CLK (NV-DDR), and how long a die holds its data (SDR).

    Parameters
    ----------
    kind : str
        ``sdr`` or ``nv_ddr``.
    mode : int
        Timing mode.
    clock_hz : int
        What it was made for.

    Returns
    -------
    int
        Hz, rounded up to 0.1 MHz.
    """
    if kind == "nv_ddr":
        most = Fraction(T_CK_MOST[mode], nv_ddr_clocks(mode, clock_hz).slot)
    else:
        c = sdr_clocks(mode, clock_hz)
        held = [("t_rhoh", c.sample - c.read_low), ("t_rloh", c.sample - c.read)]
        most = min(
            (Fraction(sdr_time(name, mode), late) for name, late in held if late > 0),
            default=Fraction(10**9, SLOWEST),
        )
    return min(clock_hz, -(-(10**9 / most) // 100_000) * 100_000)


def slower(config, phy):
    """What to do where timing is missed.

    Parameters
    ----------
    config : rtl.config.DriveConfig
    phy : host.boards.phys.Phy or None

    Returns
    -------
    Slower
    """
    slow = [clock for clock in (100_000_000, SLOWEST) if clock < config.clock_hz]
    if not phy:
        same = SLOWEST if config.page_store == "memory" else None
        return Slower(same=same, options=f"--set clock_hz={slow[0]}" if slow else "")
    slower = [
        f"--set clock_hz={clock} --set profile={profiles[0]}"
        for clock in slow
        if (profiles := profiles_for(phy.kind, clock))
    ]
    same = slowest_clock(phy.kind, phy.mode, config.clock_hz)
    return Slower(same=same, options=slower[0] if slower else "")
