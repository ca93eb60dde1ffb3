"""The tables in device DRAM as numpy sees them (`rtl.tables`): sequence entries, heads, maps."""

import numpy as np

from rtl.tables import HEAD, MAP_ENTRY, SEQUENCE, SequenceState

from ..capacity import Capacity

__all__ = [
    "HeadTable",
    "MapTable",
    "clear_heads",
    "read_heads",
    "read_map",
    "read_state",
    "write_closed",
    "write_open",
]

_WORD = np.dtype("<u8")


def _address(sequence):
    return Capacity.SEQUENCE_TABLE + SEQUENCE.size * sequence


def clear_heads(device, placement):
    """Empties the heads of a sequence that is about to be opened."""
    device.clear(placement.heads, HEAD.size * placement.shape.heads)


def read_state(device, sequence):
    """`SequenceState` of a sequence number."""
    return SEQUENCE.unpack(device.load(_address(sequence), SEQUENCE.size))["state"]


def write_open(device, placement):
    """Writes a sequence's entry: from here on the drive knows it."""
    shape = placement.shape
    device.store(
        _address(placement.sequence),
        SEQUENCE.pack(
            state=SequenceState.OPEN,
            format=0,
            head_dim=shape.head_dim,
            kv_heads=shape.kv_heads,
            layers=shape.layers,
            max_tokens=shape.max_tokens,
            groups=shape.groups,
            heads=placement.heads,
            map=placement.map,
            tail=placement.tail,
            group_tokens=shape.group_tokens,
            group_shift=shape.group_tokens.bit_length() - 1,
        ),
    )


def write_closed(device, sequence):
    """Marks a sequence as closed."""
    device.store(_address(sequence), SEQUENCE.pack(state=SequenceState.CLOSED))


class _Table:
    """Columns of a table of 64-bit words, one array per field of a layout."""

    def __init__(self, layout, raw):
        words = np.frombuffer(raw, _WORD).reshape(-1, layout.words)
        for field in layout.fields.values():
            word, bit = divmod(field.offset, 64)
            mask = np.uint64((1 << field.width) - 1)
            setattr(self, field.name, (words[:, word] >> np.uint64(bit) & mask).astype(np.int64))


class HeadTable(_Table):
    """Fields of `HEAD`, one entry per head."""

    def __init__(self, raw):
        super().__init__(HEAD, raw)


class MapTable(_Table):
    """Fields of `MAP_ENTRY`, one entry per head and group, heads first."""

    def __init__(self, raw):
        super().__init__(MAP_ENTRY, raw)


def read_heads(device, placement):
    """`HeadTable` of a sequence."""
    return HeadTable(device.load(placement.heads, HEAD.size * placement.shape.heads))


def read_map(device, placement):
    """`(channel, die, row)` arrays of all flash pages that a sequence holds."""
    shape = placement.shape
    held = read_heads(device, placement).flash_groups
    table = MapTable(device.load(placement.map, MAP_ENTRY.size * shape.heads * shape.groups))
    head, group = np.divmod(np.arange(shape.heads * shape.groups), shape.groups)
    live = group < held[head]
    channel = ((group + head) % shape.channels)[live]  # as rtl.tables.group_channel says
    return (
        np.concatenate([channel, channel]),
        np.concatenate([table.k_die[live], table.v_die[live]]),
        np.concatenate([table.k_row[live], table.v_row[live]]),
    )
