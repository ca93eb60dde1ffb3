"""The drive with AXI ports, as a board's fabric takes it.

::

    s_axi_*  --> LiteControl --csr--> Drive --host--> AxiManager --> m_axi_host_*
                                      |  |  --dram--> AxiManager --> m_axi_dram_*
                  phy, report <-------+  +--> irq, mailbox

With pages in a memory there are none of them but one AxiManager more for each channel::

    Drive --pages[n]--> AxiManager --> m_axi_pages_n_*
"""

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.verilog import Shared

from ..drive.drive import Drive
from ..drive.pages import drive_ports
from .lite_control import LiteControl
from .manager import AxiManager
from .signatures import AxiLiteSignature, AxiSignature

__all__ = ["INTERFACES", "AxiDrive", "bus_interfaces", "bus_ports"]

INTERFACES = {"s_axi": AxiLiteSignature, "m_axi_host": AxiSignature, "m_axi_dram": AxiSignature}
"""Prefix of a bus's ports -> its signature, of every drive; board tools know buses by these."""


def bus_interfaces(config):
    """`INTERFACES`, and those to a page memory if the drive has one."""
    channels = range(config.channels if config.page_store == "memory" else 0)
    return INTERFACES | {f"m_axi_pages_{n}": AxiSignature for n in channels}


def bus_ports(config):
    """All their ports: name -> member."""
    return {
        f"{prefix}_{name}": member
        for prefix, signature in bus_interfaces(config).items()
        for name, member in signature().members.items()
    }


class AxiDrive(wiring.Component):
    """The drive in one clock domain, its buses AXI4-Lite and AXI4.

    Parameters
    ----------
    config : rtl.config.DriveConfig

    Members
    -------
    aclk, aresetn : In(1)
        Clock; reset, active low, sampled with it.
    s_axi_* : AxiLiteSignature
        The registers of `rtl.registers`.
    m_axi_host_*, m_axi_dram_* : AxiSignature
        Host memory and device DRAM.
    m_axi_pages_n_* : AxiSignature
        Pages of channel n, with pages in a memory.
    phy, report, irq, mailbox
        As in `rtl.drive.drive.Drive`.
    """

    def __init__(self, config):
        self._config = config
        self._in_memory = config.page_store == "memory"
        super().__init__(
            {
                "aclk": In(1),
                "aresetn": In(1),
                **bus_ports(config),
                **({} if self._in_memory else drive_ports(config)),
                "irq": Out(1),
                "mailbox": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain(local=True)
        m.submodules.drive = drive = Shared("drive", lambda: Drive(self._config))
        m.submodules.control = control = LiteControl()
        connect(m, control.csr, drive.csr)
        self._bus(m, "s_axi", control.axi)
        for name in ("host", "dram"):
            m.submodules[name] = manager = AxiManager()
            connect(m, getattr(drive, name), manager.port)
            self._bus(m, f"m_axi_{name}", manager.axi)
        if self._in_memory:
            for index, port in enumerate(drive.pages):
                name = f"pages_{index}"
                m.submodules[name] = manager = Shared("page_manager", AxiManager)
                connect(m, port, manager.port)
                self._bus(m, f"m_axi_{name}", manager.axi)
        else:
            for name in ("phy", "report"):
                for mine, inner in zip(getattr(self, name), getattr(drive, name)):
                    connect(m, inner, flipped(mine))
        m.d.comb += [
            ClockSignal().eq(self.aclk),
            ResetSignal().eq(~self.aresetn),
            self.irq.eq(drive.irq),
            self.mailbox.eq(drive.mailbox),
        ]
        return m

    def _bus(self, m, prefix, bus):
        """Connect a bus to the ports with a prefix."""
        for name, member in bus_interfaces(self._config)[prefix]().members.items():
            port, wire = getattr(self, f"{prefix}_{name}"), getattr(bus, name)
            m.d.comb += wire.eq(port) if member.flow == In else port.eq(wire)
