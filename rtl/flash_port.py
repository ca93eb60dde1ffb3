"""Management operations: single operations of a die for the firmware, past queues and codec.

::

    FLASH_OP --> o_ops --> channel              ERASE, RESET, STATUS, READ_RETRY: i_done
                 o_words --> channel            PROGRAM: words from device DRAM, then i_done
                 channel --> i_words            READ, READ_ID: words to device DRAM

READ and PROGRAM move the words of a page as they lie on flash, spare words included; READ_ID moves
one word. A PROGRAM must not meet one of the append path on its channel: see ``hold`` of
`rtl.program_slots`.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hls_attention.streams import moves

from .memory import BurstReader, BurstWriter
from .memory_port import ADDRESS_BITS, MemoryPortSignature
from .nand.operations import WORD_BITS, Cause, NandOp, done_layout, operation_layout, read_layout
from .registers import FlashStatus

__all__ = ["FlashPort", "MANAGEMENT_TAG", "flash_request_layout"]

MANAGEMENT_TAG = 1
"""Tag of management operations."""

ALLOWED = (
    NandOp.READ,
    NandOp.PROGRAM,
    NandOp.ERASE,
    NandOp.RESET,
    NandOp.READ_ID,
    NandOp.STATUS,
    NandOp.READ_RETRY,
)


def flash_request_layout():
    """An operation as the firmware writes it into registers; ``address`` is one of device DRAM."""
    return data.StructLayout(
        {
            "op": 8,
            "channel": 8,
            "die": 8,
            "row": 24,
            "column": WORD_BITS,
            "words": WORD_BITS,
            "address": ADDRESS_BITS,
        }
    )


class FlashPort(wiring.Component):
    """Carries out one operation at a time.

    Parameters
    ----------
    geometry : flash_model.geometry.Geometry

    Members
    -------
    start : In(1), request : In(``flash_request_layout()``)
        Ignored while an operation is under way.
    status : Out(32)
        As in `rtl.registers.FlashStatus`.
    o_ops : Out(stream), operation; channel : Out
        ``channel`` says of which channel these four streams are.
    o_words : Out(stream), 64 bits; i_words : In(stream), ``read_layout()``
    i_done : In(stream), ``done_layout()``
    read, write : Out(MemoryPortSignature)
        Device DRAM.
    quiet : Out(1)
        While an operation waits for its channel, a clock late: the channel is not quiet then.
    """

    def __init__(self, geometry):
        self._geometry = geometry
        super().__init__(
            {
                "start": In(1),
                "request": In(flash_request_layout()),
                "status": Out(32),
                "channel": Out(max(1, ceil_log2(geometry.channels))),
                "o_ops": Out(stream.Signature(operation_layout(geometry.dies))),
                "o_words": Out(stream.Signature(64)),
                "i_words": In(stream.Signature(read_layout())),
                "i_done": In(stream.Signature(done_layout(geometry.dies))),
                "read": Out(MemoryPortSignature()),
                "write": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = BurstReader(depth=64, burst=32)
        m.submodules.writer = writer = BurstWriter(burst=64)
        connect(m, reader.port, flipped(self.read))
        connect(m, writer.port, flipped(self.write))
        geometry, asked, op = self._geometry, self.request, self.o_ops.payload
        request = Signal(flash_request_layout())
        busy = Signal(name="flash_busy")
        cause = Signal(Cause)
        die_status = Signal(8)
        lost = Signal()  # device DRAM has not given a word
        waits = Signal()
        held = Signal()  # the channel has not taken the operation in the clock before
        m.d.comb += [
            self.status.eq(
                Cat(busy, cause != Cause.NONE, Signal(6, name="reserved"), die_status, cause)
            ),
            self.channel.eq(request.channel),
            op.op.eq(request.op),
            op.die.eq(request.die),
            op.row.eq(request.row),
            op.column.eq(request.column),
            op.words.eq(request.words),
            op.tag.eq(MANAGEMENT_TAG),
            self.quiet.eq(waits & reader.quiet & writer.quiet & ~self.start),
        ]
        assert (FlashStatus.BUSY, FlashStatus.FAILED) == (1, 2)

        reads = (request.op == NandOp.READ) | (request.op == NandOp.READ_ID)
        moving = reads | (request.op == NandOp.PROGRAM)
        refusal = Signal(Cause)
        with m.If(~Cat(request.op == allowed.value for allowed in ALLOWED).any()):
            m.d.comb += refusal.eq(Cause.NOT_ALLOWED)
        with m.Elif((request.channel >= geometry.channels) | (request.die >= geometry.dies)):
            m.d.comb += refusal.eq(Cause.BAD_DIE)
        with m.Elif(moving & (request.words == 0)):
            m.d.comb += refusal.eq(Cause.NO_WORDS)
        with m.Elif(moving & (request.column + request.words > geometry.page_words)):
            m.d.comb += refusal.eq(Cause.BEYOND_PAGE)

        m.d.comb += busy.eq(1)
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += [busy.eq(0), waits.eq(1)]
                with m.If(self.start):
                    m.d.sync += [
                        request.eq(asked),
                        cause.eq(Cause.NONE),
                        die_status.eq(0),
                        lost.eq(0),
                    ]
                    with m.If(asked.op == NandOp.READ_ID):
                        m.d.sync += [request.column.eq(0), request.words.eq(1)]
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += cause.eq(refusal)
                m.next = "IDLE"
                with m.If(refusal == Cause.NONE):
                    m.next = "MEMORY"
                    with m.If(~moving):
                        m.next = "ISSUE"
            with m.State("MEMORY"):
                m.d.comb += [
                    writer.i.payload.address.eq(request.address),
                    writer.i.payload.words.eq(request.words),
                    writer.i.payload.strobe.eq(0xFF),
                    reader.i.payload.address.eq(request.address),
                    reader.i.payload.words.eq(request.words),
                    writer.i.valid.eq(reads),
                    reader.i.valid.eq(request.op == NandOp.PROGRAM),
                ]
                with m.If(moves(writer.i) | moves(reader.i)):
                    m.next = "ISSUE"
            with m.State("ISSUE"):
                m.d.comb += [self.o_ops.valid.eq(1), waits.eq(held)]
                m.d.sync += held.eq(~self.o_ops.ready)
                with m.If(self.o_ops.ready):
                    m.next = "DONE"
                    with m.If(reads):
                        m.next = "READ"
                    with m.Elif(request.op == NandOp.PROGRAM):
                        m.next = "PROGRAM"
            with m.State("READ"):
                m.d.comb += [
                    writer.i_data.valid.eq(self.i_words.valid),
                    writer.i_data.payload.eq(self.i_words.payload.data),
                    self.i_words.ready.eq(writer.i_data.ready),
                    writer.done.ready.eq(1),
                    waits.eq(~self.i_words.valid),
                ]
                with m.If(moves(self.i_words) & (self.i_words.payload.cause != Cause.NONE)):
                    m.d.sync += cause.eq(self.i_words.payload.cause)
                with m.If(writer.done.valid):
                    with m.If(writer.done.payload.error):
                        m.d.sync += cause.eq(Cause.MEMORY)
                    m.next = "IDLE"
            with m.State("PROGRAM"):
                m.d.comb += [
                    self.o_words.valid.eq(reader.o.valid),
                    self.o_words.payload.eq(reader.o.payload.data),
                    reader.o.ready.eq(self.o_words.ready),
                    waits.eq(reader.o.valid & ~self.o_words.ready),
                ]
                with m.If(moves(reader.o) & reader.o.payload.error):
                    m.d.sync += lost.eq(1)
                with m.If(moves(reader.o) & reader.o.payload.last):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += [self.i_done.ready.eq(1), waits.eq(~self.i_done.valid)]
                with m.If(self.i_done.valid):
                    m.d.sync += [
                        cause.eq(self.i_done.payload.cause),
                        die_status.eq(self.i_done.payload.status),
                    ]
                    with m.If(lost & (self.i_done.payload.cause == Cause.NONE)):
                        m.d.sync += cause.eq(Cause.MEMORY)
                    m.next = "IDLE"
        return m
