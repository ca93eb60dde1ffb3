"""Reads a sequence's table entry and says what is wrong with a command that names it."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .commands import Status
from .memory import BurstReader
from .memory_port import ADDRESS_BITS, MemoryPortSignature
from .tables import SEQUENCE, SequenceState

__all__ = ["SequenceReader"]


class SequenceReader(wiring.Component):
    """One lookup at a time.

    Parameters
    ----------
    max_sequences : int

    Members
    -------
    table : In(48)
        Device-DRAM address of the sequence table.
    i : In(stream), {sequence, layer}
    o : Out(stream), 11-bit `Status`
        UNKNOWN_SEQUENCE, CLOSED_SEQUENCE, LAYER_OUT_OF_RANGE or SUCCESS; INTERNAL_ERROR if device
        DRAM does not give the entry.
    sequence : Out(`SEQUENCE` record)
        The entry, held until the next request.
    layer : Out(16)
        The layer asked for, held likewise.
    read : Out(MemoryPortSignature)
    quiet : Out(1)
    """

    def __init__(self, max_sequences):
        self._max_sequences = max_sequences
        super().__init__(
            {
                "table": In(ADDRESS_BITS),
                "i": In(stream.Signature(data.StructLayout({"sequence": 16, "layer": 16}))),
                "o": Out(stream.Signature(11)),
                "sequence": Out(SEQUENCE.struct),
                "layer": Out(16),
                "read": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = BurstReader(depth=8, burst=8)
        connect(m, reader.port, flipped(self.read))
        words = self.sequence.as_value()
        m.d.comb += [
            reader.i.payload.address.eq(self.table + (self.i.payload.sequence << 6)),
            reader.i.payload.words.eq(SEQUENCE.words),
        ]
        exists, lost = Signal(), Signal()
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += self.quiet.eq(~self.i.valid)
                with m.If(self.i.valid):
                    m.d.sync += [self.layer.eq(self.i.payload.layer), lost.eq(0)]
                    with m.If(self.i.payload.sequence < self._max_sequences):
                        m.d.comb += reader.i.valid.eq(1)
                        with m.If(reader.i.ready):
                            m.d.comb += self.i.ready.eq(1)
                            m.d.sync += exists.eq(1)
                            m.next = "READ"
                    with m.Else():
                        m.d.comb += self.i.ready.eq(1)
                        m.d.sync += exists.eq(0)
                        m.next = "ANSWER"
            with m.State("READ"):
                m.d.comb += reader.o.ready.eq(1)
                with m.If(reader.o.valid):
                    m.d.sync += [
                        words.eq(Cat(words[64:], reader.o.payload.data)),
                        lost.eq(lost | reader.o.payload.error),
                    ]
                    with m.If(reader.o.payload.last):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(lost):
                    m.d.comb += self.o.payload.eq(Status.INTERNAL_ERROR)
                with m.Elif(~exists | (self.sequence.state == SequenceState.FREE)):
                    m.d.comb += self.o.payload.eq(Status.UNKNOWN_SEQUENCE)
                with m.Elif(self.sequence.state == SequenceState.CLOSED):
                    m.d.comb += self.o.payload.eq(Status.CLOSED_SEQUENCE)
                with m.Elif(self.layer >= self.sequence.layers):
                    m.d.comb += self.o.payload.eq(Status.LAYER_OUT_OF_RANGE)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m
