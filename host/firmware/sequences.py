"""What the firmware does for OPEN, CLOSE, FORK, TRUNCATE, FLUSH, SAVE and HELD.

What a loss of power must not undo is on flash (`state_table`) before a command is answered.
"""

import numpy as np

from rtl.commands import Status
from rtl.tables import SequenceState

from ..checks import FORMATS, INDEXES
from ..errors import DriveError
from . import tables
from .state import MOST_SEGMENTS, SequenceRecord
from .truncation import Truncation

__all__ = ["Sequences"]


class Sequences:
    """Open sequences.

    Parameters
    ----------
    config : DriveConfig
    device : Device
    capacity : Capacity
    repair : Repair
    shared : SharedPages
    tails : SavedTails
    pages : RawPages
    space : Space
    """

    def __init__(self, config, device, capacity, repair, shared, tails, pages, space):
        self._config, self._device, self._capacity = config, device, capacity
        self._repair, self._shared, self._tails = repair, shared, tails
        self._pages, self._space = pages, space

    @property
    def _state(self):
        return self._repair.state

    def save(self, sequence=None):
        """All tokens of a sequence, or of all of them, are on flash from here on.

        Raises
        ------
        DriveError
            SPOILED_APPEND: not those of sequences that an append has left broken.
        """
        records = self._state.sequences
        asked = list(records) if sequence is None else [self._placement(sequence).sequence]
        broken = [number for number in asked if self._broken(self._capacity.placements[number])]
        self._save_all([records[number] for number in asked if number not in broken])
        if broken:
            raise DriveError(Status.SPOILED_APPEND, f"sequences {broken} are not saved")

    def _broken(self, placement):
        """Whether an error of a bus in an append or step has left wrong tokens, heads that hold
        more than others, or a tail that did not go onto flash."""
        heads, shape = tables.read_heads(self._device, placement), placement.shape
        return bool(
            heads.spoiled.any()
            or heads.torn.any()
            or _uneven(heads.tokens, shape)
            or (heads.tail_tokens == shape.group_tokens).any()
        )

    def segment(self):
        """A number for pages that no other pages have.

        Raises
        ------
        DriveError
            NO_SPACE: all have been given.
        """
        state = self._state
        if state.next_segment > MOST_SEGMENTS:
            raise DriveError(
                Status.NO_SPACE,
                f"{MOST_SEGMENTS} numbers for sequences, forks, truncations and saved tails have "
                "been given: close all sequences and switch the drive off and on, and they begin "
                "again",
            )
        state.next_segment += 1
        return state.next_segment - 1

    def commit(self):
        """What was changed is on flash from here on."""
        self._repair.settle(self._space.feed)
        if not self._repair.save():
            raise DriveError(
                Status.PROGRAM_FAILED, "no block that may hold the drive's state takes it any more"
            )

    def open(self, asked):
        """Number of a new sequence, of the fields of an OPEN."""
        if asked["format"] >= len(FORMATS):
            raise DriveError(Status.UNSUPPORTED_FORMAT, f"format = {asked['format']}")
        if asked["index"] >= len(INDEXES):
            raise DriveError(Status.UNSUPPORTED_INDEX, f"index = {asked['index']}")
        shape = self._capacity.shape(
            *(asked[n] for n in ("layers", "kv_heads", "head_dim", "max_tokens", "index"))
        )
        segment = self.segment()
        placement = self._capacity.admit(shape, self._shared.saved)
        tables.clear_heads(self._device, placement)
        self._space.begin(placement.sequence)
        if not self._space.provide():
            self._space.end(placement.sequence)
            self._capacity.release(placement.sequence)
            raise DriveError(Status.NO_SPACE, "too few erased block groups")
        record = SequenceRecord(
            number=placement.sequence,
            format=asked["format"],
            layers=shape.layers,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            max_tokens=shape.max_tokens,
            index=asked["index"],
            place=placement.shape.place,
            segment=segment,
            saved_tokens=np.zeros(shape.layers, np.int64),
        )
        return self._enter(placement, record)

    def _enter(self, placement, record):
        """A sequence exists from here on."""
        self._state.sequences[record.number] = record
        stream = self._space.stream(record.number)
        tables.write_open(self._device, placement, record.format, record.segment, stream)
        self.commit()
        self._space.supply()
        return record.number

    def _placement(self, sequence):
        """`Placement` of an open sequence."""
        placement = self._capacity.placements.get(sequence)
        if placement is None:
            closed = (
                sequence < self._config.max_sequences
                and tables.read_entry(self._device, sequence)["state"] == SequenceState.CLOSED
            )
            raise DriveError(Status.CLOSED_SEQUENCE if closed else Status.UNKNOWN_SEQUENCE)
        return placement

    def close(self, sequence):
        """What a sequence holds is dead."""
        placement = self._placement(sequence)
        record = self._state.sequences.pop(sequence)
        try:
            self.commit()
        except DriveError:
            self._state.sequences[sequence] = record
            raise
        self._drop(tables.read_map(self._device, placement))
        self._space.groups.bury(*self._tails.drop(record.saved))
        tables.write_closed(self._device, sequence)
        self._capacity.release(sequence)
        self._space.end(sequence)

    def _drop(self, places):
        """A sequence does not hold these pages any more."""
        gone = self._shared.leave(*places)
        self._space.groups.bury(*(part[gone] for part in places))

    def fork(self, sequence, max_tokens):
        """A new sequence with the same tokens; what they have on flash is shared."""
        old = self._placement(sequence)
        shape, record = old.shape, self._state.sequences[sequence]
        shape = self._capacity.shape(
            shape.layers,
            shape.kv_heads,
            shape.head_dim,
            max_tokens or shape.max_tokens,
            record.index,
        )
        if tables.read_heads(self._device, old).tokens.max() > shape.max_tokens:
            raise DriveError(Status.CONTEXT_EXCEEDED, f"max_tokens = {max_tokens}")
        segment = self.segment()
        places = tables.read_map(self._device, old)
        more = np.bincount(places[0], minlength=self._config.channels)
        placement = self._capacity.admit(shape, self._shared.saved + more, old.shape.place)
        self._shared.share(*places)
        tables.copy(self._device, old, placement)
        self._space.begin(placement.sequence)
        if not self._space.provide():
            self._space.end(placement.sequence)
            self._shared.leave(*tables.read_map(self._device, placement))
            self._capacity.release(placement.sequence)
            raise DriveError(Status.NO_SPACE, "too few erased block groups")
        heads = tables.read_heads(self._device, old)
        record.wrote(heads.column_pages)
        record = record.fork(
            placement.sequence,
            shape.max_tokens,
            _of_layers(heads.flash_groups, shape),
            segment,
            tables.columns_behind(shape, heads),
        )
        return self._enter(placement, record)

    def truncate(self, sequence, tokens):
        """Every layer keeps ``tokens`` tokens at most."""
        placement = self._placement(sequence)
        shape = placement.shape
        heads = tables.read_heads(self._device, placement)
        keep = np.minimum(heads.tokens, tokens)
        stays = (heads.spoiled == 1) | (heads.tail_tokens == shape.group_tokens)
        if (stays & (keep == heads.tokens)).any() or _uneven(keep, shape):
            raise DriveError(
                Status.SPOILED_APPEND, f"truncating to {tokens} tokens leaves some that failed"
            )
        groups = np.minimum(heads.flash_groups, keep // shape.group_tokens)
        columns = np.minimum(heads.column_pages, shape.column_pages(groups))
        again = shape.channel_pages(groups) - shape.channel_pages(heads.flash_groups)
        again = again + shape.channel_columns(columns) - shape.channel_columns(heads.column_pages)
        record = self._state.sequences[sequence]
        room = self._space.own.room(self._tails.most(placement)) if record.saved_tokens.any() else 0
        # What is dropped may be written once more.
        if not self._space.provide(room, {sequence: -again}):
            raise DriveError(Status.NO_SPACE, "too few erased block groups")
        # What an append has left on flash before it failed bears the segment of now.
        anew = (groups < heads.flash_groups).any() or self._broken(placement)
        segment = self.segment() if anew else 0
        self._repair.settle(self._space.feed)
        truncation = Truncation(self._device, self._pages, placement, FORMATS[record.format])
        for index in np.flatnonzero((keep < heads.tokens) | (heads.torn == 1)).tolist():
            truncation.cut(index, int(keep[index]))
        dropped = tables.read_map(self._device, placement, groups)
        truncation.commit()
        record.wrote(heads.column_pages)
        self._cut(record, shape, tokens, groups, segment)
        self._drop(dropped)
        self._space.begin_anew(sequence)
        self._space.supply()

    def _cut(self, record, shape, tokens, groups, segment):
        """Notes a truncation to ``tokens`` and ``groups`` [heads]; pages may be written once more
        if ``segment`` is one."""
        saved = np.minimum(record.saved_tokens, tokens)
        if not segment and (saved == record.saved_tokens).all():
            return
        full = _of_layers(groups, shape)
        in_pages = record.saved_tokens // shape.group_tokens > full
        record.saved_tokens = saved
        if segment:
            placement = self._capacity.placements[record.number]
            heads = tables.read_heads(self._device, placement)
            record.cut(full, segment, tables.columns_behind(shape, heads))
            tables.write_segment(self._device, record.number, segment)
        if (in_pages & (saved > full * shape.group_tokens)).any():
            # Saved tokens of a page that was given up are now in the tail.
            record.saved_tokens = np.minimum(saved, full * shape.group_tokens)
            self._save_all([record])
        else:
            self.commit()

    def _save_all(self, records):
        """All tokens of these sequences are on flash from here on."""
        self._repair.settle(self._space.feed)
        old = []
        try:
            for record in records:
                placement = self._capacity.placements[record.number]
                heads = tables.read_heads(self._device, placement)
                tokens = _of_layers(heads.tokens, placement.shape)
                if (tokens != record.saved_tokens).any():
                    old.append(record.saved)
                    record.saved = self._save_tails(placement) if heads.tail_tokens.any() else 0
                    record.saved_tokens = tokens
        finally:
            if old:
                self.commit()
                for segment in old:
                    self._space.groups.bury(*self._tails.drop(segment))

    def _save_tails(self, placement):
        """Segment of the pages that the tails of a sequence were written to."""
        if not self._space.provide(self._space.own.room(self._tails.most(placement))):
            raise DriveError(Status.NO_SPACE, "too few erased block groups")
        segment = self.segment()
        try:
            self._tails.write(
                self._device, placement, segment, self._space.own, self._repair.program
            )
        except DriveError:
            self._space.groups.bury(*self._tails.drop(segment))
            raise
        return segment

    def tokens(self, sequence, layer):
        """Tokens that a layer holds."""
        placement = self._placement(sequence)
        if layer >= placement.shape.layers:
            raise DriveError(Status.LAYER_OUT_OF_RANGE, f"layer {layer}")
        heads = tables.read_heads(self._device, placement)
        return int(_of_layers(heads.tokens, placement.shape)[layer])


def _uneven(tokens, shape):
    """Whether heads of a layer hold more tokens than others."""
    return bool(np.ptp(tokens.reshape(shape.layers, shape.kv_heads), axis=1).any())


def _of_layers(values, shape):
    """The least of each layer's heads."""
    return values.reshape(shape.layers, shape.kv_heads).min(axis=1)
