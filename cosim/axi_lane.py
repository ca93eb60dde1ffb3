"""`CocotbLane` around a drive with AXI buses: cocotbext-axi's master and memories on its ports."""

import cocotb
from cocotb.task import resume
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from rtl.axi.drive import bus_interfaces

from .axi_memory import AxiMemory
from .axi_rules import AxiRules, watch
from .cocotb_lane import CocotbLane
from .environment import HOST_BASE

__all__ = ["AxiLane"]


class AxiLane(CocotbLane):
    """A lane on `cosim.axi_top.AxiSimTop`; the rules of AXI are checked on all buses.

    A page memory is the array's cells; the array knows nothing of what is programmed then.

    Parameters
    ----------
    dut : handle
    config : DriveConfig
    stall : float
        Share of clocks in which a channel of a memory's bus waits; see `stall`.
    seed : int
    **options
        Of `CocotbLane`. There are no latencies: a bus answers when it does not stall.

    Attributes
    ----------
    buses : dict of str to AxiRules
        Prefix of the ports -> what was seen there.
    memories : dict of str to AxiMemory
        ``host`` and ``dram``; ``pages_0`` ... with pages in a memory.
    """

    def __init__(self, dut, config, *, stall=0.0, seed=0, **options):
        self._stall, self._seed = stall, seed
        self.buses = {
            prefix: AxiRules(4 if prefix == "s_axi" else 8) for prefix in bus_interfaces(config)
        }
        super().__init__(dut, config, **options)

    async def start(self):
        """Start the clock, reset the drive, serve and watch it from then on."""
        await super().start()
        for prefix, rules in self.buses.items():
            cocotb.start_soon(watch(self.dut, f"{prefix}_", rules, self.dut.clk, self.dut.rst))

    @resume
    async def stall(self, share):
        """From now on each channel of the memories' buses waits in this share of clocks."""
        for memory in self.memories.values():
            memory.stall(share)

    def _control(self):
        return _Registers(self.dut)

    def _serve(self, timing):
        places = {"host": (self.host, HOST_BASE), "dram": (self.dram, 0)}
        cells = self.array.buffers["cells"].reshape(-1), self.config.page_base
        names = [prefix.removeprefix("m_axi_") for prefix in self.buses if "pages" in prefix]
        places |= dict.fromkeys(names, cells)
        self.memories = {
            name: AxiMemory(
                self.dut,
                f"m_axi_{name}",
                contents,
                self.dut.clk,
                base=base,
                stall=self._stall,
                seed=self._seed,
                inverted=name in names,
                reset=self.dut.rst,
            )
            for name, (contents, base) in places.items()
        }
        return []  # these run by themselves

    def _still(self):
        return False  # the buses do not tell; a drive that hangs runs into the test's limit


class _Registers:
    """Registers by AXI4-Lite; see `cosim.bfm.CsrMaster`."""

    def __init__(self, dut):
        self._master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        for part in (self._master.write_if, self._master.read_if):
            part.log.setLevel("ERROR")

    async def write(self, address, value):
        answer = await self._master.write(address, value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY, f"{address:#x}: {answer.resp}"

    async def read(self, address):
        answer = await self._master.read(address, 4)
        assert answer.resp == AxiResp.OKAY, f"{address:#x}: {answer.resp}"
        return int.from_bytes(answer.data, "little")
