"""The control bus: registers of `rtl.registers`, doorbells, mailbox and management operations."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .memory_port import ADDRESS_BITS
from .nand.operations import NandOp, done_layout, operation_layout
from .registers import DRIVE_ID, REGISTERS, FlashStatus

__all__ = ["Control", "ControlBusSignature", "MANAGEMENT_TAG"]

MANAGEMENT_TAG = 1
"""Tag of NAND operations started through FLASH_OP."""


class ControlBusSignature(wiring.Signature):
    """A 32-bit register bus as seen by the drive; read data follow one clock after ``r_en``."""

    def __init__(self):
        super().__init__(
            {
                "addr": In(16),
                "w_data": In(32),
                "w_en": In(1),
                "r_en": In(1),
                "r_data": Out(32),
            }
        )

    def __eq__(self, other):
        return type(self) is type(other) and self.members == other.members


class Control(wiring.Component):
    """Register file.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    csr : Out(ControlBusSignature)
    settings (Out): enable, sq_base, cq_base, window_base, window_end, sq_size, cq_size,
        sequence_table
    doorbells (Out): sq_tail, sq_tail_write, cq_head, cq_head_write
    mailbox, mailbox_sqe, starved (In); mailbox_done, mailbox_status, mailbox_result (Out)
    group_push, group (Out); group_free (In)
    o_ops : Out(stream), {channel, operation}; i_done : In(stream), ``done_layout()``
    counter_address, counter_read (Out); counter_value (In)
    executing : In(1)
    quiet : Out(1)
    """

    def __init__(self, geometry):
        self._geometry = geometry
        dies = geometry.dies
        super().__init__(
            {
                "csr": Out(ControlBusSignature()),
                "enable": Out(1),
                "sq_base": Out(ADDRESS_BITS),
                "cq_base": Out(ADDRESS_BITS),
                "window_base": Out(ADDRESS_BITS),
                "window_end": Out(ADDRESS_BITS),
                "sq_size": Out(16),
                "cq_size": Out(16),
                "sequence_table": Out(ADDRESS_BITS),
                "sq_tail": Out(16),
                "sq_tail_write": Out(1),
                "cq_head": Out(16),
                "cq_head_write": Out(1),
                "mailbox": In(1),
                "mailbox_sqe": In(512),
                "starved": In(1),
                "mailbox_done": Out(1),
                "mailbox_status": Out(11),
                "mailbox_result": Out(32),
                "group_push": Out(1),
                "group": Out(16),
                "group_free": In(5),
                "o_ops": Out(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "channel": max(1, ceil_log2(geometry.channels)),
                                "op": operation_layout(dies),
                            }
                        )
                    )
                ),
                "i_done": In(stream.Signature(done_layout(dies))),
                "counter_address": Out(13),
                "counter_read": Out(1),
                "counter_value": In(32),
                "executing": In(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        csr = self.csr
        written = {}
        values = {}

        def strobe(name):
            hit = Signal(name=f"write_{name.lower()}")
            m.d.comb += hit.eq(csr.w_en & (csr.addr == REGISTERS[name].address))
            written[name] = hit
            return hit

        registers = {}
        for name in (
            "CONTROL",
            "SQ_BASE_LO",
            "SQ_BASE_HI",
            "SQ_SIZE",
            "CQ_BASE_LO",
            "CQ_BASE_HI",
            "CQ_SIZE",
            "WINDOW_BASE_LO",
            "WINDOW_BASE_HI",
            "WINDOW_BYTES_LO",
            "WINDOW_BYTES_HI",
            "MAILBOX_RESULT",
            "SEQUENCE_TABLE",
            "FLASH_ROW",
        ):
            registers[name] = values[name] = Signal(32, name=name.lower())
            with m.If(strobe(name)):
                m.d.sync += registers[name].eq(csr.w_data)

        def pair(name):
            return Cat(registers[f"{name}_LO"], registers[f"{name}_HI"])

        m.d.comb += [
            self.enable.eq(registers["CONTROL"][0]),
            self.sq_base.eq(pair("SQ_BASE")),
            self.cq_base.eq(pair("CQ_BASE")),
            self.window_base.eq(pair("WINDOW_BASE")),
            self.sq_size.eq(registers["SQ_SIZE"]),
            self.cq_size.eq(registers["CQ_SIZE"]),
            self.sequence_table.eq(registers["SEQUENCE_TABLE"]),
            self.sq_tail.eq(csr.w_data),
            self.sq_tail_write.eq(strobe("SQ_TAIL")),
            self.cq_head.eq(csr.w_data),
            self.cq_head_write.eq(strobe("CQ_HEAD")),
            self.mailbox_result.eq(registers["MAILBOX_RESULT"]),
            self.mailbox_status.eq(csr.w_data),
            self.mailbox_done.eq(strobe("MAILBOX_DONE")),
            self.group.eq(csr.w_data),
            self.group_push.eq(strobe("GROUP_PUSH")),
            self.counter_address.eq(csr.addr - 0x3000),
            self.counter_read.eq(csr.r_en & (csr.addr >= 0x3000) & (csr.addr < 0x5000)),
        ]
        m.d.sync += self.window_end.eq(pair("WINDOW_BASE") + pair("WINDOW_BYTES"))

        self._management(m, values, strobe("FLASH_OP"), registers["FLASH_ROW"])
        values["ID"] = DRIVE_ID
        values["STATUS"] = Cat(self.enable, self.mailbox, self.executing)
        values["MAILBOX_STATUS"] = Cat(self.mailbox, self.starved)
        values["GROUP_FREE"] = self.group_free

        m.d.comb += self.quiet.eq(~csr.w_en & ~csr.r_en)
        with m.If(csr.r_en):
            m.d.sync += csr.r_data.eq(0)
            with m.If(self.counter_read):
                m.d.sync += csr.r_data.eq(self.counter_value)
            with m.Else():
                with m.Switch(csr.addr):
                    for name, value in values.items():
                        with m.Case(REGISTERS[name].address):
                            m.d.sync += csr.r_data.eq(value)
                    for word in range(16):
                        with m.Case(REGISTERS["MAILBOX_SQE"].address + 4 * word):
                            m.d.sync += csr.r_data.eq(self.mailbox_sqe.word_select(word, 32))
        return m

    def _management(self, m, values, start, row):
        """One NAND operation at a time for the firmware; reads belong to the read path."""
        busy = Signal(name="flash_busy")
        failed = Signal(name="flash_failed")
        last_status = Signal(8, name="flash_last_status")
        asked = Signal(name="flash_asked")
        op = self.o_ops.payload.op
        code = self.csr.w_data[:8]
        m.d.comb += [self.o_ops.valid.eq(asked), self.i_done.ready.eq(1)]
        with m.If(start & ~busy):
            allowed = (
                (code == NandOp.ERASE.value)
                | (code == NandOp.RESET.value)
                | (code == NandOp.STATUS.value)
            )
            in_range = (self.csr.w_data[8:16] < self._geometry.channels) & (
                row[24:32] < self._geometry.dies
            )
            with m.If(allowed & in_range):
                m.d.sync += [
                    busy.eq(1),
                    asked.eq(1),
                    failed.eq(0),
                    self.o_ops.payload.channel.eq(self.csr.w_data[8:16]),
                    op.op.eq(code),
                    op.die.eq(row[24:32]),
                    op.row.eq(row[:24]),
                    op.words.eq(0),
                    op.tag.eq(MANAGEMENT_TAG),
                ]
            with m.Else():
                m.d.sync += failed.eq(1)
        with m.If(self.o_ops.valid & self.o_ops.ready):
            m.d.sync += asked.eq(0)
        with m.If(self.i_done.valid & (self.i_done.payload.tag == MANAGEMENT_TAG)):
            m.d.sync += [
                busy.eq(0),
                failed.eq(self.i_done.payload.failed),
                last_status.eq(self.i_done.payload.status),
            ]
        assert (FlashStatus.BUSY, FlashStatus.FAILED) == (1, 2)
        values["FLASH_STATUS"] = Cat(busy, failed, Signal(6, name="flash_reserved"), last_status)
