"""What the drive tells of its flash: programs that failed, and pages that had to be read again."""

from collections import Counter

import numpy as np

from rtl.registers import FlashEvent
from rtl.tables import SLOT_HEADER, slot_bytes

__all__ = ["AGAIN_LIMIT", "Failures"]

AGAIN_LIMIT = 4
"""Times that pages of a block had to be read again, after which it is taken for bad."""


class Failures:
    """What was told and is to be mended.

    Parameters
    ----------
    device : host.firmware.device.Device
    capacity : host.capacity.Capacity
    geometry : flash_model.geometry.Geometry

    Attributes
    ----------
    slots : list of int
        Program slots whose programs failed.
    tired : set of (int, int, int)
        Blocks (channel, die, block) whose pages had to be read again too often.
    read_often : set of (int, int, int)
        Blocks that were read ``config.read_limit`` times since they were erased.
    """

    def __init__(self, device, capacity, geometry):
        self._device, self._capacity, self._geometry = device, capacity, geometry
        self.slots, self.tired, self.read_often = [], set(), set()
        self._again = Counter()

    def take(self, bad):
        """Takes what there is to be told; ``bad`` blocks are known."""
        while (event := self._device.read("EVENT")) & FlashEvent.VALID:
            number = event & 0xFF
            row = self._device.read("EVENT_ROW")
            place = number, row >> 24, (row & 0xFFFFFF) // self._geometry.pages
            if event & FlashEvent.OFTEN:
                self.read_often.add(place)
            elif event & FlashEvent.AGAIN:
                self._again[place] += 1
                if self._again[place] == AGAIN_LIMIT and place not in bad:
                    self.tired.add(place)
            else:
                self.slots.append(number)
            self._device.write("EVENT_TAKEN", 0)

    def pages(self):
        """Pages whose programs failed: block (channel, die, block) -> page -> meta, user bytes."""
        rescued, size = {}, slot_bytes(self._geometry)
        for slot in self.slots:
            content = self._device.load(self._capacity.program_buffer + slot * size, size)
            head = SLOT_HEADER.unpack(content)
            block, page = divmod(head["row"], self._geometry.pages)
            place = head["channel"], head["die"], block
            meta = head["meta"].to_bytes(8, "little")
            user = np.frombuffer(content, np.uint8)[SLOT_HEADER.size :]
            rescued.setdefault(place, {})[page] = meta, user
        return rescued

    def release(self):
        """All of it is mended; the slots are free."""
        for slot in self.slots:
            self._device.write("PROGRAM_RELEASE", slot)
        self.slots.clear()
        self.tired.clear()

    def forget(self, place):
        """A block is erased: its pages are gone."""
        self._again.pop(place, None)
        self.read_often.discard(place)
