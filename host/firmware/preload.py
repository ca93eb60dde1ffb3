"""The simulation's back door: K and V straight into flash cells, map, head table and tail.

What it leaves behind is what the append path would have left, each page on the die it is wanted
on, but in block groups of its own. No time passes, unless dead groups must be erased to make room.
"""

import numpy as np

from rtl.commands import Status
from rtl.page_codec import encode_pages
from rtl.tables import HEAD, MAP_ENTRY, PAGE_META, PASS, page_die

from ..errors import DriveError
from .exponents import token_exponents
from .tables import read_entry

__all__ = ["BackDoor"]


class BackDoor:
    """Writes K and V of open sequences.

    Parameters
    ----------
    firmware : Firmware
    array : flash_model.array.NandArray
    code : rtl.ecc.code.BchCode
        Of its codewords.
    """

    def __init__(self, firmware, array, code):
        self._firmware = firmware
        self._blocks = firmware.repair.blocks
        self._code = code
        self._device = firmware.device
        self._array = array
        geometry = array.geometry
        self._geometry = geometry
        self._stripes = []  # groups of all parts of the dies, in the order of filling
        self._at = np.zeros((geometry.channels, geometry.dies), np.int64)  # pages written

    def write(self, sequence, layer, k, v, format):
        """Appends [tokens, kv_heads, head_dim] in a format; the drive must execute nothing."""
        placement = self._firmware.capacity.placements[sequence]
        shape = placement.shape
        first = layer * shape.kv_heads
        heads = [self._head(placement, first + h) for h in range(shape.kv_heads)]
        places = [
            self._places(
                shape,
                layer,
                h,
                head["flash_groups"],
                (head["tokens"] + len(k)) // shape.group_tokens,
            )
            for h, head in enumerate(heads)
        ]
        self._reserve(sequence, places)
        for h, head in enumerate(heads):
            new = np.stack([k[:, h], v[:, h]])
            self._append(placement, first + h, head, new, places[h], format)

    def _head(self, placement, index):
        return HEAD.unpack(self._device.load(placement.heads + HEAD.size * index, HEAD.size))

    def _places(self, shape, layer, head, first, last):
        """Channel and die of K and V of groups ``first`` to ``last`` (excluded), [groups, 2]."""
        group = np.arange(first, last)[:, None]
        channel = shape.channel(group, layer * shape.kv_heads + head)
        die = page_die(
            group // shape.channels,
            layer * shape.kv_heads + head,
            head,
            np.arange(2),
            shape.kv_heads,
            self._geometry.dies,
            shape.first_die,
        )
        return np.broadcast_to(channel, die.shape), die

    def _reserve(self, sequence, places):
        """Takes the block groups for the pages of a sequence at places, or raises."""
        at = self._at.copy()
        for channel, die in places:
            np.add.at(at, (channel, die), 1)
        missing = max(0, -(-int(at.max()) // self._geometry.pages) - len(self._stripes))
        placed = {sequence: (at - self._at).sum(axis=1)}
        space, parts = self._firmware.space, range(self._blocks.parts)
        if missing and not (
            space.provide(missing * len(parts), placed)
            and all(space.groups.erased_on(part) >= missing for part in parts)
        ):
            raise DriveError(
                Status.NO_SPACE,
                f"{missing * len(parts)} more block groups are needed for the back door",
            )
        for _ in range(missing):
            self._stripes.append([space.groups.take(part) for part in parts])

    def _append(self, placement, index, head, new, places, format):
        """Appends [K, V][tokens][head_dim] to one head."""
        shape, size = placement.shape, placement.shape.page_bytes
        tail = placement.tail + 2 * size * index
        held, row = head["tail_tokens"], 2 * shape.head_dim
        old = [
            np.frombuffer(self._device.load(tail + kind * size, held * row), new.dtype).reshape(
                held, shape.head_dim
            )
            for kind in range(2)
        ]
        data = np.concatenate([np.stack(old), new], axis=1)
        count = len(places[0])
        rows = [
            [self._next_page(int(channel), int(die)) for channel, die in zip(*place, strict=True)]
            for place in zip(*places, strict=True)
        ]  # (die, row) of K and V of each group
        self._program(placement, index, head["flash_groups"], places[0], rows, data)
        entries = [
            MAP_ENTRY.pack(k_row=k_row, k_die=k_die, v_row=v_row, v_die=v_die)
            for (k_die, k_row), (v_die, v_row) in rows
        ]
        at = index * shape.groups + head["flash_groups"]
        self._device.store(placement.map + MAP_ENTRY.size * at, b"".join(entries))
        data = data[:, count * shape.group_tokens :]
        for kind in range(2):
            self._device.store(tail + kind * size, data[kind].tobytes())
        self._follow(placement, index, head, new, format)
        head["flash_groups"] += len(entries)
        head["tail_tokens"] = data.shape[1]
        head["tokens"] += new.shape[1]
        self._device.store(placement.heads + HEAD.size * index, HEAD.pack(**head))

    def _follow(self, placement, index, head, new, format):
        """Follows block exponents and non-finite marks, pass by pass, as the append path does."""
        shape = placement.shape
        exponent, bad = token_exponents(new, format)
        start = head["tokens"]
        while start < head["tokens"] + new.shape[1]:
            number = start // shape.pass_tokens
            end = min((number + 1) * shape.pass_tokens, head["tokens"] + new.shape[1])
            part = slice(start - head["tokens"], end - head["tokens"])
            for kind, name in enumerate("kv"):
                head[f"{name}_exp"] = max(head[f"{name}_exp"], int(exponent[kind, part].max()))
                head[f"{name}_bad"] |= int(bad[kind, part].any())
            if end % shape.pass_tokens == 0:
                facts = {name: head[name] for name in PASS.fields}
                at = placement.passes + PASS.size * (index * shape.passes + number)
                self._device.store(at, PASS.pack(**facts))
                head.update(dict.fromkeys(facts, 0))
            start = end

    def _next_page(self, channel, die):
        """Takes the die's next page: ``(die, row)`` of the block that serves."""
        number, page = divmod(int(self._at[channel, die]), self._geometry.pages)
        self._at[channel, die] += 1
        group = self._stripes[number][self._blocks.part_of(die)]
        at, block = self._blocks.place(channel, die, group)
        return at, self._geometry.row(block, page)

    def _program(self, placement, index, first, channels, pages, data):
        """Writes groups of [K, V][tokens][head_dim] to their pages, as the drive encodes them."""
        shape, count = placement.shape, len(pages)
        if not count:
            return
        segment = read_entry(self._device, placement.sequence)["segment"]
        metas = [
            PAGE_META.pack(group=first + n, kind=kind, index=index, segment=segment)
            for n in range(count)
            for kind in range(2)
        ]
        groups = data[:, : count * shape.group_tokens].reshape(2, count, -1)
        user = np.ascontiguousarray(groups.transpose(1, 0, 2)).view(np.uint8)
        dies, rows = np.reshape(pages, (-1, 2)).T
        raw = encode_pages(self._code, rows, metas, user.reshape(2 * count, -1))
        for channel, die, row, page in zip(np.ravel(channels), dies, rows, raw, strict=True):
            self._array.write_page(int(channel), int(die), int(row), page.tobytes())
