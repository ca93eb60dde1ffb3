"""Settings of a drive that say where its pages lie: on dies, or in a memory."""

from flash_model.profiles import profile

__all__ = ["page_checks"]

PAGE_STORES = ("nand", "memory")

MEMORY_BYTES = 1 << 48
"""What the addresses of `rtl.memory_port` reach."""

FEWEST_BLOCKS = 16


def page_checks(config):
    """What ``page_store``, ``page_blocks`` and ``page_base`` must be.

    Parameters
    ----------
    config : rtl.config.DriveConfig
        Its profile, channels and dies are possible.

    Yields
    ------
    (str, bool, str)
        Name, whether it is so, and what is allowed; what follows is asked only if it is.
    """
    store, part = config.page_store, profile(config.profile).geometry
    yield "page_store", store in PAGE_STORES, f"one of {', '.join(PAGE_STORES)}"
    if store == "nand":
        for name in ("page_blocks", "page_base"):
            yield name, getattr(config, name) == 0, '0, or page_store = "memory"'
        return
    blocks = config.page_blocks
    yield (
        "page_blocks",
        blocks == 0 or (FEWEST_BLOCKS <= blocks <= part.blocks and blocks % part.planes == 0),
        f"a multiple of {part.planes}, {FEWEST_BLOCKS}..{part.blocks}, or 0 for {part.blocks}",
    )
    most = MEMORY_BYTES - config.page_store_bytes
    yield (
        "page_base",
        0 <= config.page_base <= most and config.page_base % 4096 == 0,
        f"a multiple of 4096, 0..{most}",
    )
