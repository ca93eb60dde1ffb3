"""What a PHY has found of its dies as it started, for the drive's registers (`PHY_STATE`)."""

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["PhyReportSignature", "phy_report_layout"]


def phy_report_layout():
    """Of one die; times in half clocks. Without a PHY that tells, all is 0."""
    return data.StructLayout(
        {
            "tells": 1,
            "answers": 1,  # R/B_n fell behind a reset, and rose
            "usable": 1,  # answers, and its data are where its channel's are taken
            "reserved": 5,
            "offset": 8,  # where in time its channel's data are taken
            "first": 8,  # the first such time at which its own are right ...
            "width": 8,  # ... and how many follow each other; 0: none, or not looked for
        }
    )


class PhyReportSignature(wiring.Signature):
    """What one asks a PHY.

    Parameters
    ----------
    dies : int
        Dies on the channel.

    Members
    -------
    die : Out
        Which die is asked for.
    state : In(``phy_report_layout()``)
        The answer, a clock later.
    """

    def __init__(self, dies):
        super().__init__({"die": Out(max(1, ceil_log2(dies))), "state": In(phy_report_layout())})

    def __eq__(self, other):
        return type(self) is type(other) and self.members == other.members
