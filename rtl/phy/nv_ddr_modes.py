r"""ONFI's NV-DDR timing modes, and what they are in clocks and in cycles of CLK.

Times in ns of modes 0 to 5, as in Linux's ``nand_timings.c``. CLK has an even number of core
clocks, the fewest that last tCK. All else is counted in *slots*, cycles of CLK that begin as it
falls; CLE, ALE, W/R_n and a command's or address's byte change there, half a cycle before the dies
look at them::

    CLK     \___/~~~\___/~~~\___/~~~\___/~~~\___/~~~\___/
    CLE,ALE  |  both high  |                                 two slots: four bytes
    DQS     -\_________/~~~\___/~~~\________________          a slot later (tDQSS)
    DQ      ---------<A ><B ><C ><D >---------------          a quarter of a slot earlier
"""

from dataclasses import dataclass

from flash_model.timing import cycles

__all__ = ["T_CK", "NvDdrClocks", "nv_ddr_clocks"]

T_CK = (50, 30, 20, 15, 12, 10)
"""ns in modes 0 to 5."""

T_CAD, T_WRCK, T_DQSHZ, T_DQSCK = 45, 20, 20, 25
"""The same in all modes; the last two are at most. tCS is never longer than 1.5 tCK."""

WORD_SLOTS = 4
DATA_SLOTS = 2
"""From the last slot of data to a die until DQS has fallen; tWPST lies within the gap."""


@dataclass(frozen=True, kw_only=True)
class NvDdrClocks:
    """A timing mode.

    Parameters
    ----------
    slot : int
        Core clocks of a cycle of CLK.
    gap : int
        Slots from a command or an address to what comes next (tCAD).
    gap_written, gap_read : int
        The same from the last slot of data to a die, and from it: before W/R_n rises, too.
    turn : int
        From W/R_n low to read data.
    released : int
        From W/R_n high until the die no longer drives.
    """

    slot: int
    gap: int
    gap_written: int
    gap_read: int
    turn: int
    released: int


def nv_ddr_clocks(mode, clock_hz):
    """A timing mode at a core clock.

    Parameters
    ----------
    mode : int
        0..5.
    clock_hz : int
        Core clock.

    Returns
    -------
    NvDdrClocks
    """
    if mode not in range(6):
        raise ValueError(f"NV-DDR timing mode {mode!r} does not exist: choose 0..5")
    slot = 2 * -(-cycles(T_CK[mode], clock_hz) // 2)

    def slots(ns):
        return -(-cycles(ns, clock_hz) // slot)

    gap = max(2, slots(T_CAD))
    return NvDdrClocks(
        slot=slot,
        gap=gap,
        gap_written=DATA_SLOTS + gap,
        gap_read=max(gap, 1 + slots(T_DQSCK)),  # tCKWR
        turn=slots(T_WRCK),
        released=slots(T_DQSHZ),
    )
