"""Bad blocks and what they hold: found, stood in for, moved, remembered.

A block is bad if its maker marked it, if a program or an erase of it failed, or if its pages had to
be read again at another level too often. What it holds is moved, page by page, to a block that
stands in for it, before anything else is programmed there; the page whose program failed is still
in its program slot. Then the table on flash is written anew.
"""

from collections import Counter

import numpy as np

from rtl.commands import Status
from rtl.registers import FlashEvent
from rtl.tables import MAP_ENTRY, PAGE_META, SLOT_HEADER, PageKind, slot_bytes

from ..errors import DriveError
from .blocks import Blocks
from .groups import BlockGroups
from .state import DriveState
from .state_table import StateTable

__all__ = ["AGAIN_LIMIT", "Repair"]

AGAIN_LIMIT = 4
"""Times that pages of a block had to be read again, after which it is taken for bad."""

RING = 16
"""Places of the append path's ring of groups (`rtl.allocator.RING_GROUPS`)."""


class Repair:
    """Keeps groups whole.

    Parameters
    ----------
    device : host.firmware.device.Device
    config : DriveConfig
    capacity : host.capacity.Capacity
    pages : host.firmware.raw_pages.RawPages
    shared : host.firmware.sharing.SharedPages
    tails : host.firmware.saved_tails.SavedTails
    pause : int
        Clocks between two looks at an erase.

    Attributes
    ----------
    blocks : host.firmware.blocks.Blocks
    groups : host.firmware.groups.BlockGroups
    state : DriveState
    counts : Counter
        ``pages_moved``, ``pages_lost``, ``pages_compacted``.
    """

    def __init__(self, device, config, capacity, pages, shared, tails, pause):
        self._device, self._config, self._capacity = device, config, capacity
        self._geometry = config.flash.geometry
        self._pause = pause
        self._pages, self._shared, self._tails = pages, shared, tails
        self._table = StateTable(device, config, pause)
        tables = [place for copy in self._table.copies for place in copy]
        self.blocks = Blocks(self._geometry, tables)
        self.groups = BlockGroups(self._geometry, self.blocks)
        self._again = Counter()
        self._failed, self._tired = [], set()  # slots; blocks that were read again too often
        self._changed = False  # the table on flash is behind
        self._places = {}  # group -> its place in the append path's ring
        self.counts = Counter()

    def start(self):
        """Finds out which blocks are bad and makes all groups whole."""
        known = self._table.load()
        self.state = known or DriveState(bad=self._table.scan())
        found = sorted(self.state.bad)
        for place in found:
            self.blocks.mark(*place)
        for group in self.blocks.restore(self.state.stand_ins):
            self.groups.drop(group)
        if self.state.erases:
            self.groups.erases[:] = self.state.erases
        # From here on they are one: what changes is in the next version of the table.
        self.state.bad, self.state.stand_ins = self.blocks.bad, self.blocks.serving
        self.state.erases = self.groups.erases
        if known is None:
            self.save()
        for channel, at, block in found:
            die, group = self.blocks.serves(channel, at, block)
            whole = self.blocks.place(channel, die, group) != (at, block)
            if self.groups.uses(group) and not whole:
                self._changed = True
                if self._stand_in(channel, die, group, {}) is None:
                    self.groups.drop(group)

    def push(self, group, number):
        """Tells the append path which blocks stand in, before the group is pushed as ``number``."""
        for old, place in list(self._places.items()):
            if place == number % RING:
                del self._places[old]
        self._places[group] = number % RING
        for channel, die, serves in self.blocks.stand_ins(group):
            self._tell(group, channel, die, serves)

    def _tell(self, group, channel, die, serves):
        self._device.write("FLASH_ROW", serves[0] << 24 | serves[1])
        self._device.write("GROUP_SUBSTITUTE", die << 16 | channel << 8 | self._places[group])

    def erase(self, group):
        """Erases a group, blocks that fail replaced; whether it is whole."""
        g = self._geometry
        for die in range(g.dies):
            for channel in range(g.channels):
                at, block = self.blocks.place(channel, die, group)
                self._again.pop((channel, at, block), None)  # of pages that are gone now
                if not self._device.erase(channel, at, block * g.pages, self._pause):
                    self._refuse_if_protected(channel, at)
                    self._retire(channel, at, block)
                    if self._stand_in(channel, die, group, {}) is None:
                        self.blocks.give_up(group)
                        return False
        return True

    def service(self, feed):
        """Takes what the drive tells of, failed programs and pages read again, and mends it.

        ``feed`` gives the append path block groups if it waits for some.
        """
        self._take()
        if not (self._failed or self._tired or self._changed):
            return
        device = self._device
        device.write("PROGRAM_HOLD", 1)
        while device.read("PROGRAM_USED") != len(self._failed):
            device.pause()
            feed()
            self._take()
        rescued = {}
        for slot in self._failed:
            content = device.load(
                self._capacity.program_buffer + slot * slot_bytes(self._geometry),
                slot_bytes(self._geometry),
            )
            head = SLOT_HEADER.unpack(content)
            block, page = divmod(head["row"], self._geometry.pages)
            place = head["channel"], head["die"], block
            meta = head["meta"].to_bytes(8, "little")
            user = np.frombuffer(content, np.uint8)[SLOT_HEADER.size :]
            rescued.setdefault(place, {})[page] = meta, user
        for place in sorted(self._tired | set(rescued)):
            self._move(place, rescued.get(place, {}))
        for slot in self._failed:
            device.write("PROGRAM_RELEASE", slot)
        self._failed, self._tired = [], set()
        self.save()
        device.write("PROGRAM_HOLD", 0)

    def program(self, channel, die, row, meta, user):
        """Programs a page of the firmware's own, on another block if its own fails.

        The append path rests, with no program under way: see `settle`.

        Returns
        -------
        (int, int)
            Die and row where the page lies.
        """
        if self._pages.program(channel, die, row, meta, user):
            return die, row
        block, page = divmod(row, self._geometry.pages)
        at, block = self._move((channel, die, block), {page: (meta, user)})
        return at, self._geometry.row(block, page)

    def settle(self, feed):
        """Lets all programs under way end, and mends those that fail. The append path rests."""
        while self._device.read("PROGRAM_USED"):
            self._device.pause()
            self.service(feed)

    def _take(self):
        """Notes failed programs, and blocks that had to be read again too often."""
        while (event := self._device.read("EVENT")) & FlashEvent.VALID:
            number = event & 0xFF
            if event & FlashEvent.AGAIN:
                row = self._device.read("EVENT_ROW")
                place = number, row >> 24, (row & 0xFFFFFF) // self._geometry.pages
                self._again[place] += 1
                if self._again[place] == AGAIN_LIMIT and place not in self.blocks.bad:
                    self._tired.add(place)
            else:
                self._failed.append(number)
            self._device.write("EVENT_TAKEN", 0)

    def _move(self, place, rescued):
        """Retires a block and has another one stand in, ``(die, block)``, with what it holds."""
        channel, at, block = place
        self._refuse_if_protected(channel, at)
        self._retire(*place)
        die, group = self.blocks.serves(channel, at, block)
        pages = self._contents(channel, at, block, rescued)
        new = self._stand_in(channel, die, group, pages)
        if new is None:
            raise DriveError(
                Status.NO_SPACE,
                f"block {block} of die {at}, channel {channel} failed, and no spare block is left "
                "for what it holds: close sequences that are no longer needed",
            )
        for page, (meta, _) in pages.items():
            old = at, self._geometry.row(block, page)
            there = new[0], self._geometry.row(new[1], page)
            self.moved(channel, old, there, meta)
        self.counts["pages_moved"] += len(pages)
        filled = len(pages) and max(pages) == self._geometry.pages - 1
        if group in self._places and not filled:
            self._tell(group, channel, die, new)
        return new

    def _refuse_if_protected(self, channel, die):
        if self._device.write_protected(channel, die):
            raise DriveError(
                Status.PROGRAM_FAILED,
                f"die {die} of channel {channel} is write-protected: release WP#",
            )

    def _retire(self, *place):
        self.blocks.mark(*place)
        self._changed = True

    def _contents(self, channel, die, block, rescued):
        """What can be read of a block: page -> (meta, user bytes)."""
        pages = dict(rescued)
        for page in range(self._geometry.pages):
            if page in rescued:
                continue
            row = self._geometry.row(block, page)
            found = self._pages.read(channel, die, row)
            if found is None:
                self.counts["pages_lost"] += 1
            elif found:
                pages[page] = found
            elif page > max(rescued, default=-1):
                break
        return dict(sorted(pages.items()))

    def _stand_in(self, channel, die, group, pages):
        """Has a spare with these pages serve for a die of a group: ``(die, block)`` or None."""
        g = self._geometry
        while True:
            spare = self.blocks.spare(channel, die)
            if spare is None:
                given_up = self.groups.give_up()
                if given_up is None:
                    return None
                self.blocks.give_up(given_up)
                continue
            at, block = spare
            if self._device.erase(channel, at, block * g.pages, self._pause) and all(
                self._pages.program(channel, at, g.row(block, page), *content)
                for page, content in pages.items()
            ):
                self.blocks.stand_in(channel, die, group, spare)
                return spare
            self._retire(channel, at, block)

    def moved(self, channel, old, new, meta):
        """A page has another place ``(die, row)`` on its channel, for all that hold it.

        Nobody holds one that is dead.
        """
        self._remap(channel, old, new, meta)
        self._shared.move(channel, old, new)

    def _remap(self, channel, old, new, meta):
        """The maps of all that hold a page show its new place."""
        fields = PAGE_META.unpack(meta)
        if fields["kind"] == PageKind.TAILS:
            self._tails.move(fields["segment"], channel, old, new)
            return
        name = "v" if fields["kind"] == PageKind.V else "k"
        half = MAP_ENTRY.pack(**{f"{name}_die": new[0], f"{name}_row": new[1]})
        part = slice(4, 8) if name == "v" else slice(0, 4)
        for placement in self._capacity.placements.values():
            shape = placement.shape
            index = fields["index"]
            if index >= shape.heads or fields["group"] >= shape.groups:
                continue
            if shape.channel(fields["group"], index) != channel:
                continue
            at = placement.map + MAP_ENTRY.size * (index * shape.groups + fields["group"])
            entry = MAP_ENTRY.unpack(self._device.load(at, MAP_ENTRY.size))
            if (entry[f"{name}_die"], entry[f"{name}_row"]) == old:
                self._device.store(at + part.start, half[part])

    def save(self):
        """Writes the state table; whether a block took it.

        The append path rests, with no program under way.
        """
        saved = self._table.save(self.state)
        self._changed = not saved
        return saved
