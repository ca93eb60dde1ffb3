"""The control bus: registers of `rtl.registers`, doorbells and mailbox."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .allocator import block_layout
from .flash_port import flash_request_layout
from .health import event_layout
from .memory_port import ADDRESS_BITS
from .nand.phy_report import phy_report_layout
from .read_counts import LIMIT_BITS, most_reads
from .read_counts import block_layout as count_layout
from .registers import DRIVE_ID, REGISTERS

__all__ = ["Control", "ControlBusSignature"]


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
    streams, slots : int
        Of the allocator.
    page_base : int, optional
        There is a register for where pages begin in their memory; it is this after a reset.
    count_bits : int
        Of the counts of reads.

    Members
    -------
    csr : Out(ControlBusSignature)
    settings (Out): enable, sq_base, cq_base, window_base, window_end, sq_size, cq_size,
        sequence_table
    doorbells (Out): sq_tail, sq_tail_write, cq_head, cq_head_write
    mailbox, mailbox_sqe (In); mailbox_done, mailbox_status, mailbox_result (Out)
    block_write, block_place, push, push_columns, end, end_stream, stream, look_channel (Out)
    starved, starved_stream, filled, ending (In)
        Of the allocator; ``stream`` is both pushed to and looked at.
    flash_start, flash_request (Out); flash_status (In)
        Management operations (`rtl.flash_port`).
    program_buffer, program_hold, program_release, program_released (Out); program_used (In)
        Program slots.
    event (In); event_taken (Out)
        As in `rtl.health`.
    read_only (Out)
        Of the executor.
    count_ask, count_clear, count_channel, count_place (Out); count_busy, count_value (In)
    read_limit (Out)
        Reads of each block (`rtl.read_counts`) of channel ``count_channel``. A limit beyond what is
        counted is what is.
    report_channel, report_die (Out); report (In)
        What a PHY has found of a die.
    page_base (Out)
        If there is such a register.
    counter_address, counter_read (Out); counter_value (In)
    executing, fault : In(1)
        Of the executor; of the queues.
    quiet : Out(1)
    """

    def __init__(self, geometry, streams=1, slots=16, page_base=None, count_bits=LIMIT_BITS):
        self._page_base = page_base
        self._count_bits = count_bits
        place = block_layout(geometry, streams, slots)
        stream = place["stream"].shape
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
                "mailbox_done": Out(1),
                "mailbox_status": Out(11),
                "mailbox_result": Out(32),
                "block_write": Out(1),
                "block_place": Out(place),
                "push": Out(1),
                "push_columns": Out(range(geometry.dies + 1)),
                "end": Out(1),
                "end_stream": Out(stream),
                "ending": In(1),
                "stream": Out(stream),
                "look_channel": Out(place["channel"].shape),
                "filled": In(ceil_log2(slots) + 1),
                "starved": In(1),
                "starved_stream": In(stream),
                "flash_start": Out(1),
                "flash_request": Out(flash_request_layout()),
                "flash_status": In(32),
                "program_buffer": Out(ADDRESS_BITS),
                "program_hold": Out(1),
                "program_used": In(9),
                "program_release": Out(1),
                "program_released": Out(8),
                "event": In(event_layout()),
                "event_taken": Out(1),
                "read_only": Out(1),
                "count_ask": Out(1),
                "count_clear": Out(1),
                "count_channel": Out(max(1, ceil_log2(geometry.channels))),
                "count_place": Out(count_layout(geometry)),
                "count_busy": In(1),
                "count_value": In(count_bits),
                "read_limit": Out(count_bits),
                "report_channel": Out(8),
                "report_die": Out(8),
                "report": In(phy_report_layout()),
                "counter_address": Out(13),
                "counter_read": Out(1),
                "counter_value": In(32),
                "executing": In(1),
                "fault": In(1),
                "quiet": Out(1),
                **({} if page_base is None else {"page_base": Out(ADDRESS_BITS)}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        csr = self.csr
        values = {}

        def strobe(name):
            hit = Signal(name=f"write_{name.lower()}")
            m.d.comb += hit.eq(csr.w_en & (csr.addr == REGISTERS[name].address))
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
            "FLASH_WORDS",
            "FLASH_ADDRESS",
            "PROGRAM_BUFFER",
            "PROGRAM_HOLD",
            "READ_COUNT_OF",
            "READ_LIMIT",
            "READ_ONLY",
            "STREAM",
            "PHY_OF",
        ):
            registers[name] = values[name] = Signal(32, name=name.lower())
            with m.If(strobe(name)):
                m.d.sync += registers[name].eq(csr.w_data)

        def pair(name):
            return Cat(registers[f"{name}_LO"], registers[f"{name}_HI"])

        if self._page_base is not None:
            for name, init in zip(
                ("PAGE_BASE_LO", "PAGE_BASE_HI"), divmod(self._page_base, 1 << 32)[::-1]
            ):
                registers[name] = values[name] = Signal(32, name=name.lower(), init=init)
                with m.If(strobe(name)):
                    m.d.sync += registers[name].eq(csr.w_data)
            m.d.comb += self.page_base.eq(pair("PAGE_BASE"))

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
            self.counter_address.eq(csr.addr - 0x3000),
            self.counter_read.eq(csr.r_en & (csr.addr >= 0x3000) & (csr.addr < 0x5000)),
        ]
        m.d.sync += self.window_end.eq(pair("WINDOW_BASE") + pair("WINDOW_BYTES"))

        asked, row = self.flash_request, registers["FLASH_ROW"]
        word = csr.w_data
        limit, most = registers["READ_LIMIT"][:LIMIT_BITS], most_reads(self._count_bits)
        m.d.comb += [
            self.flash_start.eq(strobe("FLASH_OP")),
            asked.op.eq(word[:8]),
            asked.channel.eq(word[8:16]),
            asked.die.eq(row[24:]),
            asked.row.eq(row[:24]),
            asked.column.eq(registers["FLASH_WORDS"][:12]),
            asked.words.eq(registers["FLASH_WORDS"][16:28]),
            asked.address.eq(registers["FLASH_ADDRESS"]),
            self.program_buffer.eq(registers["PROGRAM_BUFFER"]),
            self.program_hold.eq(registers["PROGRAM_HOLD"][0]),
            self.program_release.eq(strobe("PROGRAM_RELEASE")),
            self.program_released.eq(word),
            self.stream.eq(registers["STREAM"][:8]),
            self.look_channel.eq(registers["STREAM"][8:16]),
            self.block_write.eq(strobe("STRIPE_BLOCK")),
            self.block_place.stream.eq(self.stream),
            self.block_place.slot.eq(word[:8]),
            self.block_place.channel.eq(word[8:16]),
            self.block_place.column.eq(word[16:24]),
            self.block_place.die.eq(row[24:]),
            self.block_place.block.eq(row),
            self.push.eq(strobe("STRIPE_PUSH")),
            self.push_columns.eq(word[:8]),
            self.end.eq(strobe("STREAM_END")),
            self.end_stream.eq(word[:8]),
            self.event_taken.eq(strobe("EVENT_TAKEN")),
            self.read_only.eq(registers["READ_ONLY"][0]),
            self.count_clear.eq(strobe("READ_COUNT_CLEAR")),
            self.count_channel.eq(registers["READ_COUNT_OF"][24:]),
            self.count_place.die.eq(registers["READ_COUNT_OF"][16:24]),
            self.count_place.block.eq(registers["READ_COUNT_OF"][:16]),
            self.read_limit.eq(Mux(limit > most, most, limit)),
            self.report_channel.eq(registers["PHY_OF"][24:]),
            self.report_die.eq(registers["PHY_OF"][16:24]),
        ]
        m.d.sync += self.count_ask.eq(strobe("READ_COUNT_OF"))  # once it is in its register
        values["READ_COUNT"] = Cat(
            self.count_value,
            Signal(31 - self._count_bits, name="reserved"),
            self.count_busy | self.count_ask,
        )
        values["FLASH_STATUS"] = self.flash_status
        values["PHY_STATE"] = self.report.as_value()
        values["PROGRAM_USED"] = self.program_used
        values["EVENT"] = self.event.as_value()[:32]
        values["EVENT_ROW"] = self.event.as_value()[32:]
        values["ID"] = DRIVE_ID
        values["STATUS"] = Cat(self.enable, self.mailbox, self.executing, self.fault)
        values["MAILBOX_STATUS"] = Cat(
            self.mailbox,
            self.starved,
            self.event.valid,
            Signal(5, name="status_reserved"),
            Mux(self.starved, self.starved_stream, 0),
        )
        values["STREAM_FILLED"] = self.filled
        values["STREAM_END"] = self.ending

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
