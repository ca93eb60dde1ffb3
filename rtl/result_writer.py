"""Results of jobs from the engine to their place in host memory, and the flags of a command."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.messages import result_layout
from hls_attention.streams import Queue

from .memory import BurstWriter, request_layout
from .memory_port import MemoryPortSignature

__all__ = ["ResultWriter", "flags_layout"]


def flags_layout():
    """Flags of a command's jobs, or-ed together."""
    return data.StructLayout({"saturated": 1, "nonfinite": 1, "poisoned": 1, "error": 1})


class ResultWriter(wiring.Component):
    """Writes each job's result where its request says, in job order.

    Members
    -------
    i : In(stream), ``request_layout()``
        One for each job, before its result.
    i_results : In(stream), `hls_attention.messages.result_layout`
    write : Out(MemoryPortSignature)
    clear : In(1)
        A new command: flags to zero.
    flags : Out, ``flags_layout()``
    busy : Out(1)
        Requests are not yet in host memory.
    job : Out(1)
        A job has been written.
    quiet : Out(1)
    """

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(request_layout())),
                "i_results": In(stream.Signature(result_layout())),
                "write": Out(MemoryPortSignature()),
                "clear": In(1),
                "flags": Out(flags_layout()),
                "busy": Out(1),
                "job": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.requests = requests = Queue(request_layout(), depth=32)
        m.submodules.writer = writer = BurstWriter(burst=64)
        connect(m, writer.port, flipped(self.write))
        connect(m, flipped(self.i), requests.i)

        open_jobs = Signal(8)
        accepted = Signal()
        moved = Signal()
        result = self.i_results.payload
        m.d.comb += [
            writer.i.valid.eq(requests.o.valid),
            writer.i.payload.address.eq(requests.o.payload.address),
            writer.i.payload.words.eq(requests.o.payload.words),
            writer.i.payload.strobe.eq(0xFF),
            requests.o.ready.eq(writer.i.ready),
            writer.i_data.valid.eq(self.i_results.valid),
            writer.i_data.payload.eq(result.data),
            self.i_results.ready.eq(writer.i_data.ready),
            writer.done.ready.eq(1),
            accepted.eq(self.i.valid & self.i.ready),
            moved.eq(self.i_results.valid & self.i_results.ready),
            self.job.eq(writer.done.valid),
            self.busy.eq(open_jobs != 0),
            self.quiet.eq(writer.quiet),
        ]
        with m.If(accepted | self.job):
            m.d.sync += open_jobs.eq(open_jobs + accepted - self.job)
        flags = self.flags
        with m.If(self.clear):
            m.d.sync += flags.eq(0)
        with m.Else():
            with m.If(moved & result.last):
                m.d.sync += [
                    flags.saturated.eq(flags.saturated | result.saturated),
                    flags.nonfinite.eq(flags.nonfinite | result.nonfinite),
                    flags.poisoned.eq(flags.poisoned | result.poisoned),
                ]
            with m.If(self.job & writer.done.payload.error):
                m.d.sync += flags.error.eq(1)
        return m
