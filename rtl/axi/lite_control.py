"""The control bus behind AXI4-Lite: one access at a time, reads and writes by turns.

A write takes address and data together and is answered in the next clock; a read is answered after
two. Registers are written whole: a write without all four strobes is answered with SLVERR and
changes nothing. Addresses without a register read as 0, as on the control bus.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..control import ControlBusSignature
from .signatures import AxiLiteSignature, AxiResponse

__all__ = ["LiteControl"]


class LiteControl(wiring.Component):
    """AXI4-Lite subordinate in front of the control bus.

    Members
    -------
    axi : Out(AxiLiteSignature)
    csr : In(ControlBusSignature)
        To the drive's.
    """

    axi: Out(AxiLiteSignature())
    csr: In(ControlBusSignature())

    def elaborate(self, platform):
        m = Module()
        axi, csr = self.axi, self.csr
        wrote = Signal()  # the last access was a write: a waiting read goes first
        whole = Signal()
        m.d.comb += [
            whole.eq(axi.wstrb.all()),
            csr.w_data.eq(axi.wdata),
            axi.rresp.eq(AxiResponse.OKAY),
        ]
        with m.FSM(name="state"):
            with m.State("IDLE"):
                with m.If(axi.awvalid & axi.wvalid & ~(wrote & axi.arvalid)):
                    m.next = "WRITE"
                with m.Elif(axi.arvalid):
                    m.next = "READ"
            with m.State("WRITE"):
                m.d.comb += [
                    csr.addr.eq(_word(axi.awaddr)),
                    csr.w_en.eq(whole),
                    axi.awready.eq(1),
                    axi.wready.eq(1),
                ]
                m.d.sync += [
                    axi.bresp.eq(Mux(whole, AxiResponse.OKAY, AxiResponse.SLVERR)),
                    wrote.eq(1),
                ]
                m.next = "RESPONSE"
            with m.State("RESPONSE"):
                m.d.comb += axi.bvalid.eq(1)
                with m.If(axi.bready):
                    m.next = "IDLE"
            with m.State("READ"):
                m.d.comb += [
                    csr.addr.eq(_word(axi.araddr)),
                    csr.r_en.eq(1),
                    axi.arready.eq(1),
                ]
                m.d.sync += wrote.eq(0)
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += axi.rdata.eq(csr.r_data)
                m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += axi.rvalid.eq(1)
                with m.If(axi.rready):
                    m.next = "IDLE"
        return m


def _word(address):
    """The address of the register that holds a byte."""
    return Cat(Const(0, 2), address[2:])
