"""What the drive must not forget, and how it lies in words of 32 bits on flash.

Pages of K and V say by themselves whose they are (`PAGE_META`); what they cannot say is kept here:
which blocks are bad and which stand in for them, how often groups were erased, which sequences are
open, and of which *segments* each is made::

    segment 3   |0 1 2 3 4|                        sequence 0: 3 up to group 5, then 7
    segment 7             |5 6 7 ...               sequence 1, a fork of it: 3 up to group 5,
    segment 8             |5 6|                        8 up to group 7, then 9 (truncated to 7)
    segment 9                 |7 8 ...

A sequence marks its pages with its own segment. A fork begins a new one, and so does a sequence
that gives up groups by a truncation, so that no two pages of one place have the same mark and a
page that was given up, or comes later in another sequence, is never taken for one that counts.

A page of K by channel, or of bounds, holds tokens of its whole unit, so it counts for a sequence if
the segment that it is marked with ends behind the unit, or has not ended: the groups of the unit
were there when it was written, and are the same ones still. Mostly that is the segment of the
unit's last group. After a loss of power in the middle of a unit's pages they are written once more,
under a segment that has no group of the unit and perhaps none at all: such a one is not forgotten
(``caught_up``).
"""

from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

__all__ = ["MOST_SEGMENTS", "DriveState", "SequenceRecord"]

MOST_SEGMENTS = (1 << 24) - 1
"""Of `PAGE_META.segment`; 0 is none."""


@dataclass(kw_only=True)
class SequenceRecord:
    """An open sequence.

    Parameters
    ----------
    number, format, layers, kv_heads, head_dim, max_tokens, index : int
        As in OPEN.
    place : (int, int)
        Where its pages begin, see `rtl.tables.place_of`.
    segment : int
        What its pages are marked with.
    ancestors : list of (int, int array [layers])
        Segments before it, the oldest first, and the group of each layer that each ends before.
    saved : int
        Segment of the tails that were saved last, 0: none were.
    saved_tokens : int array [layers]
        Tokens that are there again after a loss of power, whatever becomes of later ones.
    caught_up : set of int
        Ancestors that are kept for pages of units, whether they have groups or not.
    behind : dict of int to int
        Heads that lacked pages of a whole unit when ``segment`` began, and how many they had. Not
        kept on flash: from a loss of power on, the pages say it.
    """

    number: int
    format: int
    layers: int
    kv_heads: int
    head_dim: int
    max_tokens: int
    index: int = 0
    place: tuple
    segment: int
    ancestors: list = field(default_factory=list)
    saved: int = 0
    saved_tokens: np.ndarray
    caught_up: set = field(default_factory=set)
    behind: dict = field(default_factory=dict)

    def fork(self, number, max_tokens, groups, segment, behind):
        """The record of a sequence that begins with the first ``groups`` [layers] of this one; the
        rest as of `cut`."""
        new = replace(
            self,
            number=number,
            max_tokens=max_tokens,
            ancestors=list(self.ancestors),
            saved=0,
            saved_tokens=np.zeros(self.layers, np.int64),
            caught_up=set(self.caught_up),
        )
        new.cut(groups, segment, behind)
        return new

    def wrote(self, columns):
        """Notes how many pages of units each head has. To be told before its segment ends
        and before a fork."""
        if any(columns[head] > pages for head, pages in self.behind.items()):
            self.caught_up.add(self.segment)

    def cut(self, groups, segment, behind):
        """Keeps the first ``groups`` [layers]; pages to come are marked with a new segment, at
        whose beginning these heads are ``behind``."""
        links, ends = [], np.zeros(self.layers, np.int64)
        for old, end in [*self.ancestors, (self.segment, groups)]:
            end = np.minimum(end, groups)
            if (end > ends).any() or old in self.caught_up:
                links.append((old, end))
            ends = np.maximum(ends, end)
        self.ancestors, self.segment, self.behind = links, segment, behind
        self.caught_up &= {old for old, _ in links}

    def writer(self, layer, group):
        """Segment that a group's pages are marked with."""
        for segment, end in self.ancestors:
            if group < end[layer]:
                return segment
        return self.segment

    def column_writers(self, layer, end):
        """Segments that pages may be marked with of a unit that ends before group ``end``; the
        first that has a page counts."""
        return [
            *(segment for segment, last in self.ancestors if end <= last[layer]),
            self.segment,
        ]

    @property
    def segments(self):
        """All that its pages on flash may be marked with."""
        return [*(segment for segment, _ in self.ancestors), self.segment]

    def words(self):
        """As it lies on flash."""
        yield self.number | self.format << 16 | self.index << 24
        yield self.layers | self.kv_heads << 16
        channel, die = self.place
        yield self.head_dim | channel << 16 | die << 24
        yield from (self.max_tokens, self.segment, self.saved)
        yield from _runs(self.saved_tokens)
        yield len(self.ancestors)
        for segment, ends in self.ancestors:
            yield segment | (segment in self.caught_up) << 31
            yield from _runs(ends)

    @classmethod
    def read(cls, words):
        """The record that an iterator of words begins with."""
        first, second, third, max_tokens, segment, saved = (next(words) for _ in range(6))
        saved_tokens = _read_runs(words)
        links = [(next(words), _read_runs(words)) for _ in range(next(words))]
        return cls(
            number=first & 0xFFFF,
            format=first >> 16 & 0xFF,
            index=first >> 24,
            layers=second & 0xFFFF,
            kv_heads=second >> 16,
            head_dim=third & 0xFFFF,
            max_tokens=max_tokens,
            place=(third >> 16 & 0xFF, third >> 24),
            segment=segment,
            saved=saved,
            saved_tokens=saved_tokens,
            ancestors=[(link & MOST_SEGMENTS, ends) for link, ends in links],
            caught_up={link & MOST_SEGMENTS for link, _ in links if link >> 31},
        )


@dataclass
class DriveState:
    """All that is kept.

    Parameters
    ----------
    bad : set of (int, int, int)
        Channel, die and number of bad blocks.
    refuge : set of (int, int, int)
        Blocks of the refuge (`refuge`).
    stand_ins : dict of (int, int, int) to (int, int)
        Die and block that serve for a channel and die of a group.
    erases : list of int
        Of each group.
    next_segment : int
    sequences : dict of int to SequenceRecord
    """

    bad: set = field(default_factory=set)
    refuge: set = field(default_factory=set)
    stand_ins: dict = field(default_factory=dict)
    erases: list = field(default_factory=list)
    next_segment: int = 1
    sequences: dict = field(default_factory=dict)

    def words(self):
        """uint32 array."""

        def all_words():
            for blocks in (self.bad, self.refuge):
                yield len(blocks)
                yield from (c << 24 | die << 16 | block for c, die, block in sorted(blocks))
            yield len(self.stand_ins)
            for (channel, die, group), (at, block) in sorted(self.stand_ins.items()):
                yield from (channel << 24 | die << 16 | group, at << 16 | block)
            yield from _runs(self.erases)
            yield from (self.next_segment, len(self.sequences))
            for record in self.sequences.values():
                yield from record.words()

        return np.fromiter(all_words(), "<u4")

    @classmethod
    def read(cls, words):
        """What `words` gave."""
        words = iter(words.tolist())
        bad, refuge = (
            {(w >> 24, w >> 16 & 0xFF, w & 0xFFFF) for w in _take(words)} for _ in range(2)
        )
        stand_ins = {}
        for _ in range(next(words)):
            place, serves = next(words), next(words)
            stand_ins[place >> 24, place >> 16 & 0xFF, place & 0xFFFF] = (
                serves >> 16,
                serves & 0xFFFF,
            )
        erases, next_segment = _read_runs(words).tolist(), next(words)
        records = [SequenceRecord.read(words) for _ in range(next(words))]
        return cls(bad, refuge, stand_ins, erases, next_segment, {r.number: r for r in records})


def _runs(values):
    """Values as (how many, which) of each run of equal ones, their number first."""
    runs = [(len(list(same)), int(value)) for value, same in groupby(values)]
    yield len(runs)
    for run in runs:
        yield from run


def _read_runs(words):
    runs = [(next(words), next(words)) for _ in range(next(words))]
    return np.array([value for count, value in runs for _ in range(count)], np.int64)


def _take(words):
    return [next(words) for _ in range(next(words))]
