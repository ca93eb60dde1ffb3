"""The first start of a drive: which blocks are bad, and what others have left in the rest.

The maker of a die marks a bad block by a zero in the first spare byte of its first page. What was
written since covers that byte in good blocks, bad ones keep it: so a block whose first page has a
zero there is bad, marked or not, and is never erased. A memory has no marks.

Flash from the factory is erased. A module that had another drive's firmware is not, nor is a memory
after power-on. Pages are programmed in order, so the first page of a block tells whether something
was; if that of a single good block does, all of them are erased, as an erase that was cut off may
leave a first page that looks erased, and another drive one of FFh. Blocks of the state table and
spares come last, which are erased before they are used anyway: a first start that loses its power
is begun anew by the next one.
"""

import numpy as np

from rtl.commands import Status

from ..errors import DriveError

__all__ = ["first_start"]


def first_start(device, config, pause):
    """Looks through all blocks, and erases them if they are not.

    Parameters
    ----------
    device : host.firmware.device.Device
    config : DriveConfig
    pause : int
        Clocks between two looks at an erase.

    Returns
    -------
    set of (int, int, int)
        Bad blocks: channel, die, block.

    Raises
    ------
    DriveError
        INTERNAL_ERROR: more than half of the blocks look bad, or a die is write-protected.
    """
    g = config.flash.geometry
    places = [
        (channel, die, block)
        for block in range(g.blocks)
        for die in range(g.dies)
        for channel in range(g.channels)
    ]
    bad, used = _look(device, config, places)
    if 2 * len(bad) > len(places):
        raise DriveError(
            Status.INTERNAL_ERROR,
            f"{len(bad)} of {len(places)} blocks bear a maker's mark or cannot be read. If what "
            "was written lies where the marks are, have what wrote it erase its good blocks",
        )
    if used:
        for channel, die, block in places:
            place = channel, die, block
            if place in bad or device.erase(channel, die, block * g.pages, pause):
                continue
            if device.write_protected(channel, die):
                raise DriveError(
                    Status.INTERNAL_ERROR,
                    f"die {die} of channel {channel} is write-protected, and its flash is not "
                    "erased: release WP#",
                )
            bad.add(place)
    return bad


def _look(device, config, places):
    """Blocks that are marked or cannot be read, and whether others hold something."""
    g, code = config.flash.geometry, config.code
    mark = g.page_bytes if g.spare_bytes else g.page_bytes - 1
    bad, used = set(), False
    for channel, die, block in places:
        first, words = (mark // 8, 1) if used else (0, g.page_words)
        page = device.read_page(channel, die, block * g.pages, first, words)
        if config.page_store == "memory":
            if page is None or _written(page, 8 * code.words, code.t):  # its parity, perhaps
                return bad, True
        elif page is None or page[mark - 8 * first] == 0:
            bad.add((channel, die, block))
        elif not used:
            used = _written(page, 8 * code.words, code.t)
    return bad, used


def _written(page, size, most):
    """Whether some codeword of an erased page would have more wrong bits than are corrected."""
    zeros = np.bitwise_count(~page).astype(np.int64)
    return bool((np.add.reduceat(zeros, range(0, len(page), size)) > most).any())
