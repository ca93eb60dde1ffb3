"""A register file behind AXI4-Lite, alone: 64 registers of 32 bits, the highest address reads 0."""

from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import Out, connect, flipped

from rtl.axi.lite_control import LiteControl
from rtl.axi.signatures import AxiLiteSignature

REGISTERS = 64


class RegisterFile(wiring.Component):
    """Rows of a memory as registers; counts the accesses it sees."""

    axi: Out(AxiLiteSignature())
    writes: Out(16)
    reads: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.submodules.control = control = LiteControl()
        connect(m, control.axi, flipped(self.axi))
        csr = control.csr
        m.submodules.rows = rows = memory.Memory(shape=32, depth=REGISTERS, init=[])
        write, read = rows.write_port(), rows.read_port()
        m.d.comb += [
            write.addr.eq(csr.addr >> 2),
            write.data.eq(csr.w_data),
            write.en.eq(csr.w_en),
            read.addr.eq(csr.addr >> 2),
            read.en.eq(csr.r_en),
            csr.r_data.eq(read.data),
        ]
        m.d.sync += [
            self.writes.eq(self.writes + csr.w_en),
            self.reads.eq(self.reads + csr.r_en),
        ]
        return m
