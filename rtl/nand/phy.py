"""The boundary to the NAND PHY, digital side: one core clock, bus symbols and their strobes.

A symbol (command, address or data) is presented on ``cycle`` for its whole cycle time; ``strobe``
marks the one clock in which it takes effect (the last of tWC for command and address; for data each
word of 8 bytes has one strobe, spaced so that the interface's data rate is respected). Read data
come back as ``r_valid``/``r_data`` some clocks later, in order, one word for each READ strobe.
"""

from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["Cycle", "PhySignature"]


class Cycle(enum.Enum, shape=3):
    """What the bus carries."""

    IDLE = 0
    COMMAND = 1  # CLE: command byte in w_data[7:0]
    ADDRESS = 2  # ALE: address byte in w_data[7:0]
    WRITE = 3  # data into the page register, 8 bytes per strobe
    READ = 4  # data out of the page register (or status, ID), 8 bytes per strobe


class PhySignature(wiring.Signature):
    """The PHY of one channel as seen by the channel controller.

    Parameters
    ----------
    dies : int
        Dies on the channel, one chip enable each.
    """

    def __init__(self, dies):
        super().__init__(
            {
                "die": Out(max(1, ceil_log2(dies))),  # which chip enable is asserted
                "cycle": Out(Cycle),
                "strobe": Out(1),
                "w_data": Out(64),
                "r_valid": In(1),
                "r_data": In(64),
                "ready": In(dies),  # R/B#, one per die, 1 = ready
            }
        )

    def __eq__(self, other):
        return type(self) is type(other) and self.members == other.members
