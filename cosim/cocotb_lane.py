"""A simulated drive under cocotb that looks like the native lane, for blocking host code.

Inside a function run by ``cocotb.task.bridge`` the lane's methods block that function and let the
simulator run; memories and flash arrays are Python. It shows that nothing in the native lane's C++
is needed to make the drive work, with a reset that is a reset and without idle skipping.
"""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import resume
from cocotb.triggers import ClockCycles, RisingEdge

from flash_model.array import NandArray
from flash_model.parameter_page import parameter_page

from .bfm import CsrMaster
from .bfm_environment import ArrayPort, MemoryPort
from .environment import HOST_BASE, EnvironmentTiming
from .native_lane import Event

__all__ = ["CocotbLane"]

_STUCK_CLOCKS = 64
_NO_TIMER = 0xFFFF_FFFF


class CocotbLane:
    """`NativeLane` on a cocotb handle; create it in the test, then ``await start()``.

    Parameters
    ----------
    dut : handle
        `cosim.top.SimTop`.
    config : DriveConfig
    host_bytes, dram_bytes : int
        Sizes of the memories.
    timing : EnvironmentTiming, optional
    """

    def __init__(self, dut, config, *, host_bytes=1 << 20, dram_bytes=None, timing=None):
        self.dut, self.config = dut, config
        flash = config.flash
        self.array = NandArray(flash.geometry, parameters=parameter_page(flash))
        self.host = np.zeros(host_bytes, np.uint8)
        self.dram = np.zeros(dram_bytes or config.dram_bytes, np.uint8)
        self.cycle = 0
        self._irqs = self._resting = 0
        self._edge = RisingEdge(dut.clk)
        self._csr = self._control()
        self._memories = self._serve(timing or EnvironmentTiming())
        self._arrays = [
            ArrayPort(dut, f"array__{n}", self.array, n)
            for n in range(config.channels if config.page_store == "nand" else 0)
        ]

    def _control(self):
        """What reads and writes registers."""
        self.dut.skip.value = 0
        return CsrMaster(self.dut)

    def _serve(self, timing):
        """The memories: each with ``run()``, ``forget()`` and ``idle``."""

        def clocks(name):
            return timing.clocks(name, self.config.clock_hz)

        return [
            MemoryPort(
                self.dut,
                name,
                contents,
                base=base,
                read_latency=clocks(f"{name}_read"),
                write_latency=clocks(f"{name}_write"),
                outstanding=timing.outstanding,
            )
            for name, contents, base in (("host", self.host, HOST_BASE), ("dram", self.dram, 0))
        ]

    async def start(self):
        """Start the clock, reset the drive, serve it from then on."""
        cocotb.start_soon(Clock(self.dut.clk, 2, unit="ns").start())
        await self._reset()
        for memory in self._memories:
            cocotb.start_soon(memory.run())
        for array in self._arrays:
            cocotb.start_soon(array.run())
        cocotb.start_soon(self._watch())

    async def _reset(self):
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        for memory in self._memories:
            memory.forget()
        self._irqs = self._resting = 0

    @resume
    async def reset(self):
        """Reset the drive, whatever it does; memories drop their bursts, not their contents."""
        await self._reset()

    @property
    def simulated_clocks(self):
        """Clocks evaluated: all of them."""
        return self.cycle

    @property
    def mailbox(self):
        """Whether a command waits for the firmware."""
        return bool(self.dut.mailbox.value)

    @resume
    async def csr_read(self, address):
        """Read a register."""
        return await self._csr.read(address)

    @resume
    async def csr_write(self, address, value):
        """Write a register."""
        await self._csr.write(address, value)
        self._resting = 0

    @resume
    async def idle(self, cycles):
        """Let cycles pass."""
        if cycles:
            await ClockCycles(self.dut.clk, cycles)

    @resume
    async def run(self, until_irq=True, until_mailbox=True, max_cycles=1 << 40):
        """Run until something happens, see `NativeLane.run`."""
        end = self.cycle + max_cycles
        await self._edge  # signals now show the clock that ends here
        while True:
            irqs = self._irqs if until_irq else 0
            event = Event(
                self.cycle,
                irqs,
                bool(until_mailbox and self.dut.mailbox.value),
                self._resting >= _STUCK_CLOCKS,
                self.cycle >= end,
            )
            if event.irqs or event.mailbox or event.stuck or event.timeout:
                self._irqs -= irqs
                return event
            await self._edge

    async def _watch(self):
        while True:
            await self._edge
            self.cycle += 1
            irq = int(self.dut.irq.value)
            self._irqs += irq
            self._resting = self._resting + 1 if not irq and self._still() else 0

    def _still(self):
        """Whether nothing can happen any more."""
        return (
            self.dut.quiet.value
            and int(self.dut.next_event.value) == _NO_TIMER
            and all(memory.idle for memory in self._memories)
        )
