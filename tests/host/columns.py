"""K by channel, or bounds, on a drive's flash, found by its tables, against K as appended."""

import numpy as np

from hls_attention.bounds_code import encode
from rtl.pages.codec import decode_pages
from rtl.tables import COLUMN_ENTRY, HEAD, PAGE_META, SEQUENCE, PageKind

__all__ = ["check_columns"]


def check_columns(drive, number, layers, whole=True):
    """Every page of K by channel of a sequence is what a transposition of its K gives; of bounds,
    what `hls_attention.bounds_code` does.

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
    firmware, config = drive.backend.firmware, drive.config
    driver.quiesce()
    firmware.repair.settle(firmware.space.feed)  # pages still wait for their dies

    def load(layout, address):
        return layout.unpack(lane.dram[address : address + layout.size].tobytes())

    entry = load(SEQUENCE, firmware.capacity.SEQUENCE_TABLE + SEQUENCE.size * number)
    heads, group = entry["kv_heads"], entry["group_tokens"]
    unit = config.code.data_bytes // 2
    if entry["bounds"]:
        unit = min(unit, 8 * group)
    assert entry["unit_groups"] == unit // group
    pages = 1 if entry["bounds"] else unit // group
    places, facts, wanted = [], [], []
    for index in range(entry["layers"] * heads):
        layer, h = divmod(index, heads)
        k = layers[layer][:, h].view(np.uint16)
        state = load(HEAD, entry["heads"] + HEAD.size * index)
        assert state["tokens"] == len(k)
        held, left = divmod(state["column_pages"], pages)
        assert not left and held * unit <= state["flash_groups"] * group
        if whole:
            assert held == len(k) // unit
        first = index * entry["groups"]
        if entry["bounds"]:
            first //= entry["unit_groups"]
        for page in range(held * pages):
            place = load(COLUMN_ENTRY, entry["columns"] + 4 * (first + page))
            channel = (page // pages + 3 * index + entry["first_channel"]) % config.channels
            places.append((channel, place["even_die"], place["even_row"]))
            facts.append((PageKind.COLUMNS, index, page))
        if held:
            units = k[: held * unit]
            if entry["bounds"]:
                octets = encode(units.view(layers[layer].dtype))
            else:
                octets = units.reshape(held, unit, -1).transpose(0, 2, 1)
            wanted.append(np.ascontiguousarray(octets).view(np.uint8).reshape(held * pages, -1))
    assert len(set(places)) == len(places)
    if places:
        size = config.code.words * 8 * (config.flash.geometry.page_bytes // config.code.data_bytes)
        if entry["bounds"]:  # the rest of a page may be empty
            size = size * wanted[0].shape[1] // config.flash.geometry.page_bytes
        raw = np.stack([lane.array.page(*place)[:size] for place in places])
        user, metas, corrected = decode_pages(config.code, [row for *_, row in places], raw)
        found = map(PAGE_META.unpack, metas)
        assert [(meta["kind"], meta["index"], meta["group"]) for meta in found] == facts
        assert (corrected >= 0).all()
        assert np.array_equal(user, np.concatenate(wanted))
    return len(places)
