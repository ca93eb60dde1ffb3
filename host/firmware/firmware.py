"""The firmware: policy of the drive, in Python, seeing only what an embedded core would see.

It brings up flash and tables, with what they held before a loss of power (`recovery`), answers the
commands in the mailbox, keeps the append path supplied with erased block groups, erases groups
whose pages are all dead, and has other blocks stand in for bad ones (`repair`). Every call costs
``config.firmware_cycles``.

What a loss of power must not undo is on flash (`state_table`) before a command that changes it is
answered.
"""

import numpy as np

from rtl.commands import SQE, SQE_VIEWS, Opcode, Status
from rtl.tables import SEQUENCE, SequenceState

from ..capacity import Capacity
from ..checks import FORMATS
from ..errors import DriveError
from . import tables
from .compaction import Compaction
from .device import RESET, Device
from .own_pages import OwnPages
from .raw_pages import RawPages
from .recovery import Recovery
from .repair import Repair
from .saved_tails import SavedTails
from .sharing import SharedPages
from .state import MOST_SEGMENTS, SequenceRecord
from .truncation import Truncation

__all__ = ["Firmware"]

PUSHED_AHEAD = 4
"""Block groups that the append path is given ahead; it calls when it has none left."""

KEPT_ERASED = 2
"""Erased groups kept: one for pages that compaction moves, one for the append path meanwhile."""

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
    tokens_lost : int
        Tokens of a layer that were saved and could not be read after a loss of power.
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
        self._tails = SavedTails(config)
        self.repair = Repair(
            self.device,
            config,
            self.capacity,
            self._pages,
            self.shared,
            self._tails,
            erase_pause,
            lambda: -self.shortage(),
        )
        self.groups = self.repair.groups
        self._own = OwnPages(config.flash.geometry, self.groups, self.repair.blocks)
        self._compaction = Compaction(
            self.repair, self._own, self._pages, self._erase, self._all_live, self._feed_starved
        )
        self.tokens_lost = 0
        self._reset_pause = 1 + int(timing.t_rst_ns * clock / 4e9)
        self.read_only = False
        self._ring = 0  # groups that the append path holds at most

    def start(self):
        """Resets the dies, finds bad blocks and what was stored, hands out groups."""
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
        if self._state.next_segment > 1:
            self._recover()
        self._supply()

    @property
    def _state(self):
        return self.repair.state

    def _recover(self):
        """Finds what the drive held before it lost its power."""
        recovery = Recovery(
            self._config,
            self.device,
            self._pages,
            self.repair.blocks,
            self.capacity,
            self._tails,
            self._state,
        )
        recovery.scan(self.groups.uses)
        for record in self._state.sequences.values():
            recovery.rebuild(record, self._segment())
        self.tokens_lost = recovery.tokens_lost
        self.shared.restore(*self._held_pages())
        live = self._all_live()
        self.groups.restore(*live)
        self.repair.recovered(*live)
        if not self._keeps():
            self.provide()
        self._refuse_tokens(bool(self.repair.crippled) or not self._keeps())
        self._commit()

    def _segment(self):
        """A number for pages that no other pages have.

        Raises
        ------
        DriveError
            NO_SPACE: all have been given.
        """
        state = self._state
        if state.next_segment > MOST_SEGMENTS and not state.sequences:
            while self.reclaim():  # pages with old numbers are gone
                pass
            state.next_segment = 1
        if state.next_segment > MOST_SEGMENTS:
            raise DriveError(
                Status.NO_SPACE,
                f"{MOST_SEGMENTS} numbers for sequences, forks, truncations and saved tails have "
                "been given: close all sequences, and they begin again",
            )
        state.next_segment += 1
        return state.next_segment - 1

    def _commit(self):
        """What was changed is on flash from here on."""
        self.repair.settle(self._feed_starved)
        if not self.repair.save():
            raise DriveError(
                Status.PROGRAM_FAILED, "no block that may hold the drive's state takes it any more"
            )

    def service(self):
        """Answers the drive's call: supplies block groups, executes the command in the mailbox."""
        self.device.charge()
        wants = self.device.read("MAILBOX_STATUS")
        if wants & _STARVED:
            self._keep_room()
            self._feed_starved()
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
        pages = self._config.flash.geometry.pages
        held = {
            (channel, die, row // pages)
            for channel, die, row in zip(*(part.tolist() for part in self._all_live()), strict=True)
        }
        whole = self.repair.mend(self._feed_starved, held)
        self._refuse_tokens(not (whole and self._keeps()))

    def wear(self):
        """What is known of the flash's wear, see `host.health`."""
        geometry = self._config.flash.geometry
        blocks = self.repair.blocks
        return {
            "pages_firmware": int(self.device.own["pages_programmed"].sum()),
            "group_erases": self.groups.usable_erases,
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
                case Opcode.FLUSH:
                    self._save(list(self._state.sequences.values()))
                case Opcode.SAVE:
                    number = self._placement(SQE.unpack(raw)["sequence"]).sequence
                    self._save([self._state.sequences[number]])
                case Opcode.HELD:
                    asked = SQE.unpack(raw)
                    result = self._tokens(asked["sequence"], asked["layer"])
                    if self.read_only:
                        self._mend()
                case _:
                    status = Status.INVALID_OPCODE
        except DriveError as error:
            status = error.status
        self._keep_room()
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
        segment = self._segment()
        placement = self.capacity.admit(shape, self.shared.saved)
        tables.clear_heads(self.device, placement)
        if not self.provide():
            self.capacity.release(placement.sequence)
            raise DriveError(Status.NO_SPACE, "too few erased block groups")
        record = SequenceRecord(
            number=placement.sequence,
            format=asked["format"],
            layers=shape.layers,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            max_tokens=shape.max_tokens,
            place=placement.shape.place,
            segment=segment,
            saved_tokens=np.zeros(shape.layers, np.int64),
        )
        return self._enter(placement, record)

    def _enter(self, placement, record):
        """A sequence exists from here on."""
        self._state.sequences[record.number] = record
        tables.write_open(self.device, placement, record.format, record.segment)
        self._commit()
        self._supply()
        return record.number

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
        record = self._state.sequences.pop(sequence)
        self._commit()
        self._drop(tables.read_map(self.device, placement))
        self.groups.bury(*self._tails.drop(record.saved))
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
        segment = self._segment()
        places = tables.read_map(self.device, old)
        more = np.bincount(places[0], minlength=self._config.channels)
        placement = self.capacity.admit(shape, self.shared.saved + more, old.shape.place)
        self.shared.share(*places)
        tables.copy(self.device, old, placement)
        if not self.provide():
            self.shared.leave(*tables.read_map(self.device, placement))
            self.capacity.release(placement.sequence)
            raise DriveError(Status.NO_SPACE, "too few erased block groups")
        record = self._state.sequences[sequence].fork(
            placement.sequence,
            shape.max_tokens,
            _of_layers(tables.read_heads(self.device, old).flash_groups, shape),
            segment,
        )
        return self._enter(placement, record)

    def _truncate(self, sequence, tokens):
        """Every layer keeps ``tokens`` tokens at most."""
        placement = self._placement(sequence)
        shape = placement.shape
        heads = tables.read_heads(self.device, placement)
        keep = np.minimum(heads.tokens, tokens)
        groups = np.minimum(heads.flash_groups, keep // shape.group_tokens)
        again = shape.channel_pages(groups) - shape.channel_pages(heads.flash_groups)
        record = self._state.sequences[sequence]
        room = self._own.room(self._tails.most(placement)) if record.saved_tokens.any() else 0
        if not self.provide(room, -again):  # what is dropped may be written once more
            raise DriveError(Status.NO_SPACE, "too few erased block groups")
        segment = self._segment()
        self.repair.settle(self._feed_starved)
        truncation = Truncation(self.device, self._pages, placement, FORMATS[record.format])
        for index in np.flatnonzero(keep < heads.tokens).tolist():
            truncation.cut(index, int(keep[index]))
        dropped = tables.read_map(self.device, placement, groups)
        truncation.commit()
        self._cut(record, shape, tokens, groups, segment if len(dropped[0]) else 0)
        self._drop(dropped)
        self._supply()

    def _cut(self, record, shape, tokens, groups, segment):
        """Notes a truncation to ``tokens`` and ``groups`` [heads]; pages were given up if
        ``segment`` is one."""
        saved = np.minimum(record.saved_tokens, tokens)
        if not segment and (saved == record.saved_tokens).all():
            return
        full = _of_layers(groups, shape)
        in_pages = record.saved_tokens // shape.group_tokens > full
        record.saved_tokens = saved
        if segment:
            record.cut(full, segment)
            tables.write_segment(self.device, record.number, segment)
        if (in_pages & (saved > full * shape.group_tokens)).any():
            # Saved tokens of a page that was given up are now in the tail.
            record.saved_tokens = np.minimum(saved, full * shape.group_tokens)
            self._save([record])
        else:
            self._commit()

    def _save(self, records):
        """All tokens of these sequences are on flash from here on."""
        self.repair.settle(self._feed_starved)
        old = []
        try:
            for record in records:
                placement = self.capacity.placements[record.number]
                heads = tables.read_heads(self.device, placement)
                tokens = _of_layers(heads.tokens, placement.shape)
                if (tokens != record.saved_tokens).any():
                    old.append(record.saved)
                    record.saved = self._save_tails(placement) if heads.tail_tokens.any() else 0
                    record.saved_tokens = tokens
        finally:
            if old:
                self._commit()
                for segment in old:
                    self.groups.bury(*self._tails.drop(segment))

    def _save_tails(self, placement):
        """Segment of the pages that the tails of a sequence were written to."""
        if not self.provide(self._own.room(self._tails.most(placement))):
            raise DriveError(Status.NO_SPACE, "too few erased block groups")
        segment = self._segment()
        try:
            self._tails.write(self.device, placement, segment, self._own, self.repair.program)
        except DriveError:
            self.groups.bury(*self._tails.drop(segment))
            raise
        return segment

    def _tokens(self, sequence, layer):
        """Tokens that a layer holds."""
        placement = self._placement(sequence)
        if layer >= placement.shape.layers:
            raise DriveError(Status.LAYER_OUT_OF_RANGE, f"layer {layer}")
        heads = tables.read_heads(self.device, placement)
        return int(_of_layers(heads.tokens, placement.shape)[layer])

    def shortage(self, placed=0):
        """Erased block groups missing for what open sequences may still append, see `BlockGroups`.

        ``placed`` pages per channel of that are about to be written elsewhere.
        """
        needed = np.zeros(self._config.channels, np.int64)
        for placement in self.capacity.placements.values():
            held = tables.read_heads(self.device, placement).flash_groups
            needed += placement.shape.channel_pages(first=held)
        return self.groups.shortage(self._live(), needed - placed)

    def _keeps(self):
        """Whether there is room for all that open sequences may still append."""
        return self._compaction.possible(self.shortage() - len(self.groups.reclaimable))

    def lag(self):
        """Pages that each channel's append path is behind the foremost, which limits its ring."""
        written = self.groups.written(self._live())
        return written.max() - written

    def _live(self):
        """Pages per channel that the append path wrote and that open sequences hold."""
        return self.groups.by_append_path(*self.shared.distinct(*self._held_pages()))

    def _held_pages(self):
        """Channel, die and row of the pages of all sequences; what several hold, several times."""
        none = np.empty(0, np.int64)
        maps = [
            tables.read_map(self.device, placement)
            for placement in self.capacity.placements.values()
        ]
        return [np.concatenate(parts) for parts in zip((none,) * 3, *maps, strict=True)]

    def _all_live(self):
        """Channel, die and row of all pages that count, each once."""
        pairs = zip(self.shared.distinct(*self._held_pages()), self._tails.places(), strict=True)
        return [np.concatenate(pair) for pair in pairs]

    def provide(self, groups=0, placed=0):
        """Makes sure of erased groups for all that open sequences may still append; whether there
        are enough.

        Those that groups with live pages have to be emptied for are not gained yet, see
        `_keep_room`: what is closed until then need not be moved.

        Parameters
        ----------
        groups : int
            Erased groups that are wanted besides, at once.
        placed : int array [channels]
            Pages that these are for, of what open sequences may still append.
        """
        if groups:
            self._make_room(groups + KEPT_ERASED)
        missing = self.shortage(placed) + groups
        if missing > 0:
            missing -= self.reclaim(missing)
        return groups <= self.groups.erased and self._compaction.possible(missing)

    def _make_room(self, groups):
        """Has so many erased groups at hand, or as many as there can be."""
        missing = groups - self.groups.erased
        if missing > 0 and (missing := missing - self.reclaim(missing)) > 0:
            self._compaction.gain(missing)

    def _keep_room(self):
        """Has a few erased groups at hand, as without one none can be emptied, and what was read
        too often written anew. Attention is not under way.
        """
        if self.read_only:
            return
        if self.groups.erased < KEPT_ERASED:
            self._make_room(KEPT_ERASED)
            self._compaction.level()
        if self.repair.read_often:
            blocks = self.repair.blocks
            self._compaction.refresh({blocks.serves(*place)[1] for place in self.repair.read_often})

    def reclaim(self, count=1):
        """Erases up to ``count`` dead block groups; returns how many became usable."""
        usable = 0
        for group in self.groups.reclaimable:
            if usable == count:
                break
            usable += self._erase(group)
        return usable

    def _erase(self, group):
        """Erases a group that has only dead pages; whether it became usable."""
        whole = self.repair.erase(group)
        (self.groups.recycled if whole else self.groups.retired)(group)
        return whole

    def _supply(self):
        """Keeps a few groups pushed ahead of the slowest channel."""
        free = self.device.read("GROUP_FREE")
        self._push_some(min(free, PUSHED_AHEAD - (self._ring - free)))

    def _feed(self):
        """A channel ran dry: gives it a few groups more, as far as the append path takes them."""
        free = self.device.read("GROUP_FREE")
        if not free:
            raise DriveError(
                Status.NO_SPACE,
                "one flash channel was filled far ahead of another, and "
                "the append path holds no more block groups",
            )
        if not self._push():
            raise DriveError(Status.NO_SPACE, "no erased block group is left")
        self._push_some(min(free, PUSHED_AHEAD) - 1)

    def _push_some(self, count):
        """Hands so many groups to the append path, but none of the last ones."""
        for _ in range(count):
            if self.groups.erased > KEPT_ERASED or self.reclaim():
                self._push()

    def _push(self):
        """Hands one group to the append path; whether there was one."""
        group = self.groups.push()
        if group is None and self.reclaim():
            group = self.groups.push()
        if group is not None:
            self.repair.push(group, self.groups.pushed - 1)
            self.device.write("GROUP_PUSH", group)
        return group is not None


def _of_layers(values, shape):
    """The least of each layer's heads."""
    return values.reshape(shape.layers, shape.kv_heads).min(axis=1)
