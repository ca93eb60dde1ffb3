"""Heads that are attended sparsely, for the tests of their walkers: configurations, random places
in device DRAM, and who grants the tail."""

import random
from dataclasses import dataclass

from rtl.config import DriveConfig
from rtl.pages.requests import Source
from rtl.tables import COLUMN_ENTRY, MAP_ENTRY, bounds_groups, unit_groups
from tests.rtl.streams_bench import _Inputs

__all__ = ["BOUNDED_DRIVES", "DRIVES", "Dram", "Grant", "Head", "drive", "shown"]

PROFILES = {512: "tiny", 4096: "paper", 16384: "tlc_onfi5"}

DRIVES = [(512, 512, 64), (4096, 512, 128), (4096, 1024, 64), (16384, 1024, 128), (16384, 512, 256)]
"""Bytes of a page, bytes of a codeword, head_dim: codewords of 1, 2, 4 and 8 tokens."""

BOUNDED_DRIVES = [(4096, 512, 64), (4096, 1024, 128), (16384, 1024, 64)]
"""The same for bounds: units of 8 groups that fill a page, of fewer than one of K by channel; of 4
groups and half a page."""


def drive(channels, page, codeword, pass_tokens=512, bounds=False):
    """A drive's configuration: 4 dies, passes of few tokens, any head_dim that a page holds."""
    return DriveConfig(
        profile=PROFILES[page],
        channels=channels,
        dies=4,
        codeword_bytes=codeword,
        max_head_dim=min(256, page // 8),
        pass_tokens=pass_tokens,
        max_tokens=16 * pass_tokens,
        sparse_tokens=16 * pass_tokens if bounds else 0,
        bounds=bounds,
    )


class Dram:
    """Places in the memory of a bench, one after the other."""

    def __init__(self, memory):
        self.memory, self.free = memory, 0x100

    def put(self, raw, address=None):
        address = self.free if address is None else address
        self.memory.put(address, raw)
        self.free = address + len(raw) + 3 & ~3
        return address


@dataclass
class Head:
    """A head of random pages in device DRAM: whole units, groups beyond, a tail of some tokens;
    units are of K by channel, or of bounds."""

    config: DriveConfig
    head_dim: int
    units: int
    beyond: int
    tail_tokens: int
    rng: random.Random
    bounds: bool = False

    def __post_init__(self):
        config, rng = self.config, self.rng
        page = config.flash.geometry.page_bytes
        self.group_tokens = page // (2 * self.head_dim)
        groups = bounds_groups if self.bounds else unit_groups
        self.unit_groups = groups(self.head_dim, page, config.codeword_bytes)
        self.unit_tokens = self.unit_groups * self.group_tokens
        self.unit_pages = 1 if self.bounds else self.unit_groups
        self.in_units = self.units * self.unit_groups
        self.groups = self.in_units + self.beyond
        self.channel = rng.randrange(256)
        self.tail = 512 * rng.randrange(100)
        names = ("k_row", "k_die", "v_row", "v_die")
        self.pages = [
            {name: rng.getrandbits(24) if "row" in name else rng.randrange(4) for name in names}
            for _ in range(self.groups)
        ]
        pages = self.units * self.unit_pages
        self.columns = [(rng.getrandbits(24), rng.randrange(4)) for _ in range(pages)]

    def place(self, dram):
        """Writes its tables; what a walk of it says of the head."""
        dram.free += -dram.free % 8
        entries = dram.put(b"".join(MAP_ENTRY.pack(**page) for page in self.pages))
        return {
            "format": self.rng.randrange(2),
            "beats": self.head_dim // 4,
            "channel": self.channel,
            "map": entries,
            "tail": self.tail,
            "flash_groups": self.groups,
            "group_tokens": self.group_tokens,
            "units": self.units,
            "unit_groups": self.unit_groups,
        }

    def place_columns(self, dram):
        """Writes the entries of the pages of its units; the address of the first one's half."""
        dram.free += 4 * self.rng.randrange(2)
        odd = dram.free // 4 % 2
        halves = [(0, 0)] * odd + self.columns + [(0, 0)]
        raw = b"".join(
            COLUMN_ENTRY.pack(even_row=a[0], even_die=a[1], odd_row=b[0], odd_die=b[1])
            for a, b in zip(halves[0::2], halves[1::2])
        )
        begin = dram.free - 4 * odd
        dram.put(raw[4 * odd :], begin + 4 * odd)
        return begin + 4 * odd


class Grant(_Inputs):
    """Grants the tail to one who asks, after a while; what uses it must do so while it is held."""

    def __init__(self, bench, dut):
        super().__init__()
        self.port, self.wait = dut.tail_grant, bench.stall
        self.rng = random.Random(7)
        self.signals = [dut.tail_ask]
        self.asked = self.on = False
        bench.drivers.append(self)

    def drive(self, ctx, frozen):
        if not frozen:
            self.on = self.asked and (self.on or self.rng.random() >= self.wait)
            self._put(ctx, self.port, self.on)

    def observe(self, clock, ask):
        self.asked = bool(ask)
        return False

    def check(self, item):
        """For the sinks of requests: an item was taken."""
        if item.get("source", Source.TAIL.value) == Source.TAIL.value:
            assert self.on and self.asked, f"the tail is not granted: {item}"


def shown(got, wanted):
    """Items, cut down to the fields that are wanted of them."""
    return [{name: item[name] for name in want} for item, want in zip(got, wanted)]
