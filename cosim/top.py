"""The simulation top: the drive with the dies of all its channels, arrays left to the environment.

What remains outside are the control bus, host memory, device DRAM and one array port per channel,
or one port to the page memory if the drive has its pages there: exactly what `cosim.native_lane`
serves in C and the cocotb benches serve in Python.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from flash_model.array_port import ArrayPortSignature
from flash_model.package import ChannelDies
from hls_attention.verilog import Shared, to_verilog
from rtl.control import ControlBusSignature
from rtl.drive.drive import Drive
from rtl.drive.pages import drive_ports
from rtl.memory_port import MemoryPortSignature

__all__ = ["SimTop", "TOP_NAME", "top_verilog"]

TOP_NAME = "sim_top"

NO_EVENT = 0xFFFF_FFFF


class SimTop(wiring.Component):
    """Drive and dies.

    Parameters
    ----------
    config : rtl.config.DriveConfig

    Members
    -------
    csr, host, dram, irq, mailbox
        As in `rtl.drive.drive.Drive`.
    array : Out(ArrayPortSignature).array(channels)
        With pages on dies; ``pages`` of `rtl.drive.drive.Drive` otherwise.
    quiet : Out(1), next_event : Out(32), skip : In(32)
        Idle skipping: when quiet, no timer ends for ``next_event`` clocks (all ones: none
        runs); with ``skip`` = n the clock counts for n + 1.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "csr": Out(ControlBusSignature()),
                "host": Out(MemoryPortSignature()),
                "dram": Out(MemoryPortSignature()),
                **self._stores(config),
                "irq": Out(1),
                "mailbox": Out(1),
                "quiet": Out(1),
                "next_event": Out(32),
                "skip": In(32),
            }
        )

    def _stores(self, config):
        """Ports to where pages lie."""
        if config.page_store == "memory":
            return drive_ports(config)
        return {"array": Out(ArrayPortSignature(config.dies)).array(config.channels)}

    def _dies(self):
        return ChannelDies(self._config.flash, self._config.clock_hz, wrap=Shared)

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.drive = drive = Drive(config)
        for name in ("csr", "host", "dram"):
            connect(m, getattr(drive, name), flipped(getattr(self, name)))
        m.d.comb += [
            drive.skip.eq(self.skip),
            self.irq.eq(drive.irq),
            self.mailbox.eq(drive.mailbox),
            self.quiet.eq(drive.quiet),
        ]
        if config.page_store == "memory":  # no dies, and no timers
            for mine, inner in zip(self.pages, drive.pages, strict=True):
                connect(m, inner, flipped(mine))
            m.d.comb += self.next_event.eq(NO_EVENT)
            return m
        soonest = NO_EVENT
        for index in range(config.channels):
            dies = Shared("channel_dies", self._dies, apart=True)
            m.submodules[f"dies_{index}"] = dies
            connect(m, drive.phy[index], dies.phy)
            connect(m, dies.array, flipped(self.array[index]))
            m.d.comb += dies.skip.eq(self.skip)
            for name, event in (
                (f"nearest_{index}", dies.next_event),
                (f"soonest_{index}", drive.next_event[index]),
            ):
                nearest = Signal(32, name=name)
                m.d.comb += nearest.eq(Mux(event < soonest, event, soonest))
                soonest = nearest
        m.d.comb += self.next_event.eq(soonest)
        return m


def top_verilog(config):
    """Verilog of the simulation top for a drive configuration."""
    return to_verilog(SimTop(config), name=TOP_NAME)
