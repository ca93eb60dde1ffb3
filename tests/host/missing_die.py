"""A simulated drive of which a die is missing, and PHYs that tell of it."""

from amaranth.hdl import Mux

from cosim.top import SimTop
from rtl.nand.phy_report import phy_report_layout

__all__ = ["MissingDie"]

FOUND = {"tells": 1, "answers": 1, "usable": 1, "reserved": 0, "offset": 9, "first": 8, "width": 3}


class MissingDie(SimTop):
    """As `SimTop`, but one die is what a PHY makes of one that is not there.

    Parameters
    ----------
    config : rtl.config.DriveConfig
    channel, die : int
        Which.
    found : dict
        What its PHY has found of it, besides that it tells.
    """

    def __init__(self, config, channel, die, **found):
        super().__init__(config)
        self._place = channel, die
        self._found = phy_report_layout().const({"tells": 1, "offset": 9, **found})

    def elaborate(self, platform):
        m = super().elaborate(platform)
        drive = m.submodules.drive
        channel, die = self._place
        m.d.comb += drive.phy[channel].ready[die].eq(0)  # on top of what it is connected to
        there = phy_report_layout().const(FOUND)
        for index, report in enumerate(drive.report):
            missing = (report.die == die) & (index == channel)
            m.d.comb += report.state.eq(Mux(missing, self._found, there))
        return m
