"""Keeps the append path's channels together, so that its ring of block groups never locks up.

Every channel fills block groups in the same order, and the ring holds a few of them. Many short
sequences of few heads write to some channels more often than to others; the channel that lags
behind then holds the ring. Long before that happens, dead tokens are appended to the channels that
lag, in a sequence that is closed at once.
"""

import numpy as np

from rtl.commands import Opcode, Status

from .packing import pack_append

__all__ = ["level"]

LIMIT_GROUPS = 4
"""Block groups that a channel may lag behind."""

BATCH = 32
"""Token groups per channel written by one filling sequence."""


def level(driver, firmware, config):
    """Fills up channels that lag too far behind; does nothing where there is no room to do it.

    Parameters
    ----------
    driver : host.driver.Driver
    firmware : host.firmware.Firmware
    config : DriveConfig
    """
    if config.append_streams > 1:
        return  # the firmware has a stream begin anew: `Space.begin_anew`
    geometry = config.flash.geometry
    limit = LIMIT_GROUPS * geometry.dies * geometry.pages
    if firmware.space.lag().max() <= limit:
        return
    head_dim = config.head_dims[0]
    tokens = config.group_tokens(head_dim)
    data = pack_append(*np.zeros((2, tokens, 1, head_dim), np.float16))
    while (missing := firmware.space.lag() // 2).max() > 0:  # a token group is two pages
        opened = driver.submit(
            Opcode.OPEN,
            layers=config.channels * BATCH,
            kv_heads=1,
            head_dim=head_dim,
            max_tokens=tokens,
        )
        if driver.wait(opened)["status"] != Status.SUCCESS:
            return
        sequence = opened.completion["result"]
        shape = firmware.capacity.placements[sequence].shape
        for layer in range(config.channels):
            channel = shape.channel(0, layer)
            for n in range(min(int(missing[channel]), BATCH)):
                driver.execute(
                    Opcode.APPEND,
                    data=data,
                    sequence=sequence,
                    layer=layer + n * config.channels,
                    tokens=tokens,
                )
        driver.execute(Opcode.CLOSE, sequence=sequence)
