"""The memory port: what the drive asks of host memory and of device DRAM.

Five streams in the manner of AXI4, 64-bit data, in-order, so that an AXI adapter is a thin thing:

- ``ar``: read bursts (byte address, 8-byte aligned; beats 1..256; never across 4096 bytes),
- ``r``: their data in order,
- ``aw``, ``w``: write bursts and their data (byte enables), ``aw`` before or with its first ``w``,
- ``b``: one response per write burst, in order.
"""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ADDRESS_BITS", "BURST_BEATS", "burst_layout", "MemoryPortSignature"]

ADDRESS_BITS = 48
BURST_BEATS = 256


def burst_layout():
    """Layout of ``ar`` and ``aw``."""
    return data.StructLayout({"address": ADDRESS_BITS, "beats": 9})


class MemoryPortSignature(wiring.Signature):
    """A memory port as seen by the one who asks (the drive)."""

    def __init__(self):
        super().__init__(
            {
                "ar": Out(stream.Signature(burst_layout())),
                "r": In(stream.Signature(data.StructLayout({"data": 64, "last": 1, "error": 1}))),
                "aw": Out(stream.Signature(burst_layout())),
                "w": Out(stream.Signature(data.StructLayout({"data": 64, "strobe": 8, "last": 1}))),
                "b": In(stream.Signature(data.StructLayout({"error": 1}))),
            }
        )

    def __eq__(self, other):
        return type(self) is type(other) and self.members == other.members
