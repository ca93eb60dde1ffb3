"""Truncation: what a sequence is after its last tokens are gone, as if they had never come.

::

    flash groups   | 0 | 1 | 2 | 3 | tail          keep 10 tokens, 4 to a group
                   | 0 | 1 | <- group 2 becomes the tail: its first tokens are read back
                             group 3 and the old tail are gone

The block exponent of the pass that is cut must be that of the tokens that stay. They are searched
for one that attains the exponent of before, from the last one on; where there is none, all of them
have been seen and the exponent is known, too.
"""

from dataclasses import dataclass

import numpy as np

from rtl.commands import Status
from rtl.tables import HEAD, MAP_ENTRY, PASS

from ..errors import DriveError

__all__ = ["Truncation"]


@dataclass(frozen=True)
class _Cut:
    """A head afterwards: its record, and its tail where that is another one."""

    head: dict
    tail: list | None  # K, V [tokens, head_dim]


class Truncation:
    """Cuts heads of one sequence; nothing is changed before `commit`.

    Parameters
    ----------
    device : host.firmware.device.Device
    pages : host.firmware.raw_pages.RawPages
    placement : host.capacity.Placement
    format : hls_attention.formats.Format
        Of its K and V.
    """

    def __init__(self, device, pages, placement, format):
        self._device, self._pages = device, pages
        self._placement, self._format = placement, format
        self._cuts = {}

    def cut(self, index, keep):
        """Head ``index`` is to keep its first ``keep`` tokens, as many as it has at most. The marks
        of an append that failed are gone then.

        Raises
        ------
        DriveError
            UNRECOVERED_READ: a page that is needed cannot be read.
        """
        shape = self._placement.shape
        head = HEAD.unpack(self._device.load(self._at("heads", index), HEAD.size))
        if keep == head["tokens"]:
            self._cuts[index] = _Cut(head | {"torn": 0}, None)
            return
        groups = min(head["flash_groups"], keep // shape.group_tokens)
        tokens = keep - groups * shape.group_tokens
        tail = None
        if groups < head["flash_groups"]:
            tail = [self._page(index, groups, kind)[:tokens] if tokens else None for kind in "kv"]
        number, in_pass = divmod(keep, shape.pass_tokens)
        before = head
        if head["tokens"] // shape.pass_tokens > number:
            at = self._at("passes", index) + PASS.size * number
            before = PASS.unpack(self._device.load(at, PASS.size))
        for kind, name in enumerate("kv"):
            exponent = bad = 0
            if in_pass:
                parts = self._retained(index, kind, keep, in_pass, tail)
                exponent, bad = self._facts(parts, before[f"{name}_exp"], before[f"{name}_bad"])
            head[f"{name}_exp"], head[f"{name}_bad"] = exponent, bad
        head.update(tokens=keep, flash_groups=groups, tail_tokens=tokens, spoiled=0, torn=0)
        head["column_pages"] = min(head["column_pages"], shape.column_pages(groups))
        self._cuts[index] = _Cut(head, tail if tokens else None)

    def commit(self):
        """Writes what was cut."""
        size = self._placement.shape.page_bytes
        for index, cut in self._cuts.items():
            for kind, tail in enumerate(cut.tail or ()):
                self._device.store(self._at("tail", index) + kind * size, tail.tobytes())
            self._device.store(self._at("heads", index), HEAD.pack(**cut.head))

    def _at(self, table, index):
        """Address of a head's part of a table."""
        shape = self._placement.shape
        return getattr(self._placement, table) + shape.table_bytes[table] // shape.heads * index

    def _page(self, index, group, kind):
        """K ("k") or V ("v") of a group on flash, [tokens, head_dim]."""
        shape = self._placement.shape
        at = self._at("map", index) + MAP_ENTRY.size * group
        entry = MAP_ENTRY.unpack(self._device.load(at, MAP_ENTRY.size))
        channel = shape.channel(group, index)
        die, row = entry[f"{kind}_die"], entry[f"{kind}_row"]
        found = self._pages.read(channel, die, row)
        if not found:
            raise DriveError(
                Status.UNRECOVERED_READ, f"channel {channel}, die {die}, row {row} cannot be read"
            )
        words = found[1][: 2 * shape.head_dim * shape.group_tokens]
        return words.view(self._format.dtype).reshape(shape.group_tokens, shape.head_dim)

    def _retained(self, index, kind, keep, in_pass, tail):
        """Tokens of the cut pass that stay, [tokens, head_dim] parts, the last first."""
        shape = self._placement.shape
        group, tokens = divmod(keep, shape.group_tokens)
        start = keep - in_pass
        if tail is None:
            head = HEAD.unpack(self._device.load(self._at("heads", index), HEAD.size))
            group, tokens = head["flash_groups"], keep - head["flash_groups"] * shape.group_tokens
            at = self._at("tail", index) + kind * shape.page_bytes
            raw = self._device.load(at, 2 * shape.head_dim * tokens)
            own = np.frombuffer(raw, self._format.dtype).reshape(tokens, shape.head_dim)
        else:
            own = tail[kind]
        if tokens:
            yield own[max(0, start - group * shape.group_tokens) :]
        while group * shape.group_tokens > start:
            group -= 1
            page = self._page(index, group, "kv"[kind])
            yield page[max(0, start - group * shape.group_tokens) :]

    def _facts(self, parts, most, any_bad):
        """Block exponent and non-finite mark of parts that together have at most these."""
        exponent = bad = 0
        for part in parts:
            fields = part.view(np.uint16) >> self._format.fraction_bits & self._format.top_field
            exponent = max(exponent, int(fields.max(initial=1)) - 1)
            bad |= int((fields == self._format.top_field).any())
            if (exponent, bad) == (most, any_bad):
                break
        return exponent, bad
