"""Submission and completion queue: fetches commands, posts completions, keeps heads and phase.

An entry that cannot be fetched is not executed, and a completion that cannot be posted is lost: the
queues stop, as NVMe's do with CSTS.CFS, until they are reset.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .commands import CQE, SQE
from .memory import BurstReader, BurstWriter
from .memory_port import ADDRESS_BITS, MemoryPortSignature

__all__ = ["CommandQueue", "completion_layout"]


def completion_layout():
    """What the executor says of a command: ``SCT << 8 | SC``, DW0 and DW1."""
    return data.StructLayout({"status": 11, "result": 32, "index": 32})


class CommandQueue(wiring.Component):
    """One submission and one completion queue in host memory.

    Members
    -------
    enable : In(1)
        Low: queues are reset (heads and tails 0, phase 1, no fault); a command in execution ends
        without a completion.
    sq_base, cq_base : In(48); sq_size, cq_size : In(16)
        Rings; entries 2 or more.
    sq_tail, cq_head : In(16), with sq_tail_write, cq_head_write : In(1)
        Doorbells; a value outside the ring is ignored.
    o : Out(stream), `SQE` record
        The command to execute, one at a time.
    i : In(stream), ``completion_layout()``
        Its completion.
    irq : Out(1)
        One clock for each completion that is in host memory.
    fault : Out(1)
        Host memory has not given an entry or not taken a completion: nothing is fetched any more.
    read, write : Out(MemoryPortSignature)
    quiet : Out(1)
    """

    def __init__(self):
        super().__init__(
            {
                "enable": In(1),
                "sq_base": In(ADDRESS_BITS),
                "cq_base": In(ADDRESS_BITS),
                "sq_size": In(16),
                "cq_size": In(16),
                "sq_tail": In(16),
                "sq_tail_write": In(1),
                "cq_head": In(16),
                "cq_head_write": In(1),
                "o": Out(stream.Signature(SQE.struct)),
                "i": In(stream.Signature(completion_layout())),
                "irq": Out(1),
                "fault": Out(1),
                "read": Out(MemoryPortSignature()),
                "write": Out(MemoryPortSignature()),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = BurstReader(depth=8, burst=8)
        m.submodules.writer = writer = BurstWriter(burst=2)
        connect(m, reader.port, flipped(self.read))
        connect(m, writer.port, flipped(self.write))

        sq_head, sq_tail, cq_head, cq_tail = (
            Signal(16, name=n) for n in ("sq_head", "sq_tail_at", "cq_head_at", "cq_tail")
        )
        phase = Signal(init=1)
        stale = Signal()  # what is under way began before the queues were reset
        word = Signal(3)
        sqe = Signal(512)
        entry = Signal(CQE.struct)
        second = Signal()

        def following(index, size):
            return Mux(index + 1 >= size, 0, index + 1)

        m.d.comb += [
            self.o.payload.as_value().eq(sqe),
            reader.i.payload.address.eq(self.sq_base + (sq_head << 6)),
            reader.i.payload.words.eq(SQE.words),
            writer.i.payload.address.eq(self.cq_base + (cq_tail << 4)),
            writer.i.payload.words.eq(CQE.words),
            writer.i.payload.strobe.eq(0xFF),
            writer.i_data.payload.eq(Mux(second, entry.as_value()[64:], entry.as_value()[:64])),
        ]
        with m.If(self.sq_tail_write & (self.sq_tail < self.sq_size)):
            m.d.sync += sq_tail.eq(self.sq_tail)
        with m.If(self.cq_head_write & (self.cq_head < self.cq_size)):
            m.d.sync += cq_head.eq(self.cq_head)

        with m.FSM(name="state"):
            with m.State("WAIT"):
                waiting = Signal()
                m.d.comb += [
                    waiting.eq(self.enable & (sq_head != sq_tail) & ~self.fault),
                    self.quiet.eq(~waiting),
                ]
                m.d.sync += stale.eq(0)
                with m.If(waiting):
                    m.d.comb += reader.i.valid.eq(1)
                    with m.If(reader.i.ready):
                        m.d.sync += word.eq(0)
                        m.next = "FETCH"
            with m.State("FETCH"):
                unusable = Signal()
                m.d.comb += [
                    reader.o.ready.eq(1),
                    unusable.eq(stale | self.fault | reader.o.payload.error),
                ]
                with m.If(reader.o.valid):
                    m.d.sync += [sqe.eq(Cat(sqe[64:], reader.o.payload.data)), word.eq(word + 1)]
                    with m.If(reader.o.payload.error & ~stale):
                        m.d.sync += self.fault.eq(1)
                    with m.If(reader.o.payload.last & unusable):
                        m.next = "WAIT"
                    with m.Elif(reader.o.payload.last):
                        m.d.sync += sq_head.eq(following(sq_head, self.sq_size))
                        m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "EXECUTE"
            with m.State("EXECUTE"):
                m.d.comb += self.quiet.eq(~self.i.valid)
                with m.If(self.i.valid):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += [
                        entry.eq(0),
                        entry.result.eq(self.i.payload.result),
                        entry.index.eq(self.i.payload.index),
                        entry.sqhd.eq(sq_head),
                        entry.cid.eq(self.o.payload.cid),
                        entry.phase.eq(phase),
                        entry.status.eq(self.i.payload.status),
                        entry.dnr.eq(self.i.payload.status != 0),
                        second.eq(0),
                    ]
                    with m.If(stale):
                        m.next = "WAIT"
                    with m.Else():
                        m.next = "POST"
            with m.State("POST"):
                full = Signal()
                m.d.comb += full.eq(following(cq_tail, self.cq_size) == cq_head)
                m.d.comb += self.quiet.eq(full)
                m.d.comb += writer.i.valid.eq(~full & ~stale)
                with m.If(stale):
                    m.next = "WAIT"
                with m.Elif(~full & writer.i.ready):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += writer.i_data.valid.eq(1)
                with m.If(writer.i_data.ready):
                    m.d.sync += second.eq(1)
                    with m.If(second):
                        m.next = "POSTED"
            with m.State("POSTED"):
                m.d.comb += writer.done.ready.eq(1)
                with m.If(writer.done.valid):
                    with m.If(writer.done.payload.error & ~stale):
                        m.d.sync += self.fault.eq(1)
                    with m.Elif(~stale):
                        m.d.comb += self.irq.eq(1)
                        m.d.sync += cq_tail.eq(following(cq_tail, self.cq_size))
                        with m.If(following(cq_tail, self.cq_size) == 0):
                            m.d.sync += phase.eq(~phase)
                    m.next = "WAIT"
        with m.If(~self.enable):
            m.d.sync += [
                sq_head.eq(0),
                sq_tail.eq(0),
                cq_head.eq(0),
                cq_tail.eq(0),
                phase.eq(1),
                stale.eq(1),
                self.fault.eq(0),
            ]
        return m
