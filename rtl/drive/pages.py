"""Where the pages of a drive lie: PHYs with dies behind them, or ports of a memory."""

from amaranth.lib.wiring import In, Out, connect, flipped

from ..memory_port import ADDRESS_BITS, MemoryPortSignature
from ..nand.phy import PhySignature
from ..page_memory.places import channel_bytes

__all__ = ["channel_ports", "connect_pages", "drive_ports"]


def channel_ports(config):
    """Members of a channel for its pages: ``phy``, or ``pages`` and ``page_base``."""
    if config.page_store == "memory":
        return {"pages": Out(MemoryPortSignature()), "page_base": In(ADDRESS_BITS)}
    return {"phy": Out(PhySignature(config.dies))}


def drive_ports(config):
    """Members of a drive for its pages: ``phy`` or ``pages``, one for each channel."""
    name = "pages" if config.page_store == "memory" else "phy"
    return {name: channel_ports(config)[name].array(config.channels)}


def connect_pages(m, config, drive, control, channels):
    """The channels' pages to the drive's ports; in a memory, one channel behind the other.

    Parameters
    ----------
    m : Module
        The drive's.
    config : rtl.config.DriveConfig
    drive : rtl.drive.drive.Drive
    control : rtl.control.Control
    channels : list of rtl.channel.Channel
    """
    for index, channel in enumerate(channels):
        if config.page_store == "memory":
            connect(m, channel.pages, flipped(drive.pages[index]))
            first = index * channel_bytes(config.flash.geometry)
            m.d.sync += channel.page_base.eq(control.page_base + first)
        else:
            connect(m, channel.phy, flipped(drive.phy[index]))
