"""The simulation's back door: K and V straight into flash cells, map, head table and tail.

What it leaves behind is what the append path would have left, in block groups of its own: page
``n`` of a channel within a group on die ``n mod dies``. No time passes, unless dead groups must be
erased to make room.
"""

import numpy as np

from rtl.commands import Status
from rtl.tables import HEAD, MAP_ENTRY, group_channel

from ..errors import DriveError

__all__ = ["BackDoor"]


class BackDoor:
    """Writes K and V of open sequences.

    Parameters
    ----------
    firmware : Firmware
    array : flash_model.array.NandArray
    """

    def __init__(self, firmware, array):
        self._firmware = firmware
        self._device = firmware.device
        self._array = array
        geometry = array.geometry
        self._geometry = geometry
        self._channel_pages = geometry.dies * geometry.pages
        self._groups = []  # in the order of filling
        self._at = [0] * geometry.channels  # pages written, per channel

    def write(self, sequence, layer, k, v):
        """Appends float16 [tokens, kv_heads, head_dim]; the drive must execute nothing."""
        placement = self._firmware.capacity.placements[sequence]
        shape = placement.shape
        first = layer * shape.kv_heads
        heads = [self._head(placement, first + h) for h in range(shape.kv_heads)]
        self._reserve(
            shape,
            [
                (first + h, head["flash_groups"], (head["tokens"] + len(k)) // shape.group_tokens)
                for h, head in enumerate(heads)
            ],
        )
        for h, head in enumerate(heads):
            self._append(placement, layer, h, head, np.stack([k[:, h], v[:, h]]))

    def _head(self, placement, index):
        return HEAD.unpack(self._device.load(placement.heads + HEAD.size * index, HEAD.size))

    def _reserve(self, shape, spans):
        """Takes the block groups for pages of (head, first group, last group), or raises."""
        pages = np.zeros(shape.channels, np.int64)
        for index, first, last in spans:
            np.add.at(pages, (index + np.arange(first, last)) % shape.channels, 2)
        end = int((np.asarray(self._at) + pages).max())
        missing = max(0, -(-end // self._channel_pages) - len(self._groups))
        if missing and not self._firmware.provide(missing, pages):
            raise DriveError(
                Status.NO_SPACE, f"{missing} more block groups are needed for the back door"
            )
        self._groups += [self._firmware.groups.take() for _ in range(missing)]

    def _append(self, placement, layer, h, head, new):
        """Appends float16 [K, V][tokens][head_dim] to one head."""
        shape, size = placement.shape, placement.shape.page_bytes
        index = layer * shape.kv_heads + h
        tail = placement.tail + 2 * size * index
        held = head["tokens"] % shape.group_tokens
        row = 2 * shape.head_dim
        old = [
            np.frombuffer(self._device.load(tail + kind * size, held * row), np.float16).reshape(
                held, shape.head_dim
            )
            for kind in range(2)
        ]
        data = np.concatenate([np.stack(old), new], axis=1)
        group = head["flash_groups"]
        while data.shape[1] >= shape.group_tokens:
            channel = group_channel(group, layer, shape.kv_heads, h, shape.channels)
            places = [
                self._program(channel, page.tobytes()) for page in data[:, : shape.group_tokens]
            ]
            (k_die, k_row), (v_die, v_row) = places
            self._device.store(
                placement.map + MAP_ENTRY.size * (index * shape.groups + group),
                MAP_ENTRY.pack(k_row=k_row, k_die=k_die, v_row=v_row, v_die=v_die),
            )
            data, group = data[:, shape.group_tokens :], group + 1
        for kind in range(2):
            self._device.store(tail + kind * size, data[kind].tobytes())
        for name, x in zip("kv", new, strict=True):
            field = x.view(np.uint16).astype(np.int64) >> 10 & 31
            head[f"{name}_exp"] = max(head[f"{name}_exp"], int(np.maximum(field, 1).max()) - 1)
            head[f"{name}_bad"] |= int((field == 31).any())
        head["tokens"] += new.shape[1]
        head["flash_groups"] = group
        self._device.store(placement.heads + HEAD.size * index, HEAD.pack(**head))

    def _program(self, channel, data):
        """Writes the channel's next page; returns its die and row."""
        number, page = divmod(self._at[channel], self._channel_pages)
        self._at[channel] += 1
        page, die = divmod(page, self._geometry.dies)
        row = self._geometry.row(self._groups[number], page)
        self._array.write_page(channel, die, row, data)
        return die, row
