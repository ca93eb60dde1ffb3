"""What an embedded core sees of the drive: management registers and device DRAM, nothing else."""

import numpy as np

from rtl.registers import REGISTERS, FlashStatus

__all__ = ["ERASE", "PROGRAM", "READ", "READ_RETRY", "RESET", "STATUS", "Device"]

READ, PROGRAM, ERASE, RESET, STATUS, READ_RETRY = 0, 1, 2, 3, 5, 6
"""Codes of FLASH_OP (`rtl.nand.operations.NandOp`)."""

PAUSE = 64
"""Clocks between two looks at a read or program."""

_COUNTED = {READ: "pages_read", PROGRAM: "pages_programmed"}
_DIE_SHIFT = 24  # of FLASH_ROW


class Device:
    """Registers by name, DRAM by address, time by the lane.

    Parameters
    ----------
    lane : Lane
    config : DriveConfig
    scratch : int
        DRAM address of room for a page with its spare bytes.

    Attributes
    ----------
    own : dict of str to int array [channels]
        ``pages_read``, ``pages_programmed`` by management operations; the drive's counters have
        them, too.
    """

    def __init__(self, lane, config, scratch):
        self._lane = lane
        self._config = config
        self._scratch = scratch
        self.own = {
            name: np.zeros(config.channels, np.int64) for name in ("pages_read", "pages_programmed")
        }

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
        if operation in _COUNTED:
            self.own[_COUNTED[operation]][channel] += 1
        return not status & FlashStatus.FAILED

    def erase(self, channel, die, row, pause):
        """Erases the block of a row; whether it succeeded. The count of its reads begins anew."""
        done = self.flash(ERASE, channel, die, row, pause=pause)
        self.clear_reads(channel, die, row // self._config.flash.geometry.pages)
        return done

    def reads(self, channel, die, block):
        """Pages of a block read since its count was cleared; from ``most_reads`` on, that."""
        self.write("READ_COUNT_OF", channel << 24 | die << 16 | block)
        while (count := self.read("READ_COUNT")) >> 31:
            self.pause()
        return min(count, self._config.most_reads)

    def clear_reads(self, channel, die, block):
        """Begins a block's count anew."""
        self.reads(channel, die, block)
        self.write("READ_COUNT_CLEAR", 0)

    def read_page(self, channel, die, row, column, words, level=0):
        """Words of a page as they lie on flash: uint8 array, or None if the die does not answer.

        ``level`` is the read-retry level.
        """
        if level:
            self.flash(READ_RETRY, channel, die, level, pause=PAUSE)
        self.write("FLASH_ADDRESS", self._scratch)
        self.write("FLASH_WORDS", words << 16 | column)
        done = self.flash(READ, channel, die, row, pause=PAUSE)
        if level:
            self.flash(READ_RETRY, channel, die, 0, pause=PAUSE)
        return np.frombuffer(self.load(self._scratch, 8 * words), np.uint8) if done else None

    def program_page(self, channel, die, row, raw):
        """Programs bytes as they are to lie on flash; whether it succeeded.

        No program of the append path may be under way (PROGRAM_HOLD).
        """
        self.store(self._scratch, raw)
        self.write("FLASH_ADDRESS", self._scratch)
        self.write("FLASH_WORDS", len(raw) // 8 << 16)
        return self.flash(PROGRAM, channel, die, row, pause=PAUSE)

    def write_protected(self, channel, die):
        """Whether a die says that WP# is low."""
        answers = self.flash(STATUS, channel, die, pause=PAUSE)
        return answers and not self.read("FLASH_STATUS") >> 8 & 0x80

    def phy_state(self, channel, die):
        """What a PHY has found of a die as it started: fields of PHY_STATE by name."""
        self.write("PHY_OF", channel << 24 | die << 16)
        self.read("PHY_OF")  # the answer takes three clocks
        state = self.read("PHY_STATE")
        return {
            field.name: state >> field.offset & (1 << field.width) - 1
            for field in REGISTERS["PHY_STATE"].fields
        }

    def pause(self):
        """Lets a little time pass."""
        self._lane.idle(PAUSE)
