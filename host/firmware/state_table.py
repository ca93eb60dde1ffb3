"""The state table: what the drive must not forget (`DriveState`), kept on flash in two copies.

A new drive has none, and its blocks are looked through for the marks of their makers
(`first_start`). From then on the table counts, since the drive's codewords cover the marks. Each
copy lies in a block of its own, on different dies. A new version goes to the next pages of both
blocks, the copy that is behind first; a block that is full is erased. So the newest version is
whole in one of them at any time. It has a number and a CRC-32; the highest whole one counts.
"""

import zlib

import numpy as np

from rtl.commands import Status
from rtl.layout import Layout
from rtl.pages.codec import encode_pages
from rtl.tables import PAGE_META, PageKind

from ..capacity import spare_groups
from ..errors import DriveError
from .raw_pages import RawPages
from .state import DriveState

__all__ = ["TABLE_HEADER", "StateTable", "deliver"]

MAGIC = 0x54415453
"""'STAT' in ASCII, little endian."""

CANDIDATES = 4
"""Blocks that a copy may lie in, the first good one of them."""

# fmt: off
TABLE_HEADER = Layout("TABLE_HEADER", 24, [
    ("magic", 0, 0, 32, "MAGIC"),
    ("version", 4, 0, 32, "the highest counts"),
    ("count", 8, 0, 32, "words of 32 bits that follow, `DriveState.words`"),
    ("crc", 12, 0, 32, "CRC-32 of these words"),
    ("check", 16, 0, 32, "CRC-32 of the 16 bytes before"),
])
# fmt: on


def deliver(config, array):
    """Leaves in erased flash what the first start of a drive would: the table of marked blocks.

    Parameters
    ----------
    config : DriveConfig
    array : flash_model.array.NandArray
    """
    g = config.flash.geometry
    bad = set()
    for index in array.faults.bad_blocks if array.faults is not None else ():
        unit, block = divmod(index, g.blocks)
        bad.add((*divmod(unit, g.dies), block))
    state = DriveState(bad=bad, erases=[0] * g.blocks * config.die_parts)
    for places in StateTable.candidates(g):
        channel, die, block = next(place for place in places if place not in bad)
        for n, page in enumerate(StateTable.pages(config, 1, state, g.row(block, 0))):
            array.write_page(channel, die, g.row(block, n), page.tobytes())


class StateTable:
    """The table on flash.

    Parameters
    ----------
    device : host.firmware.device.Device
    config : DriveConfig
    pause : int
        Clocks between two looks at an erase.
    """

    def __init__(self, device, config, pause):
        self._device, self._config, self._pause = device, config, pause
        self._geometry = config.flash.geometry
        self._pages = RawPages(device, config)
        self.copies = self.candidates(self._geometry)
        self._next: list = [None, None]  # (place, page) of the next version of each copy
        self._version = 0
        self._held = [0, 0]  # newest whole version of each copy

    @staticmethod
    def candidates(geometry):
        """Two lists of places (channel, die, block), one for each copy; all in spare groups."""
        last = geometry.blocks - 1
        units = [(c, d) for c in range(geometry.channels) for d in range(geometry.dies)]
        if len(units) == 1:
            return [[(0, 0, last)], [(0, 0, last - spare_groups(geometry) + 1)]]
        count = min(CANDIDATES, len(units) // 2)
        return [[(*unit, last) for unit in some[:count]] for some in (units, units[::-1])]

    @classmethod
    def pages(cls, config, version, state, row):
        """A version as it lies on flash from ``row`` on: uint8 [pages, bytes]."""
        entries = state.words().tobytes()
        fields = dict(
            magic=MAGIC, version=version, count=len(entries) // 4, crc=zlib.crc32(entries)
        )
        check = zlib.crc32(TABLE_HEADER.pack(**fields)[:16])
        content = TABLE_HEADER.pack(**fields, check=check) + entries
        size = config.flash.geometry.page_bytes
        count = -(-len(content) // size)
        user = np.frombuffer(content.ljust(count * size, b"\0"), np.uint8).reshape(count, size)
        meta = PAGE_META.pack(kind=PageKind.STATE)
        return encode_pages(config.code, range(row, row + count), [meta] * count, user)

    def load(self):
        """`DriveState` of the newest version, or None."""
        newest = None
        for copy, places in enumerate(self.copies):
            found = [(*self._versions(place), place) for place in places]
            version, state, page, place = max(found, key=lambda each: each[0])
            self._held[copy] = version
            if version:
                self._next[copy] = place, page
            if version > self._version:
                self._version, newest = version, state
        return newest

    def save(self, state):
        """Writes a new version; ``state.bad`` may grow by blocks of the table that fail.

        Returns
        -------
        bool
            Whether at least one copy was written.
        """
        self._version += 1
        order = sorted(range(2), key=lambda copy: self._held[copy])  # one that is behind first
        return any([self._write(copy, state) for copy in order])

    def _versions(self, place):
        """Newest whole version of a block, 0 if it has none: ``(version, state, next page)``."""
        g, page, written = self._geometry, 0, -1
        newest: tuple[int, DriveState | None] = (0, None)
        # A program that was interrupted at its very beginning leaves a page that looks erased. So
        # the first one that does is left out by whoever writes next.
        while page < min(g.pages, written + 3):
            content = self._page(place, page)
            if content is None:
                written = page  # an interrupted or failed one
            if content is None or not len(content):
                page += 1
                continue
            written = page
            header = TABLE_HEADER.unpack(content)
            if header["magic"] != MAGIC or zlib.crc32(content[:16].tobytes()) != header["check"]:
                page += 1
                continue
            size = TABLE_HEADER.size + 4 * header["count"]
            count = -(-size // g.page_bytes)
            rest = [self._page(place, page + n) for n in range(1, count) if page + n < g.pages]
            parts = [content, *(part for part in rest if part is not None)]
            entries = np.concatenate(parts)[TABLE_HEADER.size : size].tobytes()
            page += 1
            if len(entries) == 4 * header["count"] and zlib.crc32(entries) == header["crc"]:
                newest = header["version"], DriveState.read(np.frombuffer(entries, "<u4"))
                page += count - 1
                written = page - 1
        return (*newest, written + 2)

    def _page(self, place, page):
        """User bytes of a page of the table; none of an erased one, None if it cannot be read."""
        channel, die, block = place
        found = self._pages.read(channel, die, self._geometry.row(block, page))
        return found if found is None else np.array([], np.uint8) if found == () else found[1]

    def _write(self, copy, state):
        """Writes the present version to one copy; whether that was possible."""
        g = self._geometry
        while True:
            if self._next[copy] is None:
                place = next((p for p in self.copies[copy] if p not in state.bad), None)
                if place is None:
                    return False
                page = g.pages
            else:
                place, page = self._next[copy]
            channel, die, block = place
            raw = self.pages(self._config, self._version, state, g.row(block, page % g.pages))
            if len(raw) > g.pages:
                raise DriveError(
                    Status.NO_SPACE,
                    f"the drive's state takes {len(raw)} pages, a block has {g.pages}: close "
                    "sequences that were truncated or forked often",
                )
            if page + len(raw) > g.pages:
                page = 0
                raw = self.pages(self._config, self._version, state, g.row(block, 0))
                done = self._device.erase(channel, die, block * g.pages, self._pause)
            else:
                done = True
            done = done and all(
                self._device.program_page(channel, die, g.row(block, page + n), each)
                for n, each in enumerate(raw)
            )
            if done:
                self._next[copy] = place, page + len(raw)
                self._held[copy] = self._version
                return True
            state.bad.add(place)
            self._next[copy] = None
