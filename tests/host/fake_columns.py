"""K by channel in the fake drive: units are made from K pages once all of them are on flash."""

import numpy as np

from rtl.tables import COLUMN_ENTRY, HEAD, PageKind, column_channel


class Columns:
    """Mixin of `fake_lane.FakeLane`."""

    def _build(self, entry, layer, head):
        """Writes the units that a head lacks, page by page."""
        unit = entry["unit_groups"]
        while unit and (state := self._head(entry, layer, head))["flash_groups"] >= (
            state["column_pages"] + unit
        ):
            first = state["column_pages"]
            raw = b"".join(
                self._page(entry, layer, head, group, PageKind.K)
                for group in range(first, first + unit)
            )
            tokens = np.frombuffer(raw, "<u2").reshape(-1, entry["head_dim"])
            for number, page in enumerate(np.split(np.ascontiguousarray(tokens.T).ravel(), unit)):
                yield from self._column(entry, layer, head, first + number, page.tobytes())
            index = layer * entry["kv_heads"] + head
            state = {**self._head(entry, layer, head), "column_pages": first + unit}
            self._store(entry["heads"] + HEAD.size * index, HEAD.pack(**state))

    def _column(self, entry, layer, head, number, page):
        index = layer * entry["kv_heads"] + head
        assert number < entry["groups"] and len(page) == self.geometry.page_bytes
        channels, first = self.geometry.channels, entry["first_channel"]
        channel = column_channel(number, entry["unit_groups"], index, channels, first)
        meta = {"group": number, "kind": PageKind.COLUMNS, "index": index}
        die, row = yield from self._program(
            channel, entry["stream"], page, self._meta(entry, **meta)
        )
        place = COLUMN_ENTRY.pack(even_die=die, even_row=row)[: COLUMN_ENTRY.size // 2]
        at = entry["columns"] + COLUMN_ENTRY.size // 2 * (index * entry["groups"] + number)
        self._store(at, place)
