"""The tables in device DRAM as numpy sees them (`rtl.tables`): sequence entries, heads, maps."""

from types import SimpleNamespace

import numpy as np

from rtl.tables import HEAD, MAP_ENTRY, SEQUENCE, SequenceState, group_channel

from ..capacity import Capacity

__all__ = ["clear_heads", "read_heads", "read_map", "read_state", "write_closed", "write_open"]

_WORD = np.dtype("<u8")


def _address(sequence):
    return Capacity.SEQUENCE_TABLE + SEQUENCE.size * sequence


def clear_heads(device, placement):
    """Empties the heads of a sequence that is about to be opened."""
    device.clear(placement.heads, HEAD.size * placement.shape.heads)


def read_state(device, sequence):
    """`SequenceState` of a sequence number."""
    return SEQUENCE.unpack(device.load(_address(sequence), SEQUENCE.size))["state"]


def write_open(device, placement, format):
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
            number=placement.sequence,
        ),
    )


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


def read_map(device, placement):
    """`(channel, die, row)` arrays of all flash pages that a sequence holds."""
    shape = placement.shape
    held = read_heads(device, placement).flash_groups
    table = _columns(
        MAP_ENTRY, device.load(placement.map, MAP_ENTRY.size * shape.heads * shape.groups)
    )
    head, group = np.divmod(np.arange(shape.heads * shape.groups), shape.groups)
    live = group < held[head]
    channel = group_channel(group, 0, 0, head, shape.channels)[live]
    return (
        np.concatenate([channel, channel]),
        np.concatenate([table.k_die[live], table.v_die[live]]),
        np.concatenate([table.k_row[live], table.v_row[live]]),
    )
