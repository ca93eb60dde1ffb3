"""A small stand-in for the drive with the ports of `cosim.top.SimTop`, driven by registers.

======= ==================================================================================
offset  register
======= ==================================================================================
00h     DRAM address, 04h host address
08h     words (1..256): starts a copy from DRAM to host; interrupt when the response came
0Ch     errors: read beats with error, write responses with error << 16
10h     row, 14h word (8-byte word of the page register)
18h     starts an array operation: op | channel << 4 | die << 8 | planes << 16 | plane << 24
1Ch     clocks of a timer: starts it; interrupt at its end
20h/24h 64-bit data: written before a register write, read after a register read
28h     writes (bit 12) or reads the page register of channel << 4 | die << 8 | plane << 24
2Ch     clocks since reset, 30h the same at the last interrupt
34h     mailbox (bit 0)
38h     array operations that failed
3Ch     clocks that an array operation is said to take
======= ==================================================================================
"""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flash_model.array_port import ArrayPortSignature
from rtl.memory_port import MemoryPortSignature


class ToyTop(wiring.Component):
    """See the module."""

    def __init__(self, *, channels, dies):
        self.channels = channels
        super().__init__(
            {
                "csr": Out(
                    wiring.Signature(
                        {
                            "addr": In(16),
                            "w_data": In(32),
                            "w_en": In(1),
                            "r_en": In(1),
                            "r_data": Out(32),
                        }
                    )
                ),
                "host": Out(MemoryPortSignature()),
                "dram": Out(MemoryPortSignature()),
                "array": Out(ArrayPortSignature(dies)).array(channels),
                "irq": Out(1),
                "mailbox": Out(1),
                "quiet": Out(1),
                "next_event": Out(32),
                "skip": In(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        csr, host, dram = self.csr, self.host, self.dram
        registers = Array(Signal(32, name=f"register_{n}") for n in range(16))
        with m.If(csr.r_en):
            m.d.sync += csr.r_data.eq(registers[csr.addr[2:6]])
        clocks, timer, words, errors = registers[0x2C // 4], Signal(32), registers[2], registers[3]
        m.d.sync += clocks.eq(clocks + self.skip + 1)
        with m.If(csr.w_en):
            m.d.sync += registers[csr.addr[2:6]].eq(csr.w_data)
        with m.If(self.irq):
            m.d.sync += registers[0x30 // 4].eq(clocks)
        m.d.comb += self.mailbox.eq(registers[0x34 // 4][0])

        start = Signal()
        m.d.comb += start.eq(csr.w_en & (csr.addr == 0x08))
        m.d.comb += [
            dram.ar.payload.address.eq(registers[0]),
            dram.ar.payload.beats.eq(words),
            host.aw.payload.address.eq(registers[1]),
            host.aw.payload.beats.eq(words),
            host.w.payload.data.eq(dram.r.payload.data),
            host.w.payload.strobe.eq(0xFF),
            host.w.payload.last.eq(dram.r.payload.last),
            host.w.valid.eq(dram.r.valid),
            dram.r.ready.eq(host.w.ready),
            host.b.ready.eq(1),
        ]
        copying = Signal()
        with m.If(start):
            m.d.sync += [dram.ar.valid.eq(1), host.aw.valid.eq(1), copying.eq(1)]
        with m.If(dram.ar.valid & dram.ar.ready):
            m.d.sync += dram.ar.valid.eq(0)
        with m.If(host.aw.valid & host.aw.ready):
            m.d.sync += host.aw.valid.eq(0)
        with m.If(dram.r.valid & dram.r.ready & dram.r.payload.error):
            m.d.sync += errors.eq(errors + 1)
        with m.If(host.b.valid):
            m.d.sync += [errors.eq(errors + (host.b.payload.error << 16)), copying.eq(0)]
        m.d.comb += self.irq.eq(host.b.valid | (timer == 1))

        with m.If(csr.w_en & (csr.addr == 0x1C)):
            m.d.sync += timer.eq(csr.w_data)
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - self.skip - 1)
        m.d.comb += self.next_event.eq(Mux(timer == 0, 0xFFFF_FFFF, timer))

        chosen = csr.w_data[4:8]
        answer_of, answered = Signal(4), Signal()
        m.d.sync += answered.eq(0)
        for channel, port in enumerate(self.array):
            here = csr.w_en & (chosen == channel)
            access = here & (csr.addr == 0x28)
            m.d.comb += [
                port.op_valid.eq(here & (csr.addr == 0x18)),
                port.op.as_value().eq(csr.w_data[:4]),
                port.op_die.eq(csr.w_data[8:12]),
                port.op_row.eq(registers[4]),
                port.op_planes.eq(csr.w_data[16:24]),
                port.op_plane.eq(csr.w_data[24:27]),
                port.reg_plane.eq(csr.w_data[24:27]),
                port.op_clocks.eq(registers[15]),
                port.reg_read.eq(access & ~csr.w_data[12]),
                port.reg_write.eq(access & csr.w_data[12]),
                port.reg_die.eq(csr.w_data[8:12]),
                port.reg_column.eq(registers[5] << 3),
                port.reg_w_data.eq(Cat(registers[8], registers[9])),
            ]
            with m.If(port.reg_read):
                m.d.sync += [answered.eq(1), answer_of.eq(channel)]
            with m.If(answered & (answer_of == channel)):
                m.d.sync += Cat(registers[8], registers[9]).eq(port.reg_r_data)
        failed = Cat(port.op_failed for port in self.array)
        with m.If(failed.any()):
            m.d.sync += registers[0x38 // 4].eq(registers[0x38 // 4] + 1)
        m.d.comb += self.quiet.eq(~(copying | answered | self.irq))
        return m
