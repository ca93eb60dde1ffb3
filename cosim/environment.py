"""What surrounds the drive in simulation: where memories lie and how long they take."""

import math
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["EnvironmentTiming", "HOST_BASE"]

HOST_BASE = 0x1000_0000
"""Host address at which simulated host memory begins; anything outside it answers with an error."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentTiming:
    """Latencies of the memories around the drive. Both move one 8-byte beat per clock.

    Parameters
    ----------
    host_read_ns : float
        Read request to first data over the link. 800, assumed: PCIe round trips of 0.5-1 us.
    host_write_ns : float
        Last write data to response over the link. 400, assumed: half a round trip and an
        acknowledgement by the root port's side of the bridge.
    dram_read_ns : float
        Read request to first data of device DRAM, and of a page memory. 120, assumed: DDR4 behind
        an FPGA's controller.
    dram_write_ns : float
        Last write data to response of device DRAM, and of a page memory. 60, assumed: accepted by
        the controller's queue.
    outstanding : int
        Bursts that each memory accepts before the first is done, reads and writes apart. 16,
        assumed.
    """

    host_read_ns: float = 800
    host_write_ns: float = 400
    dram_read_ns: float = 120
    dram_write_ns: float = 60
    outstanding: int = 16

    def __post_init__(self):
        for name in ("host_read_ns", "host_write_ns", "dram_read_ns", "dram_write_ns"):
            value = getattr(self, name)
            if not 0 < value <= 1_000_000:
                raise ValueError(
                    f"{name} = {value!r} is not possible: choose up to 1000000 ns, above 0"
                )
        if not 1 <= self.outstanding <= 256:
            raise ValueError(f"outstanding = {self.outstanding!r} is not possible: choose 1..256")

    def clocks(self, name, clock_hz):
        """One of the times (``"host_read"`` ...) in clocks, rounded up."""
        return math.ceil(Fraction(str(getattr(self, name + "_ns"))) * clock_hz / 10**9)
