"""The tables in device DRAM as numpy sees them (`rtl.tables`): sequence entries, heads, maps."""

from types import SimpleNamespace

import numpy as np

from rtl.tables import COLUMN_ENTRY, HEAD, MAP_ENTRY, PASS, SEQUENCE, PageKind, SequenceState

from ..capacity import Capacity

__all__ = [
    "PLACE",
    "clear_heads",
    "columns_behind",
    "copy",
    "pack_place",
    "place_at",
    "read_entry",
    "read_heads",
    "read_map",
    "write_closed",
    "write_open",
    "write_segment",
    "write_stream",
]

PLACE = MAP_ENTRY.size // 2
"""Bytes of the place of one page, in the map and in the table of units: row and die."""

_WORD = np.dtype("<u8")


def _address(sequence):
    return Capacity.SEQUENCE_TABLE + SEQUENCE.size * sequence


def clear_heads(device, placement):
    """Empties the heads of a sequence that is about to be opened."""
    device.clear(placement.heads, HEAD.size * placement.shape.heads)


def copy(device, old, new):
    """Heads, map, passes, tails and places of units of a sequence for another one, whose capacity
    may differ."""
    device.store(new.heads, device.load(old.heads, HEAD.size * old.shape.heads))
    device.store(new.tail, device.load(old.tail, old.shape.table_bytes["tail"]))
    pages = min(each.shape.column_pages(each.shape.groups) for each in (old, new))
    for index in range(old.shape.heads):
        for table, size, count, room in (
            ("map", MAP_ENTRY.size, old.shape.groups, new.shape.groups),
            ("passes", PASS.size, old.shape.passes, new.shape.passes),
        ):
            part = device.load(getattr(old, table) + size * count * index, size * min(count, room))
            device.store(getattr(new, table) + size * room * index, part)
        part = device.load(place_at(old, PageKind.COLUMNS, index, 0), PLACE * pages)
        device.store(place_at(new, PageKind.COLUMNS, index, 0), part)


def read_entry(device, sequence):
    """`SEQUENCE` of a sequence number."""
    return SEQUENCE.unpack(device.load(_address(sequence), SEQUENCE.size))


def write_open(device, placement, format, segment, stream=0):
    """Writes a sequence's entry: from here on the drive knows it. ``format`` is its number."""
    shape = placement.shape
    device.store(
        _address(placement.sequence),
        SEQUENCE.pack(
            state=SequenceState.OPEN,
            format=format,
            head_dim=shape.head_dim,
            kv_heads=shape.kv_heads,
            layers=shape.layers,
            max_tokens=shape.max_tokens,
            groups=shape.groups,
            heads=placement.heads,
            map=placement.map,
            tail=placement.tail,
            group_tokens=shape.group_tokens,
            pass_groups=shape.pass_tokens // shape.group_tokens,
            pass_rest=shape.pass_tokens % shape.group_tokens,
            pass_entries=shape.passes,
            passes=placement.passes,
            columns=placement.columns,
            unit_groups=shape.unit_groups,
            bounds=shape.bounds,
            number=placement.sequence,
            first_channel=shape.first_channel,
            first_die=shape.first_die,
            segment=segment,
            stream=stream,
        ),
    )


def write_segment(device, sequence, segment):
    """From here on a sequence marks its pages with ``segment``."""
    _write(device, sequence, segment=segment)


def write_stream(device, sequence, stream):
    """From here on a sequence has its pages from ``stream``."""
    _write(device, sequence, stream=stream)


def _write(device, sequence, **fields):
    device.store(_address(sequence), SEQUENCE.pack(**read_entry(device, sequence) | fields))


def write_closed(device, sequence):
    """Marks a sequence as closed."""
    device.store(_address(sequence), SEQUENCE.pack(state=SequenceState.CLOSED))


def _columns(layout, raw):
    """The fields of a table of records, one int64 array each."""
    words = np.frombuffer(raw, _WORD).reshape(-1, layout.words)
    columns = {}
    for field in layout.fields.values():
        word, bit = divmod(field.offset, 64)
        mask = np.uint64((1 << field.width) - 1)
        columns[field.name] = (words[:, word] >> np.uint64(bit) & mask).astype(np.int64)
    return SimpleNamespace(**columns)


def read_heads(device, placement):
    """Fields of `HEAD` as arrays with one entry per head of a sequence."""
    return _columns(HEAD, device.load(placement.heads, HEAD.size * placement.shape.heads))


def pack_place(die, row):
    """The place of a page, as the tables have it."""
    return MAP_ENTRY.pack(k_die=die, k_row=row)[:PLACE]


def place_at(placement, kind, index, group):
    """Address where the place of a page is kept: `PageKind` K, V or COLUMNS, index and group as in
    `PAGE_META`."""
    if kind == PageKind.COLUMNS:
        return placement.columns + PLACE * (placement.shape.first_column(index) + group)
    number = index * placement.shape.groups + group
    return placement.map + MAP_ENTRY.size * number + PLACE * kind


def columns_behind(shape, heads):
    """Heads that lack pages of a whole unit: index -> pages on flash.

    ``heads`` are fields of `HEAD`, arrays.
    """
    missing = np.flatnonzero(shape.column_pages(heads.flash_groups) > heads.column_pages)
    return dict(zip(missing.tolist(), heads.column_pages[missing].tolist(), strict=True))


def read_map(device, placement, first=0):
    """`(channel, die, row)` arrays of the flash pages that a sequence holds.

    ``first`` leaves out groups before it, an int or one for each head, and units that do not end
    before it.
    """
    shape, heads = placement.shape, read_heads(device, placement)

    def held(count, first, end):
        """Head and number of those of ``count`` a head that are from ``first`` to ``end``."""
        head, number = np.divmod(np.arange(shape.heads * count), count)
        live = (number >= np.broadcast_to(first, shape.heads)[head]) & (number < end[head])
        return head[live], number[live]

    head, group = held(shape.groups, first, heads.flash_groups)
    table = _columns(MAP_ENTRY, device.load(placement.map, shape.table_bytes["map"]))
    entry, channel = head * shape.groups + group, shape.channel(group, head)
    places = [
        (channel, table.k_die[entry], table.k_row[entry]),
        (channel, table.v_die[entry], table.v_row[entry]),
    ]
    if pages := shape.column_pages(shape.groups):
        head, page = held(pages, shape.column_pages(first), heads.column_pages)
        table = device.load(placement.columns, shape.table_bytes["columns"])
        table, entry = _columns(COLUMN_ENTRY, table), shape.first_column(head) + page
        die = np.stack([table.even_die, table.odd_die], axis=1).ravel()[entry]
        row = np.stack([table.even_row, table.odd_row], axis=1).ravel()[entry]
        places.append((shape.column_channel(page, head), die, row))
    return tuple(np.concatenate(parts) for parts in zip(*places, strict=True))
