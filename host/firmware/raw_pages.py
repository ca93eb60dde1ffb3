"""Pages that the firmware reads and programs itself: decoded and encoded in software."""

from collections import defaultdict

import numpy as np

from rtl.pages.codec import decode_pages, encode_pages

__all__ = ["RawPages"]

RETRY_LEVELS = 8
"""Read-retry levels that a page is tried at before it is given up."""


class RawPages:
    """Pages of a drive by channel, die and row.

    Parameters
    ----------
    device : host.firmware.device.Device
    config : DriveConfig
    """

    def __init__(self, device, config):
        self._device, self._code = device, config.code
        self._geometry = config.flash.geometry
        self._codewords = self._geometry.page_bytes // config.code.data_bytes

    def read_block(self, channel, die, block, gaps):
        """``(row, (meta, user bytes))`` of the pages of a block that can be read.

        Pages are programmed in order; unless there may be ``gaps`` between them, the first erased
        one is the last that is looked at.
        """
        first, words = self._geometry.row(block, 0), self._code.words
        if not gaps:
            beginning = self._device.read_page(channel, die, first, 0, words)
            if beginning is None or _erased(beginning):
                return
        pages = defaultdict(dict)  # by how much of them is used
        for row in range(first, first + self._geometry.pages):
            raw = self._raw(channel, die, row)
            if raw is None:
                continue
            if len(raw):
                pages[len(raw)][row] = raw
            elif not gaps:
                break
        for some in pages.values():
            data, metas, corrected = decode_pages(
                self._code, list(some), np.stack(list(some.values()))
            )
            for row, user, meta, bits in zip(some, data, metas, corrected, strict=True):
                found = (meta, user) if (bits >= 0).all() else self.read(channel, die, row)
                if found:
                    yield row, found

    def read(self, channel, die, row):
        """``(meta, user bytes)`` of a page, () if it is erased, None if it cannot be read."""
        for level in range(RETRY_LEVELS):
            raw = self._raw(channel, die, row, level)
            if raw is None:
                return None
            if not len(raw):
                return ()
            data, metas, corrected = decode_pages(self._code, [row], raw[None])
            if (corrected >= 0).all():
                return metas[0], data[0]
        return None

    def _raw(self, channel, die, row, level=0):
        """A page as it lies on flash, or None.

        Codewords behind the last one of a group were never programmed and are left out.
        """
        size = 8 * self._code.words
        raw = self._device.read_page(
            channel, die, row, 0, self._codewords * self._code.words, level
        )
        while raw is not None and len(raw) and _erased(raw[-size:]):
            raw = raw[:-size]
        return raw

    def program(self, channel, die, row, meta, user):
        """Programs a page; whether it succeeded. No program of the append path may be under way."""
        raw = encode_pages(self._code, [row], [meta], user[None])
        return self._device.program_page(channel, die, row, raw[0])


def _erased(raw):
    """Whether bytes look erased: not one bit in 64 is 0."""
    return int(np.bitwise_count(~raw).sum()) < len(raw) / 8
