"""After a loss of power: maps, heads and tails as the pages on flash and the state table say.

Device DRAM is empty. Every block is read page by page up to where it is erased; each page says
which segment, head and group it holds. A sequence has the groups that follow each other from the
first one on, in all heads of a layer, and beyond them the tail that was saved last, if it fits;
a head has the whole units of K by channel, or of bounds, that follow each other as far as its
groups go. What was given up, or was not whole in every head, is dead; so the sequence marks its
pages with a new segment from here on. Nothing is programmed into a block that was not erased since.
"""

from typing import NamedTuple

import numpy as np

from rtl.tables import HEAD, PAGE_META, PASS, PageKind

from ..checks import FORMATS
from ..errors import DriveError
from . import tables
from .exponents import pass_exponents, token_exponents
from .saved_tails import unpack_tails

__all__ = ["Recovery"]


class _Page(NamedTuple):
    """A page of K or V that was found."""

    place: tuple  # channel, die, row
    exponent: np.ndarray  # of each token
    bad: np.ndarray


class Recovery:
    """Rebuilds what a drive held.

    Parameters
    ----------
    config : DriveConfig
    device : Device
    pages : RawPages
    blocks : Blocks
    capacity : Capacity
        Nothing is open in it yet.
    saved_tails : SavedTails
    state : DriveState
    """

    def __init__(self, config, device, pages, blocks, capacity, saved_tails, state):
        self._config, self._device, self._pages = config, device, pages
        self._geometry = config.flash.geometry
        self._blocks, self._capacity = blocks, capacity
        self._saved_tails, self._state = saved_tails, state
        self._writers = {}  # segment -> a sequence whose pages have it
        for record in state.sequences.values():
            self._writers.update(dict.fromkeys(record.segments, record))
        self._saved = {record.saved for record in state.sequences.values()} - {0}
        self._found = {}  # (segment, head, group) -> [_Page of K, _Page of V]
        self._columns = {}  # (segment, head, page) -> place
        self._tails = {}  # (segment, number) -> place, user bytes
        self.tokens_lost = 0

    def scan(self, uses):
        """Reads what the blocks hold, those that serve in a group first.

        ``uses`` tells whether a group is used. A page that was moved may be found twice, with the
        same content; it counts where it serves.
        """
        g, state = self._geometry, self._state
        serving = [
            (channel, *self._blocks.place(channel, die, group))
            for group in filter(uses, range(self._blocks.usable))
            for die in self._blocks.dies(group)
            for channel in range(g.channels)
        ]
        # What stands in lacks the pages that could not be moved; so may these have gaps, too.
        stand_ins = {(c, *at) for (c, _, _), at in state.stand_ins.items()}
        others = (state.refuge | state.bad) - set(serving) - self._blocks.reserved
        for place in [*serving, *sorted(others)]:
            gaps = place in stand_ins or place in others
            for row, (meta, user) in self._pages.read_block(*place, gaps):
                self._note((place[0], place[1], row), PAGE_META.unpack(meta), user)

    def _note(self, place, meta, user):
        segment, kind = meta["segment"], meta["kind"]
        if kind == PageKind.TAILS and segment in self._saved:
            self._tails.setdefault((segment, meta["group"]), (place, user))
        elif kind == PageKind.COLUMNS and segment in self._writers:
            self._columns.setdefault((segment, meta["index"], meta["group"]), place)
        elif kind in (PageKind.K, PageKind.V) and segment in self._writers:
            record = self._writers[segment]
            tokens = self._geometry.page_bytes // (2 * record.head_dim)
            x = user[: 2 * record.head_dim * tokens].view(np.uint16).reshape(tokens, -1)
            page = _Page(place, *token_exponents(x, FORMATS[record.format]))
            pair = self._found.setdefault((segment, meta["index"], meta["group"]), [None, None])
            pair[kind] = pair[kind] or page

    def rebuild(self, record, segment):
        """Opens a sequence again; from here on it marks its pages with ``segment``."""
        shape = self._capacity.shape(
            record.layers, record.kv_heads, record.head_dim, record.max_tokens, record.index
        ).at(record.place)
        placement = self._capacity.restore(record.number, shape)
        pairs = [self._groups(record, index) for index in range(shape.heads)]
        tails = self._tails_of(record, shape)
        tokens = np.array([len(pair) for pair in pairs]) * shape.group_tokens
        saved = np.repeat(record.saved_tokens, record.kv_heads)
        if tails is not None:
            fits = (saved > tokens) & (saved - tokens < shape.group_tokens)
            tokens = np.where(fits, saved, tokens)
        tokens = tokens.reshape(record.layers, record.kv_heads).min(axis=1)
        self.tokens_lost += int(np.maximum(record.saved_tokens - tokens, 0).sum())
        caught_up = set()
        for index, pair in enumerate(pairs):
            tail = None if tails is None else tails[index]
            held = int(tokens[index // record.kv_heads])
            places, writers = self._units(record, shape, index, held // shape.group_tokens)
            caught_up |= writers
            at = tables.place_at(placement, PageKind.COLUMNS, index, 0)
            if places:
                self._device.store(at, b"".join(tables.pack_place(*place[1:]) for place in places))
            self._head(placement, record, index, held, pair, tail, len(places))
        record.caught_up = caught_up
        heads = tables.read_heads(self._device, placement)
        record.cut(tokens // shape.group_tokens, segment, tables.columns_behind(shape, heads))
        record.saved_tokens = np.minimum(record.saved_tokens, tokens)
        tables.write_open(self._device, placement, record.format, segment)

    def _groups(self, record, index):
        """Pages [K, V] of the groups that a head has, one after the other."""
        pairs = []
        while True:
            segment = record.writer(index // record.kv_heads, len(pairs))
            pair = self._found.get((segment, index, len(pairs)), (None, None))
            if None in pair:
                return pairs
            pairs.append(pair)

    def _units(self, record, shape, index, groups):
        """Places of the pages of units that a head with so many groups has, and segments that have
        written some of them without writing the last group of the unit."""
        places, writers, layer = [], set(), index // record.kv_heads
        if not shape.unit_groups:
            return places, writers
        for end in range(shape.unit_groups, groups + 1, shape.unit_groups):
            allowed = record.column_writers(layer, end)
            unit = {
                page: next((s for s in allowed if (s, index, page) in self._columns), None)
                for page in range(len(places), shape.column_pages(end))
            }
            if None in unit.values():
                break
            places += (self._columns[segment, index, page] for page, segment in unit.items())
            writers |= set(unit.values()) - {record.writer(layer, end - 1)}
        return places, writers

    def _tails_of(self, record, shape):
        """Saved tails of all heads, or None. Their places are noted."""
        if not record.saved:
            return None
        pages = []
        while (record.saved, len(pages)) in self._tails:
            pages.append(self._tails[record.saved, len(pages)])
        self._saved_tails.found(record.saved, [place for place, _ in pages])
        try:
            return unpack_tails(shape, [user for _, user in pages])[1]
        except DriveError:
            return None

    def _head(self, placement, record, index, tokens, pairs, tail, columns):
        """Writes a head's record, map, passes and tail; it has so many pages of units."""
        shape, device = placement.shape, self._device
        groups, rest = divmod(tokens, shape.group_tokens)
        pairs = pairs[:groups]
        at = tables.place_at(placement, PageKind.K, index, 0)
        places = (tables.pack_place(*page.place[1:]) for pair in pairs for page in pair)
        device.store(at, b"".join(places))
        head = dict(tokens=tokens, flash_groups=groups, tail_tokens=rest, column_pages=columns)
        passes = [{} for _ in range(shape.passes_of(tokens))]
        for kind, name in enumerate("kv"):
            facts = [(pair[kind].exponent, pair[kind].bad) for pair in pairs]
            if rest:
                own = tail[kind][: 2 * shape.head_dim * rest]
                device.store(placement.tail + (2 * index + kind) * shape.page_bytes, own.tobytes())
                x = own.view(np.uint16).reshape(rest, -1)
                facts.append(token_exponents(x, FORMATS[record.format]))
            if facts:
                exponent, bad = (np.concatenate(part) for part in zip(*facts, strict=True))
                exponents, marks = pass_exponents(exponent, bad, shape.pass_tokens)
                for at, one, mark in zip(passes, exponents, marks, strict=True):
                    at[f"{name}_exp"], at[f"{name}_bad"] = one, mark
        if tokens % shape.pass_tokens:
            head.update(passes.pop())
        at = placement.passes + PASS.size * shape.passes * index
        device.store(at, b"".join(PASS.pack(**facts) for facts in passes))
        device.store(placement.heads + HEAD.size * index, HEAD.pack(**head))
