"""Pages that the firmware reads and programs itself: decoded and encoded in software."""

import numpy as np

from rtl.page_codec import decode_pages, encode_pages

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
        self._codewords = config.flash.geometry.page_bytes // config.code.data_bytes

    def read(self, channel, die, row):
        """``(meta, user bytes)`` of a page, () if it is erased, None if it cannot be read."""
        words = self._code.words
        for level in range(RETRY_LEVELS):
            raw = self._device.read_page(channel, die, row, 0, self._codewords * words, level)
            if raw is None:
                return None
            # Codewords behind the last one of a group were never programmed.
            used = self._codewords
            while used and _erased(raw[8 * words * (used - 1) : 8 * words * used]):
                used -= 1
            if not used:
                return ()
            data, metas, corrected = decode_pages(self._code, [row], raw[None, : 8 * words * used])
            if (corrected >= 0).all():
                return metas[0], data[0]
        return None

    def program(self, channel, die, row, meta, user):
        """Programs a page; whether it succeeded. No program of the append path may be under way."""
        raw = encode_pages(self._code, [row], [meta], user[None])
        return self._device.program_page(channel, die, row, raw[0])


def _erased(raw):
    """Whether bytes look erased: not one bit in 64 is 0."""
    return int(np.bitwise_count(~raw).sum()) < len(raw) / 8
