"""The pins of an NV-DDR PHY in AMD's parts: registers in the I/O blocks, of two data rates for DQ.

Amaranth's buffers (`amaranth.lib.io`) become a family's primitives: ODDR, IDDR, FDCE and buffers of
the 7 series, ODDRE1, IDDRE1 and so on of UltraScale+. They have no behaviour in a simulation; the
tests have a model of their own at this seam, `PadSignature`.
"""

from amaranth.hdl import IOPort, Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In
from amaranth.vendor import XilinxPlatform

from hls_attention.verilog import VerilogPlatform

from .pads import PadSignature

__all__ = ["BufferPlatform", "DdrPads", "FAMILIES"]

PINS = ("ce_n", "cle", "ale", "clk", "w_rn", "wp_n", "rb_n", "dq", "dqs")

FAMILIES = ("series7", "ultrascale", "ultrascaleplus")


class BufferPlatform(VerilogPlatform):
    """What is passed down as ``platform`` so that buffers become primitives of a family."""

    def __init__(self, family):
        if family not in FAMILIES:
            raise ValueError(
                f"family {family!r} is not known here: choose one of {', '.join(FAMILIES)}"
            )
        super().__init__()
        self.family = family

    def get_io_buffer(self, buffer):
        """The primitives of an Amaranth buffer."""
        return XilinxPlatform.get_io_buffer(self, buffer)


class DdrPads(wiring.Component):
    """Buffers of a channel's pins. Each output has one register, each input two.

    Parameters
    ----------
    dies : int
        Dies on the channel.
    paired : collection of str
        Pins that leave as a differential pair, of ``w_rn`` and ``dqs``.

    Members
    -------
    pads : In(PadSignature(dies, ddr=True))
        The PHY.

    Attributes
    ----------
    ports : dict of str to tuple of IOPort
        Pins by name: ``nand_ce_n``, ``nand_cle`` and so on; ``nand_clk`` and ``nand_w_rn`` are WE_n
        and RE_n in SDR. Of a pair ``_p``, which has the level of the one pin, and ``_n``.
    """

    def __init__(self, dies, paired=()):
        bits = {"ce_n": dies, "rb_n": dies, "dq": 8}
        self.ports = {
            name: tuple(
                IOPort(bits.get(name, 1), name=f"nand_{name}{leg}")
                for leg in (("_p", "_n") if name in paired else ("",))
            )
            for name in PINS
        }
        super().__init__({"pads": In(PadSignature(dies, ddr=True))})

    def elaborate(self, platform):
        m = Module()
        pads = self.pads
        driven = {"ce_n": pads.ce_n, "cle": pads.cle, "ale": pads.ale, "wp_n": pads.wp_n}
        for name, value in (driven | {"clk": pads.we_n, "w_rn": pads.re_n}).items():
            pin = io.FFBuffer("o", self._port(name))
            m.submodules[f"pin_{name}"] = pin
            m.d.comb += [pin.o.eq(value), pin.oe.eq(1)]
        m.submodules.pin_rb_n = rb_n = io.Buffer("i", self._port("rb_n"))
        m.d.comb += pads.rb_n.eq(rb_n.i)
        for name, member in (("dq", pads.dq), ("dqs", pads.dqs)):
            pin = io.DDRBuffer("io", self._port(name))
            m.submodules[f"pin_{name}"] = pin
            m.d.comb += pin.oe.eq(member.oe)
            for half in range(2):
                m.d.comb += [pin.o[half].eq(member.o[half]), member.i[half].eq(pin.i[half])]
        return m

    def _port(self, name):
        ports = self.ports[name]
        return io.DifferentialPort(*ports) if len(ports) == 2 else io.SingleEndedPort(*ports)
