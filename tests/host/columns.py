"""K by channel on a drive's flash, found by its tables, against the K that was appended."""

import numpy as np

from rtl.tables import COLUMN_ENTRY, HEAD, PAGE_META, SEQUENCE, PageKind

__all__ = ["check_columns"]


def check_columns(drive, number, layers, whole=True):
    """Every page of K by channel of a sequence is what a transposition of its K gives.

    Parameters
    ----------
    drive : KvDrive
        Of gateware, or of the fake lane.
    number : int
    layers : list of K [tokens, kv_heads, head_dim]
        All that the sequence holds.
    whole : bool
        All units that can be there are to be there.

    Returns
    -------
    int
        Pages found.
    """
    driver, lane = drive.backend.driver, drive.backend.lane
    driver.quiesce()
    firmware, config = drive.backend.firmware, drive.config

    def load(layout, address):
        return layout.unpack(lane.dram[address : address + layout.size].tobytes())

    entry = load(SEQUENCE, firmware.capacity.SEQUENCE_TABLE + SEQUENCE.size * number)
    heads, group = entry["kv_heads"], entry["group_tokens"]
    unit = config.code.data_bytes // 2
    pages = unit // group
    assert entry["unit_groups"] == pages
    found = set()
    for index in range(entry["layers"] * heads):
        layer, h = divmod(index, heads)
        k = layers[layer][:, h].view(np.uint16)
        state = load(HEAD, entry["heads"] + HEAD.size * index)
        assert state["tokens"] == len(k)
        held, left = divmod(state["column_pages"], pages)
        assert not left and held * pages <= state["flash_groups"]
        if whole:
            assert held == len(k) // unit
        for page in range(held * pages):
            at = entry["columns"] + 4 * (index * entry["groups"] + page)
            place = load(COLUMN_ENTRY, at)
            die, row = place["even_die"], place["even_row"]
            channel = (page // pages + 3 * index + entry["first_channel"]) % config.channels
            found.add((channel, die, row))
            meta, user = firmware._pages.read(channel, die, row)
            facts = PAGE_META.unpack(meta)
            assert (facts["kind"], facts["index"], facts["group"]) == (
                PageKind.COLUMNS,
                index,
                page,
            )
            start, part = page // pages * unit, page % pages
            wanted = k[start : start + unit].T.tobytes()
            size = config.flash.geometry.page_bytes
            assert user.tobytes() == wanted[part * size : (part + 1) * size], (index, page)
    total = sum(
        load(HEAD, entry["heads"] + HEAD.size * index)["column_pages"]
        for index in range(entry["layers"] * heads)
    )
    assert len(found) == total  # no page twice
    return total
