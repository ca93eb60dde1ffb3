"""Space: erased block groups for what open sequences were promised, and how they are gained.

The append path's streams are kept supplied with erased groups (`stripes`); groups whose pages are
all dead are erased; groups that hold live pages too are emptied when it is time (`compaction`).
"""

from collections import Counter

import numpy as np

from rtl.commands import Status

from ..errors import DriveError
from . import tables
from .compaction import Compaction
from .own_pages import OwnPages
from .stripes import SHARED_RANK, Lives, width
from .victims import WEAR_LIMIT, resting

__all__ = ["KEPT_ERASED", "STARVED", "Space"]

PUSHED_AHEAD = 4
"""Stripes that a single stream is given ahead; it calls when it has none left."""

KEPT_ERASED = 2
"""Erased groups kept: one for pages that compaction moves, one for the append path meanwhile."""

STARVED = 2
"""Of MAILBOX_STATUS: the append path waits for a block group."""

SHARED = 0
"""The stream of all sequences that have none of their own."""


class Space:
    """Block groups of a drive.

    Parameters
    ----------
    config : DriveConfig
    device : Device
    capacity : Capacity
    repair : Repair
    shared : SharedPages
    tails : SavedTails
    pages : RawPages

    Attributes
    ----------
    groups : BlockGroups
    own : OwnPages
    compaction : Compaction
    streams : dict of int to int
        Of open sequences that have a stream of their own.
    """

    def __init__(self, config, device, capacity, repair, shared, tails, pages):
        self._config, self._device, self._capacity = config, device, capacity
        self._repair, self._shared, self._tails = repair, shared, tails
        self.groups = repair.groups
        self.own = OwnPages(config.flash.geometry, self.groups, repair.blocks)
        self.compaction = Compaction(repair, self.own, pages, self._erase, self.live, self.feed)
        self.streams = {}
        self._lives = Lives()
        self._pushed = Counter()  # stripes that each stream was given so far
        self._used = False  # a group since `keep_room`

    def start(self):
        """The append path has no stripes."""
        self._ended()

    def begin(self, sequence):
        """A sequence may append, and has a stream of its own if it may fill some groups."""
        free = set(range(SHARED + 1, self._config.append_streams)) - set(self.streams.values())
        least = self._config.stream_groups * self.groups.channel_pages
        if free and self._needed(sequence).max() >= least:
            self.streams[sequence] = min(free)

    def stream(self, sequence):
        """The stream that a sequence has its pages from."""
        return self.streams.get(sequence, SHARED)

    def end(self, sequence):
        """A sequence appends no more."""
        stream = self.streams.pop(sequence, None)
        if stream is not None:
            self._end(stream)

    def _end(self, stream):
        """A stream writes nothing more to the groups it has. No append is under way."""
        self.groups.end(stream, *self.live())
        self._device.write("STREAM_END", stream)
        self._ended()

    def _ended(self):
        """Waits for the allocator."""
        while self._device.read("STREAM_END"):
            self._device.pause()

    def begin_anew(self, sequence=None):
        """Streams give up groups that it does not pay to fill, as far as there are others.

        The shared stream, and that of ``sequence``, which has given up pages: if some channels have
        filled many stripes more than others, or too many pages are dead in those groups. Any
        stream: if it fills them so slowly that others were erased far more often. No append is
        under way.
        """
        if self._config.append_streams == 1:
            return
        for stream in {SHARED, self.stream(sequence)}:
            uneven = self._held(stream) >= self._config.stream_slots - 1
            if uneven or self.groups.wasted(stream, *self.live()):
                self._end_if_possible(stream)
        erases = self.groups.usable_erases
        if max(erases) - min(erases) > WEAR_LIMIT:
            filling = self.groups.filling(*self.live())
            group = resting(filling, erases, self.groups.age, len(erases))
            if group is not None:
                self._end_if_possible(filling[group])

    def _end_if_possible(self, stream):
        missing = self.shortage(ended=stream) - len(self.groups.reclaimable)
        if self.compaction.possible(missing):
            self._end(stream)

    def _needed(self, sequence):
        """Pages per channel that an open sequence may still append."""
        placement = self._capacity.placements[sequence]
        heads, shape = tables.read_heads(self._device, placement), placement.shape
        columns = shape.channel_columns(first=heads.column_pages)
        return shape.channel_pages(first=heads.flash_groups) + columns

    def shortage(self, placed=None, ended=None):
        """Erased block groups missing for what open sequences may still append, see `BlockGroups`.

        ``placed`` (sequence -> pages per channel) of that are about to be written elsewhere;
        ``ended`` is a stream that is taken to have no groups.
        """
        streams = {SHARED: np.zeros(self._config.channels, np.int64)}
        for number in self._capacity.placements:
            stream, pages = self.stream(number), self._needed(number)
            streams[stream] = streams.get(stream, 0) + pages - (placed or {}).get(number, 0)
        return self.groups.missing(streams, *self.live(), ended)

    def keeps(self):
        """Whether there is room for all that open sequences may still append."""
        return self.compaction.possible(self.shortage() - len(self.groups.reclaimable))

    def lag(self):
        """Pages that each channel of the shared stream is behind the foremost, which limits its
        ring."""
        unwritten = self.groups.unwritten(SHARED, *self.live())
        return unwritten - unwritten.min()

    def held_pages(self):
        """Channel, die and row of the pages of all sequences; what several hold, several times."""
        none = np.empty(0, np.int64)
        maps = [
            tables.read_map(self._device, placement)
            for placement in self._capacity.placements.values()
        ]
        return [np.concatenate(parts) for parts in zip((none,) * 3, *maps, strict=True)]

    def live(self):
        """Channel, die and row of all pages that count, each once."""
        pairs = zip(self._shared.distinct(*self.held_pages()), self._tails.places(), strict=True)
        return [np.concatenate(pair) for pair in pairs]

    def provide(self, groups=0, placed=None):
        """Makes sure of erased groups for all that open sequences may still append; whether there
        are enough.

        Those that groups with live pages have to be emptied for are not gained yet, see
        `keep_room`: what is closed until then need not be moved.

        Parameters
        ----------
        groups : int
            Erased groups that are wanted besides, at once.
        placed : dict of int to int array [channels]
            Pages that these are for, of what open sequences may still append.
        """
        if groups:
            self._make_room(groups + KEPT_ERASED)
        missing = self.shortage(placed) + groups
        if missing > 0:
            missing -= self.reclaim(missing)
        return groups <= self.groups.erased and self.compaction.possible(missing)

    def _make_room(self, groups):
        """Has so many erased groups at hand, or as many as there can be."""
        missing = groups - self.groups.erased
        if missing > 0 and (missing := missing - self.reclaim(missing)) > 0:
            self.compaction.gain(missing)

    def keep_room(self):
        """Has a few erased groups at hand, as without one none can be emptied, and what was read
        too often written anew. Attention is not under way.
        """
        if self.groups.erased < KEPT_ERASED:
            self._make_room(KEPT_ERASED)
            self._used = True
        if self._used:
            self.compaction.level()
            self._used = False
        if self._repair.read_often:
            blocks = self._repair.blocks
            self.compaction.refresh({blocks.serves(*place)[1] for place in self._repair.read_often})

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
        whole = self._repair.erase(group)
        (self.groups.recycled if whole else self.groups.retired)(group)
        return whole

    def supply(self):
        """Keeps a few stripes pushed ahead of the slowest channel, if there is one stream."""
        if self._config.append_streams == 1:
            self._push_some(SHARED, PUSHED_AHEAD - self._held(SHARED))

    def _held(self, stream):
        """Stripes that the slowest channel of a stream has not filled yet."""
        held = []
        for channel in range(self._config.channels):
            self._device.write("STREAM", channel << 8 | stream)
            filled = self._device.read("STREAM_FILLED")
            held.append((self._pushed[stream] - filled) % (2 * self._config.stream_slots))
        return max(held)

    def feed(self):
        """Gives the append path block groups if it waits for some."""
        status = self._device.read("MAILBOX_STATUS")
        if status & STARVED:
            self._relieve(status >> 8)

    def _relieve(self, stream):
        """A channel ran dry: gives its stream a stripe, or a few, as far as it takes them."""
        free = self._config.stream_slots - self._held(stream)
        if not free:
            raise DriveError(
                Status.NO_SPACE,
                "one flash channel was filled far ahead of another, and "
                "the append path holds no more block groups",
            )
        if not self._push(stream, last=True):
            raise DriveError(Status.NO_SPACE, "no erased block group is left")
        if self._config.append_streams == 1:
            self._push_some(stream, min(free, PUSHED_AHEAD) - 1)

    def _push_some(self, stream, count):
        """Gives a stream so many stripes, but none of the last groups."""
        for _ in range(count):
            if not self._push(stream):
                return

    def _push(self, stream, *, last=False):
        """Gives a stream a stripe; whether there were groups, the ``last`` ones if need be."""
        parts = self._config.die_parts
        # A single stream uses all groups: each time the one that was erased least.
        life, wide = SHARED_RANK if self._config.append_streams > 1 else 0.0, parts
        if stream != SHARED:
            sequence = next(n for n, own in self.streams.items() if own == stream)
            placement = self._capacity.placements[sequence]
            held = int(tables.read_heads(self._device, placement).tokens.min())
            life = self._lives.rank(placement.shape.max_tokens - held)
            wide = width(int(self._needed(sequence).max()), self.groups.channel_pages, parts)
        stripe = []
        while len(stripe) < wide:
            group = self._next(stream, stripe, life, last and not stripe)
            if group is None:
                break
            stripe.append(self.groups.use(group))
        if stripe:
            self.groups.push(stream, stripe)
            self._repair.stripes.push(stream, self._pushed[stream], stripe)
            self._pushed[stream] += 1
            self._used = True
        return bool(stripe)

    def _next(self, stream, stripe, life, last):
        """An erased group for a stripe, or None; the last ones only if ``last``."""
        while (group := self.groups.best(stream, stripe, life)) is not None:
            if not self.groups.is_erased(group):
                if self._erase(group):
                    return group
            elif last or self.groups.erased > KEPT_ERASED or self.reclaim():
                return group
            else:
                return None
        return None
