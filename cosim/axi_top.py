"""The simulation top with AXI buses: `rtl.axi.drive.AxiDrive` with the dies of all its channels.

As `cosim.top.SimTop`, but every clock is simulated: nothing is skipped. With pages in a memory
there are no dies, and that memory's buses are ports.
"""

from amaranth.hdl import ClockSignal, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from flash_model.array_port import ArrayPortSignature
from flash_model.package import ChannelDies
from hls_attention.verilog import Shared
from rtl.axi.drive import AxiDrive, bus_ports

__all__ = ["AXI_TOP_NAME", "AxiSimTop"]

AXI_TOP_NAME = "axi_sim_top"


class AxiSimTop(wiring.Component):
    """AXI drive and dies.

    Parameters
    ----------
    config : rtl.config.DriveConfig

    Members
    -------
    s_axi_*, m_axi_host_*, m_axi_dram_*, m_axi_pages_*, irq, mailbox
        As in `rtl.axi.drive.AxiDrive`.
    array : Out(ArrayPortSignature).array(channels)
        With pages on dies.
    """

    def __init__(self, config):
        self._config = config
        self._channels = range(config.channels if config.page_store == "nand" else 0)
        array = Out(ArrayPortSignature(config.dies)).array(config.channels)
        super().__init__(
            {
                **bus_ports(config),
                **({"array": array} if self._channels else {}),
                "irq": Out(1),
                "mailbox": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.drive = drive = Shared("axi_drive", lambda: AxiDrive(config))  # as exported
        m.d.comb += [
            drive.aclk.eq(ClockSignal()),
            drive.aresetn.eq(~ResetSignal()),
            self.irq.eq(drive.irq),
            self.mailbox.eq(drive.mailbox),
        ]
        for name, member in bus_ports(config).items():
            mine, inner = getattr(self, name), getattr(drive, name)
            m.d.comb += inner.eq(mine) if member.flow == In else mine.eq(inner)
        for index in self._channels:
            dies = ChannelDies(config.flash, config.clock_hz, wrap=Shared)
            m.submodules[f"dies_{index}"] = dies
            connect(m, drive.phy[index], dies.phy)
            connect(m, dies.array, flipped(self.array[index]))
        return m
