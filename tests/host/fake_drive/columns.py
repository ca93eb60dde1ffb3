"""K by channel, or bounds, in the fake drive: units of an append's K, or of K pages once all are on
flash."""

import numpy as np

from hls_attention.bounds_code import encode
from rtl.tables import COLUMN_ENTRY, HEAD, PageKind, column_channel
from tests.host.fake_drive.commands import FORMATS


class Columns:
    """Mixin of `fake_drive.lane.FakeLane`."""

    def _brings(self, entry, layer, head, tokens):
        """Tokens of whole units that an append of so many brings: if it begins where one does."""
        unit, state = entry["unit_groups"] * entry["group_tokens"], self._head(entry, layer, head)
        starts = unit and state["tokens"] == self._units(entry, state) * unit
        return tokens // unit * unit if starts else 0

    def _units(self, entry, state):
        return state["column_pages"] // (1 if entry["bounds"] else entry["unit_groups"])

    def _build(self, entry, layer, head):
        """Reads the K of the units that a head lacks, and writes them."""
        unit = entry["unit_groups"]
        while unit and (state := self._head(entry, layer, head))["flash_groups"] >= unit * (
            self._units(entry, state) + 1
        ):
            first = unit * self._units(entry, state)
            raw = b"".join(
                self._page(entry, layer, head, group, PageKind.K)
                for group in range(first, first + unit)
            )
            tokens = np.frombuffer(raw, "<u2").reshape(-1, entry["head_dim"])
            yield from self._units_of(entry, layer, head, tokens)

    def _units_of(self, entry, layer, head, k):
        """Writes the units of K [tokens][head_dim], page by page."""
        index, unit = layer * entry["kv_heads"] + head, entry["unit_groups"]
        for tokens in np.split(k, len(k) // (unit * entry["group_tokens"])) if len(k) else ():
            first = self._head(entry, layer, head)["column_pages"]
            if entry["bounds"]:
                pages = [encode(tokens.view(FORMATS[entry["format"]].dtype))]
            else:
                pages = np.split(np.ascontiguousarray(tokens.T).ravel(), unit)
            for number, page in enumerate(pages, first):
                yield from self._column(entry, layer, head, number, page.tobytes())
            state = {**self._head(entry, layer, head), "column_pages": first + len(pages)}
            self._store(entry["heads"] + HEAD.size * index, HEAD.pack(**state))

    def _column(self, entry, layer, head, number, page):
        index = layer * entry["kv_heads"] + head
        assert number < entry["groups"] and len(page) <= self.geometry.page_bytes
        channels, first = self.geometry.channels, entry["first_channel"]
        pages = 1 if entry["bounds"] else entry["unit_groups"]
        channel = column_channel(number, pages, index, channels, first)
        meta = {"group": number, "kind": PageKind.COLUMNS, "index": index}
        die, row = yield from self._program(
            channel, entry["stream"], page, self._meta(entry, **meta)
        )
        place = COLUMN_ENTRY.pack(even_die=die, even_row=row)[: COLUMN_ENTRY.size // 2]
        first = index * entry["groups"] * pages // entry["unit_groups"]
        at = entry["columns"] + COLUMN_ENTRY.size // 2 * (first + number)
        self._store(at, place)
