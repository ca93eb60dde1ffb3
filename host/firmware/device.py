"""What an embedded core sees of the drive: management registers and device DRAM, nothing else."""

import numpy as np

from rtl.registers import REGISTERS, FlashStatus

__all__ = ["ERASE", "RESET", "Device"]

ERASE, RESET = 2, 3
"""Codes of FLASH_OP (`rtl.nand.operations.NandOp`)."""

_DIE_SHIFT = 24  # of FLASH_ROW


class Device:
    """Registers by name, DRAM by address, time by the lane.

    Parameters
    ----------
    lane : Lane
    config : DriveConfig
    """

    def __init__(self, lane, config):
        self._lane = lane
        self._config = config

    def charge(self):
        """Lets the time of one firmware call pass."""
        self._lane.idle(self._config.firmware_cycles)

    def read(self, name, word=0):
        """Reads a register."""
        return self._lane.csr_read(REGISTERS[name].address + 4 * word)

    def write(self, name, value):
        """Writes a register."""
        self._lane.csr_write(REGISTERS[name].address, value)

    def load(self, address, size):
        """Bytes of device DRAM."""
        return self._lane.dram[address : address + size].tobytes()

    def store(self, address, data):
        """Writes bytes to device DRAM."""
        self._lane.dram[address : address + len(data)] = np.frombuffer(data, np.uint8)

    def clear(self, address, size):
        """Zeroes device DRAM."""
        self._lane.dram[address : address + size] = 0

    def flash(self, operation, channel, die, row=0, *, pause):
        """One management operation on a die, waited for; whether it succeeded.

        ``pause`` is the number of cycles between two looks at FLASH_STATUS.
        """
        self.write("FLASH_ROW", die << _DIE_SHIFT | row)
        self.write("FLASH_OP", channel << 8 | operation)
        while (status := self.read("FLASH_STATUS")) & FlashStatus.BUSY:
            self._lane.idle(pause)
        return not status & FlashStatus.FAILED
