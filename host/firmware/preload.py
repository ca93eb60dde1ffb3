"""The simulation's back door: K and V straight into flash cells, map, head table and tail; and K
by channel, or bounds of K, where they are kept.

What it leaves behind is what the append path would have left, each page on the die it is wanted
on, but in block groups of its own. No time passes, unless dead groups must be erased to make room.
"""

import numpy as np

from cosim.reference import encode_bounds
from rtl.commands import Status
from rtl.pages.codec import decode_pages, encode_pages
from rtl.tables import HEAD, PAGE_META, PASS, PageKind, column_die, page_die

from ..errors import DriveError
from .exponents import token_exponents
from .tables import PLACE, pack_place, place_at, read_entry

__all__ = ["BackDoor"]


class BackDoor:
    """Writes K and V of open sequences.

    Parameters
    ----------
    firmware : Firmware
    array : flash_model.array.NandArray
    code : rtl.ecc.code.BchCode
        Of its codewords.
    dies : int, optional
        Of each channel, that pages are put on: as in a drive that has no more. All of them, if not
        given.
    """

    def __init__(self, firmware, array, code, dies=None):
        self._firmware = firmware
        self._blocks = firmware.repair.blocks
        self._code = code
        self._device = firmware.device
        self._array = array
        geometry = array.geometry
        self._geometry = geometry
        self._dies = dies or geometry.dies
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
        columns = [
            self._column_places(shape, first + h, head, (head["tokens"] + len(k)))
            for h, head in enumerate(heads)
        ]
        self._reserve(sequence, [*places, *columns])
        for h, head in enumerate(heads):
            new = np.stack([k[:, h], v[:, h]])
            self._append(placement, first + h, head, new, places[h], format)
            self._build(placement, first + h, head, columns[h], format)

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
            self._dies,
            shape.first_die,
        )
        shape = len(group), 2  # one die is a number, not an array
        return np.broadcast_to(channel, shape), np.broadcast_to(die, shape)

    def _column_places(self, shape, index, head, tokens):
        """Channel and die of the pages of units that a head with so many tokens lacks."""
        last = shape.column_pages(tokens // shape.group_tokens)
        page = np.arange(head["column_pages"], last)
        if not len(page):
            return page, page
        die = column_die(
            page,
            shape.unit_pages,
            index,
            index % shape.kv_heads,
            shape.kv_heads,
            self._geometry.channels,
            self._dies,
            shape.first_die,
        )
        return shape.column_channel(page, index), np.broadcast_to(die, page.shape)

    def _reserve(self, sequence, places):
        """Takes the block groups for the pages of a sequence at places, or raises."""
        more = np.zeros_like(self._at)
        for channel, die in places:
            np.add.at(more, (channel, die), 1)
        if self._take_groups(sequence, more):
            return
        self._leave_behind()
        if not self._take_groups(sequence, more):
            raise DriveError(Status.NO_SPACE, "no more block groups for the back door")

    def _take_groups(self, sequence, more):
        """Takes those for so many pages [channels, dies] of a sequence; whether there are any."""
        most = int((self._at + more).max())
        missing = max(0, -(-most // self._geometry.pages) - len(self._stripes))
        space, parts = self._firmware.space, range(self._blocks.parts)
        if missing and not (
            space.provide(missing * len(parts), {sequence: more.sum(axis=1)})
            and all(space.groups.erased_on(part) >= missing for part in parts)
        ):
            return False
        for _ in range(missing):
            self._stripes.append([space.groups.take(part) for part in parts])
        return True

    def _leave_behind(self):
        """Only the last groups are filled any more: those that some die has not filled, as its
        pages were few, could not be erased else."""
        end = (len(self._stripes) - 1) * self._geometry.pages
        left = [
            (channel, *self._next_page(channel, die))
            for channel, die in np.argwhere(self._at < end).tolist()
            for _ in range(end - self._at[channel, die])
        ]
        self._firmware.space.groups.bury(*np.array(left, np.int64).reshape(-1, 3).T)

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
        groups = data[:, : count * shape.group_tokens]
        groups = groups.reshape(2, count, shape.group_tokens * shape.head_dim)
        user = np.ascontiguousarray(groups.transpose(1, 0, 2)).view(np.uint8)
        marks = [
            (kind, head["flash_groups"] + n)
            for n in range(count)
            for kind in (PageKind.K, PageKind.V)
        ]
        channels, dies = (part.ravel() for part in places)
        self._program(
            placement,
            index,
            marks,
            channels,
            dies,
            user.reshape(2 * count, shape.group_tokens * row),
        )
        data = data[:, count * shape.group_tokens :]
        for kind in range(2):
            self._device.store(tail + kind * size, data[kind].tobytes())
        self._follow(placement, index, head, new, format)
        head["flash_groups"] += count
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

    def _program(self, placement, index, marks, channels, dies, user):
        """Writes pages to the next ones of their dies, as the drive encodes them, and their places
        to the tables.

        Parameters
        ----------
        placement : Placement
        index : int
            Head, ``layer * kv_heads + h``.
        marks : list of (int, int)
            `PageKind` and ``group`` of each page.
        channels, dies : int arrays [pages]
        user : uint8 array [pages, bytes]
        """
        if not marks:
            return
        segment = read_entry(self._device, placement.sequence)["segment"]
        metas = [
            PAGE_META.pack(group=group, kind=kind, index=index, segment=segment)
            for kind, group in marks
        ]
        channels = channels.tolist()
        places = [self._next_page(*at) for at in zip(channels, dies.tolist(), strict=True)]
        raw = encode_pages(self._code, [row for _, row in places], metas, user)
        for mark, channel, place, page in zip(marks, channels, places, raw, strict=True):
            self._array.write_page(channel, *place, page.tobytes())
            self._device.store(place_at(placement, mark[0], index, mark[1]), pack_place(*place))

    def _build(self, placement, index, head, places, format):
        """Writes the units that a head lacks, at these channels and dies."""
        shape, count = placement.shape, len(places[0])
        first, pages = head["column_pages"], shape.unit_pages
        for at in range(0, count, pages or 1):
            marks = [(PageKind.COLUMNS, first + at + page) for page in range(pages)]
            start = (first + at) // pages * shape.unit_groups
            groups = range(start, start + shape.unit_groups)
            k = np.concatenate([self._k_page(placement, index, group) for group in groups])
            k = k.view(format.dtype)
            unit = encode_bounds(k) if shape.bounds else np.ascontiguousarray(k.T)
            channels, dies = (part[at : at + pages] for part in places)
            user = unit.view(np.uint8).reshape(pages, -1)
            self._program(placement, index, marks, channels, dies, user)
        head["column_pages"] += count
        self._device.store(placement.heads + HEAD.size * index, HEAD.pack(**head))

    def _k_page(self, placement, index, group):
        """K of a group on flash, bits [tokens, head_dim]."""
        place = self._device.load(place_at(placement, PageKind.K, index, group), PLACE)
        row, die = int.from_bytes(place[:3], "little"), place[3]
        raw = self._array.page(placement.shape.channel(group, index), die, row)
        raw = raw[: self._geometry.page_bytes // self._code.data_bytes * self._code.words * 8]
        user, _, corrected = decode_pages(self._code, [row], raw[None])
        if (corrected < 0).any():
            raise DriveError(Status.UNRECOVERED_READ, f"K of group {group} of head {index}")
        return user[0].view(np.uint16).reshape(-1, placement.shape.head_dim)
