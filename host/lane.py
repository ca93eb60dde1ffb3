"""What the driver and the firmware need of a simulated drive."""

from typing import Protocol

import numpy as np

__all__ = ["Lane"]


class Lane(Protocol):
    """A drive with its memories, run until an event; `cosim.native_lane.NativeLane` is one.

    Attributes
    ----------
    host, dram : uint8 arrays
        Host memory (its first byte at `cosim.environment.HOST_BASE`) and device DRAM.
    array : flash_model.array.NandArray
        Contents of the flash, for the back door alone.
    cycle, simulated_clocks : int
        Clock cycles since reset, and how many of them were really evaluated.
    mailbox : bool
        The drive wants its firmware.
    """

    host: np.ndarray
    dram: np.ndarray
    array: object
    cycle: int
    simulated_clocks: int
    mailbox: bool

    def csr_read(self, address: int) -> int:
        """Reads a register."""

    def csr_write(self, address: int, value: int) -> None:
        """Writes a register."""

    def run(self, until_irq: bool, until_mailbox: bool, max_cycles: int) -> object:
        """Runs until an interrupt, a call for the firmware, a standstill or the limit.

        Returns an event with ``irqs`` (count), ``mailbox``, ``stuck`` and ``timeout``.
        """

    def idle(self, cycles: int) -> None:
        """Lets cycles pass."""
