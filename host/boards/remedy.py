"""What makes a refused drive fit a board: all that has to be set, at once."""

from itertools import product
from types import SimpleNamespace

from rtl.config import ConfigError

from ..options import BadOption, drive_config
from .fit import TooLarge, check_fit
from .phys import CHECKS, mode_for, profiles_for

__all__ = ["remedy"]

SHARED = (None, 2, 4, 8)
"""Channels to a decoder, the mildest first; None: as it was."""

STRENGTHS = (None, 40, 27, 16, 12, 8)
"""Bits corrected in a codeword, likewise."""


def remedy(board, config, *, preset, changes, phy=None, oversize=False):
    """Fields to set so that a drive fits a board.

    Parameters
    ----------
    board : rtl.boards.Board
    config : rtl.config.DriveConfig
        ``preset`` with ``changes``, list of ``FIELD=VALUE``.
    phy : str, optional
        As asked for.
    oversize : bool
        Its FPGA may be too small.

    Returns
    -------
    list of str
        ``FIELD=VALUE``; empty: none were found.
    """
    kind = phy or board.phy
    wants_phy = kind in CHECKS and config.page_store == "nand" and (phy or board.pins_source)
    fields = []
    if board.channels and config.channels > board.channels:
        fields.append(f"channels={board.channels}")
    if board.ways and config.dies > board.ways:
        fields.append(f"dies={board.ways}")
    if wants_phy and mode_for(kind, config.flash, config.clock_hz)[0] is None:
        fields += [f"profile={name}" for name in profiles_for(kind, config.clock_hz)[:1]]
    for shared, strength in product(SHARED, STRENGTHS):
        smaller = [f"decoder_channels={shared}"] * bool(shared)
        smaller += [f"correctable_bits={strength}"] * bool(strength)
        found = [*fields, *smaller]
        try:
            other = drive_config(SimpleNamespace(preset=preset, set=[*changes, *found]))
            if board.part and not oversize:
                check_fit(other, board.part)
        except (BadOption, ConfigError, TooLarge):
            continue
        if wants_phy and mode_for(kind, other.flash, other.clock_hz)[0] is None:
            return []
        return found
    return []
