"""AXI4 and AXI4-Lite as wires, named as the standard (Arm IHI 0022) names them."""

from amaranth.hdl import unsigned
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from ..memory_port import ADDRESS_BITS

__all__ = ["AxiLiteSignature", "AxiResponse", "AxiSignature"]

ID_BITS = 1
DATA_BITS = 64
CONTROL_ADDRESS_BITS = 16


class AxiResponse(enum.Enum, shape=unsigned(2)):
    """``bresp`` and ``rresp``; bit 1 is set in those that tell of an error."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


class AxiSignature(wiring.Signature):
    """AXI4 as seen by a manager: 48-bit addresses, 64-bit data, one bit of ID."""

    def __init__(self):
        super().__init__(
            {
                **_address("aw"),
                "wdata": Out(DATA_BITS),
                "wstrb": Out(DATA_BITS // 8),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bid": In(ID_BITS),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                **_address("ar"),
                "rid": In(ID_BITS),
                "rdata": In(DATA_BITS),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )

    def __eq__(self, other):
        return type(self) is type(other) and self.members == other.members


class AxiLiteSignature(wiring.Signature):
    """AXI4-Lite as seen by a subordinate: 16-bit addresses, 32-bit data."""

    def __init__(self):
        super().__init__(
            {
                "awaddr": In(CONTROL_ADDRESS_BITS),
                "awprot": In(3),
                "awvalid": In(1),
                "awready": Out(1),
                "wdata": In(32),
                "wstrb": In(4),
                "wvalid": In(1),
                "wready": Out(1),
                "bresp": Out(2),
                "bvalid": Out(1),
                "bready": In(1),
                "araddr": In(CONTROL_ADDRESS_BITS),
                "arprot": In(3),
                "arvalid": In(1),
                "arready": Out(1),
                "rdata": Out(32),
                "rresp": Out(2),
                "rvalid": Out(1),
                "rready": In(1),
            }
        )

    def __eq__(self, other):
        return type(self) is type(other) and self.members == other.members


def _address(channel):
    """Members of an address channel, ``aw`` or ``ar``."""
    widths = {"id": ID_BITS, "addr": ADDRESS_BITS, "len": 8, "size": 3, "burst": 2}
    widths |= {"lock": 1, "cache": 4, "prot": 3, "qos": 4, "valid": 1}
    members = {f"{channel}{name}": Out(bits) for name, bits in widths.items()}
    return members | {f"{channel}ready": In(1)}
