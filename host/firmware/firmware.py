"""The firmware: policy of the drive, in Python, seeing only what an embedded core would see.

It brings up flash and tables, answers OPEN, CLOSE, FORK and TRUNCATE from the mailbox, keeps the
append path supplied with erased block groups, erases groups whose pages are all dead, and has other
blocks stand in for bad ones (`repair`). Every call costs ``config.firmware_cycles``.
"""

import numpy as np

from rtl.commands import SQE, SQE_VIEWS, Opcode, Status
from rtl.tables import SEQUENCE, SequenceState

from ..capacity import Capacity, spare_groups
from ..checks import FORMATS
from ..errors import DriveError
from . import tables
from .device import PROGRAM, RESET, Device
from .raw_pages import RawPages
from .repair import Repair
from .sharing import SharedPages
from .truncation import Truncation

__all__ = ["Firmware"]

PUSHED_AHEAD = 4
"""Block groups that the append path is given ahead; it calls when it has none left."""

_WAITS, _STARVED = 1, 2  # MAILBOX_STATUS


class Firmware:
    """Firmware of one drive.

    Parameters
    ----------
    lane : Lane
    config : DriveConfig

    Attributes
    ----------
    capacity : Capacity
    groups : BlockGroups
    repair : Repair
    shared : SharedPages
    read_only : bool
        No tokens are taken: a block that no other can stand in for is in use.
    """

    def __init__(self, lane, config):
        self._config = config
        self.capacity = Capacity(config)
        self.device = Device(lane, config, self.capacity.scratch)
        timing, clock = config.flash.timing, config.clock_hz
        erase_pause = 1 + int(timing.t_bers_ns * clock / 16e9)  # a sixteenth of tBERS
        self.shared = SharedPages(config.flash.geometry)
        self._pages = RawPages(self.device, config)
        self.repair = Repair(
            self.device,
            config,
            self.capacity,
            self._pages,
            self.shared,
            erase_pause,
            lambda: -self.shortage(),
        )
        self.groups = self.repair.groups
        self._reset_pause = 1 + int(timing.t_rst_ns * clock / 4e9)
        self.read_only = False
        self._ring = 0  # groups that the append path holds at most

    def start(self):
        """Resets the dies, finds bad blocks, empties the sequence table, hands out groups."""
        geometry = self._config.flash.geometry
        for die in range(geometry.dies):
            for channel in range(geometry.channels):
                if not self.device.flash(RESET, channel, die, pause=self._reset_pause):
                    raise DriveError(
                        Status.INTERNAL_ERROR,
                        f"die {die} of channel {channel} does not answer a reset",
                    )
        self.device.clear(Capacity.SEQUENCE_TABLE, SEQUENCE.size * self._config.max_sequences)
        self.device.write("SEQUENCE_TABLE", Capacity.SEQUENCE_TABLE)
        self.device.write("PROGRAM_BUFFER", self.capacity.program_buffer)
        self.device.write("READ_LIMIT", self._config.read_limit)
        self.repair.start()
        self._ring = self.device.read("GROUP_FREE")
        self._supply()

    def service(self):
        """Answers the drive's call: supplies block groups, executes the command in the mailbox."""
        self.device.charge()
        wants = self.device.read("MAILBOX_STATUS")
        if wants & _STARVED:
            self._feed()
        if wants & _WAITS:
            self._execute()
        self.repair.service(self._feed_starved)
        if self.repair.crippled and not self.read_only:
            self._refuse_tokens(True)

    def _refuse_tokens(self, refuse):
        """Whether the drive answers commands that bring tokens with READ_ONLY."""
        self.read_only = refuse
        self.device.write("READ_ONLY", refuse)

    def _mend(self):
        """Sequences have shrunk: perhaps there are blocks again for what is crippled."""
        self.provide(2)  # one group's blocks for it, another's for the refuge
        maps = [
            tables.read_map(self.device, placement)
            for placement in self.capacity.placements.values()
        ]
        pages = self._config.flash.geometry.pages
        held = {
            (channel, die, row // pages)
            for places in maps
            for channel, die, row in zip(*(part.tolist() for part in places), strict=True)
        }
        self._refuse_tokens(not self.repair.mend(self._feed_starved, held))

    def wear(self):
        """What is known of the flash's wear, see `host.health`."""
        geometry = self._config.flash.geometry
        blocks = self.repair.blocks
        return {
            "pages_firmware": self.device.counts[PROGRAM],
            "group_erases": self.groups.erases[: geometry.blocks - spare_groups(geometry)],
            "spares": [blocks.spares(channel) for channel in range(geometry.channels)],
            "reads_per_block_max": max(
                (
                    self.device.reads(channel, *blocks.place(channel, die, group))
                    for group in self.groups.in_use
                    for channel in range(geometry.channels)
                    for die in range(geometry.dies)
                ),
                default=0,
            ),
            "read_only": self.read_only,
        }

    def _feed_starved(self):
        if self.device.read("MAILBOX_STATUS") & _STARVED:
            self._feed()

    def _execute(self):
        raw = b"".join(self.device.read("MAILBOX_SQE", n).to_bytes(4, "little") for n in range(16))
        result = status = 0
        try:
            match SQE.unpack(raw)["opcode"]:
                case Opcode.OPEN:
                    result = self._open(SQE_VIEWS["open"].unpack(raw))
                case Opcode.CLOSE:
                    self._close(SQE.unpack(raw)["sequence"])
                    if self.read_only:
                        self._mend()
                case Opcode.FORK:
                    asked = SQE.unpack(raw)
                    result = self._fork(asked["sequence"], asked["tokens"])
                case Opcode.TRUNCATE:
                    asked = SQE.unpack(raw)
                    self._truncate(asked["sequence"], asked["tokens"])
                    if self.read_only:
                        self._mend()
                case _:
                    status = Status.INVALID_OPCODE
        except DriveError as error:
            status = error.status
        self.device.write("MAILBOX_RESULT", result)
        self.device.write("MAILBOX_DONE", status)

    def _open(self, asked):
        if asked["format"] >= len(FORMATS):
            raise DriveError(Status.UNSUPPORTED_FORMAT, f"format = {asked['format']}")
        if asked["index"]:
            raise DriveError(Status.UNSUPPORTED_INDEX, f"index = {asked['index']}")
        shape = self.capacity.shape(
            *(asked[n] for n in ("layers", "kv_heads", "head_dim", "max_tokens"))
        )
        placement = self.capacity.admit(shape, self.shared.saved)
        tables.clear_heads(self.device, placement)
        if not self.provide():
            self.capacity.release(placement.sequence)
            raise DriveError(Status.NO_SPACE, "too few erased block groups")
        tables.write_open(self.device, placement, asked["format"])
        self._supply()
        return placement.sequence

    def _placement(self, sequence):
        """`Placement` of an open sequence."""
        placement = self.capacity.placements.get(sequence)
        if placement is None:
            closed = (
                sequence < self._config.max_sequences
                and tables.read_entry(self.device, sequence)["state"] == SequenceState.CLOSED
            )
            raise DriveError(Status.CLOSED_SEQUENCE if closed else Status.UNKNOWN_SEQUENCE)
        return placement

    def _close(self, sequence):
        placement = self._placement(sequence)
        self._drop(tables.read_map(self.device, placement))
        tables.write_closed(self.device, sequence)
        self.capacity.release(sequence)

    def _drop(self, places):
        """A sequence does not hold these pages any more."""
        gone = self.shared.leave(*places)
        self.groups.bury(*(part[gone] for part in places))

    def _fork(self, sequence, max_tokens):
        """A new sequence with the same tokens; what they have on flash is shared."""
        old = self._placement(sequence)
        shape = old.shape
        shape = self.capacity.shape(
            shape.layers, shape.kv_heads, shape.head_dim, max_tokens or shape.max_tokens
        )
        if tables.read_heads(self.device, old).tokens.max() > shape.max_tokens:
            raise DriveError(Status.CONTEXT_EXCEEDED, f"max_tokens = {max_tokens}")
        places = tables.read_map(self.device, old)
        more = np.bincount(places[0], minlength=self._config.channels)
        placement = self.capacity.admit(shape, self.shared.saved + more)
        self.shared.share(*places)
        tables.copy(self.device, old, placement)
        if not self.provide():
            self.shared.leave(*places)
            self.capacity.release(placement.sequence)
            raise DriveError(Status.NO_SPACE, "too few erased block groups")
        format = tables.read_entry(self.device, sequence)["format"]
        tables.write_open(self.device, placement, format)
        self._supply()
        return placement.sequence

    def _truncate(self, sequence, tokens):
        """Every layer keeps ``tokens`` tokens at most."""
        placement = self._placement(sequence)
        shape = placement.shape
        heads = tables.read_heads(self.device, placement)
        keep = np.minimum(heads.tokens, tokens)
        groups = np.minimum(heads.flash_groups, keep // shape.group_tokens)
        again = shape.channel_pages(groups) - shape.channel_pages(heads.flash_groups)
        if not self.provide(placed=-again):  # what is dropped may be written once more
            raise DriveError(Status.NO_SPACE, "too few erased block groups")
        self.repair.settle(self._feed_starved)
        format = FORMATS[tables.read_entry(self.device, sequence)["format"]]
        truncation = Truncation(self.device, self._pages, placement, format)
        for index in np.flatnonzero(keep < heads.tokens).tolist():
            truncation.cut(index, int(keep[index]))
        dropped = tables.read_map(self.device, placement, groups)
        truncation.commit()
        self._drop(dropped)
        self._supply()

    def shortage(self, placed=0):
        """Erased block groups missing for what open sequences may still append, see `BlockGroups`.

        ``placed`` pages per channel of that are about to be written elsewhere.
        """
        needed = np.zeros(self._config.channels, np.int64)
        for placement in self.capacity.placements.values():
            held = tables.read_heads(self.device, placement).flash_groups
            needed += placement.shape.channel_pages(first=held)
        return self.groups.shortage(self._live(), needed - placed)

    def lag(self):
        """Pages that each channel's append path is behind the foremost, which limits its ring."""
        written = self.groups.written(self._live())
        return written.max() - written

    def _live(self):
        """Pages per channel that the append path wrote and that open sequences hold."""
        maps = [
            tables.read_map(self.device, placement)
            for placement in self.capacity.placements.values()
        ]
        if not maps:
            return np.zeros(self._config.channels, np.int64)
        places = (np.concatenate(parts) for parts in zip(*maps, strict=True))
        return self.groups.by_append_path(*self.shared.distinct(*places))

    def provide(self, groups=0, placed=0):
        """Erases groups until no shortage is left; whether that was possible.

        ``groups`` erased groups are wanted besides, for ``placed`` pages per channel of what open
        sequences may still append.
        """
        missing = max(self.shortage(placed) + groups, groups - self.groups.erased)
        return missing <= 0 or self.reclaim(missing) == missing

    def reclaim(self, count=1):
        """Erases up to ``count`` dead block groups; returns how many became usable."""
        usable = 0
        for group in self.groups.reclaimable:
            if usable == count:
                break
            if self.repair.erase(group):
                self.groups.recycled(group)
                usable += 1
            else:
                self.groups.retired(group)
        return usable

    def _supply(self):
        """Keeps a few groups pushed ahead of the slowest channel."""
        free = self.device.read("GROUP_FREE")
        for _ in range(min(free, PUSHED_AHEAD - (self._ring - free))):
            self._push()

    def _feed(self):
        """A channel ran dry: gives it a few groups more, as far as the append path takes them."""
        free = self.device.read("GROUP_FREE")
        if not free:
            raise DriveError(
                Status.NO_SPACE,
                "one flash channel was filled far ahead of another, and "
                "the append path holds no more block groups",
            )
        if not sum(self._push() for _ in range(min(free, PUSHED_AHEAD))):
            raise DriveError(Status.NO_SPACE, "no erased block group is left")

    def _push(self):
        """Hands one group to the append path; whether there was one."""
        group = self.groups.push()
        if group is None and self.reclaim():
            group = self.groups.push()
        if group is not None:
            self.repair.push(group, self.groups.pushed - 1)
            self.device.write("GROUP_PUSH", group)
        return group is not None
