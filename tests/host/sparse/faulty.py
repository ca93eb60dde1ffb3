"""Sparse attention on flash of which some pages cannot be read."""

import numpy as np

from cosim.reference import twin_attend_sparsely
from flash_model.faults import Faults
from host import DriveError, KvDrive
from host.firmware.tables import place_at
from rtl.tables import MAP_ENTRY, PageKind
from tests.host.sparse.pair import TINY, Exactly, spread


class Faulty:
    """A drive of gateware whose pages may become unreadable, with a head that is attended sparsely.

    Its last tokens lie beyond the units, the very last in the tail.
    """

    TOKENS = 603

    def __init__(self, rng, config=TINY, rate=None, attention=None):
        self.attention = attention or Exactly(8, 20)
        self.config, self.geometry = config, config.flash.geometry
        self.faults = Faults(self.geometry, seed=3, rate=rate)
        self.drive = KvDrive(config, faults=self.faults)
        self.k, self.v = spread(rng, (2, self.TOKENS, 64))
        self.q = spread(rng, (2, 64))
        shape = {"layers": 1, "kv_heads": 1, "head_dim": 64, "max_tokens": 1000}
        self.number, self.other = (
            self.drive.open(**shape, index=self.attention.index) for _ in range(2)
        )
        for number in (self.number, self.other):
            self.drive.preload(number, 0, self.k[:, None], self.v[:, None])
        self.group = config.group_tokens(64)
        self.shape = self.drive.backend.firmware.capacity.placements[self.number].shape
        unit = self.shape.unit_tokens
        self.in_units = self.TOKENS // self.group * self.group // unit * unit
        selection = self.attention.selection(64, self.TOKENS)._asdict()
        if self.shape.bounds:
            selection |= {"channels": None, "bounded": self.in_units}
        self.result = twin_attend_sparsely(
            self.q, self.k, self.v, 64**-0.5, **selection, pass_tokens=config.pass_tokens
        )

    def place(self, kind, page):
        """Channel, die and row of a page of the first sequence."""
        firmware = self.drive.backend.firmware
        placement = firmware.capacity.placements[self.number]
        at = place_at(placement, kind, 0, page)
        entry = MAP_ENTRY.unpack(self.drive.backend.lane.dram[at : at + 4].tobytes() + bytes(4))
        shape = placement.shape
        column = kind == PageKind.COLUMNS
        channel = shape.column_channel(page, 0) if column else shape.channel(page, 0)
        return int(channel), entry["k_die"], entry["k_row"]

    def spoil(self, kind, page):
        """Makes a page unreadable."""
        g, (channel, die, row) = self.geometry, self.place(kind, page)
        number = (channel * g.dies + die) * g.rows + row
        self.faults.bit_flips[number] = g.page_total // 2

    def attend_both(self):
        """What becomes of the first sequence, None or a status; that of the other must be right."""
        status = None
        jobs = [(self.number, 0, self.q), (self.other, 0, self.q), (self.number, 0, self.q)]
        try:
            outputs = self.drive.attend_batch(jobs, attention=self.attention)
        except DriveError as error:
            status, outputs = error.status, error.outputs
            assert outputs[0] is outputs[2] is None
        assert outputs[1].tobytes() == self.result.out.tobytes()
        if status is None:
            assert outputs[0].tobytes() == outputs[2].tobytes() == outputs[1].tobytes()
        return status

    def channels(self, chosen):
        """Channels that are chosen, or are not; with one codeword a page, pages of a unit."""
        return np.flatnonzero(self.result.choice.channels == chosen)

    def pages(self, kept):
        """Groups on flash with a token kept, or without one."""
        keep = self.result.choice.keep[: self.TOKENS // self.group * self.group]
        return np.flatnonzero(keep.reshape(-1, self.group).any(axis=1) == kept)
