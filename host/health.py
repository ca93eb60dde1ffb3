"""What `KvDrive.health` reports: wear of the flash, errors, and how long the drive will last.

The figures of a drive's SMART log, for one whose work is tokens. Life is what is left of the rated
erases, written as efficiently as so far::

    drive writes left = (rated erases - mean erases) / write amplification
    tokens left       = drive writes left * drive bytes / bytes of K and V per token
"""

import numpy as np

from .capacity import spare_groups

__all__ = ["WEAR", "drive_health"]

WEAR = ("pages_firmware", "group_erases", "spares", "reads_per_block_max", "read_only")
"""What a backend says of its flash (`Backend.wear`), None where it has none."""

YEAR_S = 365 * 86_400


def drive_health(config, stats, wear, tokens, token_bytes):
    """Health dict.

    Parameters
    ----------
    config : DriveConfig
    stats : dict
        `KvDrive.stats`.
    wear : dict of `WEAR`
        ``pages_firmware`` (pages that the firmware programmed), ``group_erases`` (of every block
        group that holds data), ``spares`` (spare blocks of each channel), ``reads_per_block_max``,
        ``read_only``.
    tokens : float
        Tokens appended, each counted as the share of its sequence's layers that it came to.
    token_bytes : int
        Bytes of K and V appended, K as often as it is kept.

    Returns
    -------
    dict
        ``pages_appended`` and ``pages_firmware`` (programmed for the host; for moves and tables),
        ``write_amplification`` (both over the former), ``blocks_erased``, ``erases_min``,
        ``erases_mean``, ``erases_max`` (of block groups), ``erases_rated``, ``percentage_used``
        (100 at the rated erases, which may be passed), ``bits_corrected``, ``pages_read_again``,
        ``codewords_unrecovered``, ``reads_per_block_max`` (since its last erase),
        ``reads_per_block_counted`` (what it is at most: then it stands for so many or more),
        ``blocks_bad``, ``spares_least`` (spare blocks of the channel that has the fewest),
        ``pages_moved``, ``pages_lost``, ``read_only``,
        ``drive_bytes`` (user bytes of all groups that hold data),
        ``bytes_per_token``, ``drive_writes_left``, ``tokens_left``, ``years_left`` (at the rate of
        tokens by the drive's clock so far). None marks what the backend cannot know, or what
        nothing was appended for yet.
    """
    geometry, rated = config.flash.geometry, config.flash.endurance.erases
    groups = geometry.blocks - spare_groups(geometry)
    group_pages = geometry.channels * geometry.dies * geometry.pages
    drive_bytes = groups * group_pages * geometry.page_bytes
    appended, own = stats["pages_programmed"], wear["pages_firmware"]
    amplification = (appended + own) / appended if appended and own is not None else None
    erases = wear["group_erases"]
    mean = None if erases is None else float(np.mean(erases))
    per_token = token_bytes / tokens if tokens else None
    writes = tokens_left = years = None
    if amplification is not None and mean is not None:
        writes = max(0.0, rated - mean) / amplification
        if per_token:
            tokens_left = writes * drive_bytes / per_token
            if stats["seconds"]:
                years = tokens_left / (tokens / stats["seconds"]) / YEAR_S
    return {
        "pages_appended": appended,
        "pages_firmware": own,
        "write_amplification": amplification,
        "blocks_erased": stats["blocks_erased"],
        "erases_min": None if erases is None else min(erases),
        "erases_mean": mean,
        "erases_max": None if erases is None else max(erases),
        "erases_rated": rated,
        "percentage_used": None if mean is None else 100 * mean / rated,
        "bits_corrected": stats["bits_corrected"],
        "pages_read_again": stats["read_retries"],
        "codewords_unrecovered": stats["codewords_unrecovered"],
        "reads_per_block_max": wear["reads_per_block_max"],
        "reads_per_block_counted": config.most_reads,
        "blocks_bad": stats["blocks_bad"],
        "spares_least": None if wear["spares"] is None else min(wear["spares"]),
        "pages_moved": stats["pages_moved"],
        "pages_lost": stats["pages_lost"],
        "read_only": wear["read_only"],
        "drive_bytes": drive_bytes,
        "bytes_per_token": per_token,
        "drive_writes_left": writes,
        "tokens_left": tokens_left,
        "years_left": years,
    }
