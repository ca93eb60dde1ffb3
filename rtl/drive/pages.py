"""Where the pages of a drive lie: PHYs with dies behind them, or ports of a memory."""

from amaranth.lib.wiring import In, Out, connect, flipped

from ..memory_port import ADDRESS_BITS, MemoryPortSignature
from ..nand.phy import PhySignature
from ..nand.phy_report import PhyReportSignature
from ..page_memory.places import channel_bytes

__all__ = ["channel_ports", "connect_pages", "drive_ports"]


def channel_ports(config):
    """Members of a channel for its pages: ``phy``, or ``pages`` and ``page_base``."""
    if config.page_store == "memory":
        return {"pages": Out(MemoryPortSignature()), "page_base": In(ADDRESS_BITS)}
    return {"phy": Out(PhySignature(config.dies))}


def drive_ports(config):
    """Members of a drive for its pages, one for each channel: ``pages``, or ``phy`` with what the
    PHYs tell, ``report``; who has no such PHY leaves that at 0."""
    if config.page_store == "memory":
        ports = {"pages": Out(MemoryPortSignature())}
    else:
        ports = {"phy": Out(PhySignature(config.dies))}
        ports["report"] = Out(PhyReportSignature(config.dies))
    return {name: port.array(config.channels) for name, port in ports.items()}


def connect_pages(m, config, drive, control, channels):
    """The channels' pages to the drive's ports; in a memory, one channel behind the other. What
    PHYs tell, to the registers.

    Parameters
    ----------
    m : Module
        The drive's.
    config : rtl.config.DriveConfig
    drive : rtl.drive.drive.Drive
    control : rtl.control.Control
    channels : list of rtl.channel.Channel
    """
    m.d.sync += control.report.eq(0)
    for index, channel in enumerate(channels):
        if config.page_store == "memory":
            connect(m, channel.pages, flipped(drive.pages[index]))
            first = index * channel_bytes(config.flash.geometry)
            m.d.sync += channel.page_base.eq(control.page_base + first)
        else:
            connect(m, channel.phy, flipped(drive.phy[index]))
            report = drive.report[index]
            m.d.comb += report.die.eq(control.report_die)
            with m.If(control.report_channel == index):
                m.d.sync += control.report.eq(report.state)
