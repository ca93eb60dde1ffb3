"""Results of jobs from the engine to their place in host memory, job by job, with their status.

::

    requests: head, head ... last head (or: refused) --> words of each head, then JOB_STATUS
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hls_attention.messages import result_layout
from hls_attention.streams import Queue

from .commands import JOB_STATUS, Status
from .memory import WORDS_BITS, BurstWriter
from .memory_port import ADDRESS_BITS, MemoryPortSignature

__all__ = ["ResultWriter", "outcome_layout", "result_request_layout"]

REQUESTS_AHEAD = 32


def result_request_layout():
    """Where the words of one KV head go; or, without words, that a job was refused."""
    return data.StructLayout(
        {
            "address": ADDRESS_BITS,
            "words": WORDS_BITS,
            "ends": 1,  # last head of its job
            "job": 16,  # its index in the list
            "passes": 8,
            "status": 11,  # of a job that was refused, or has gone wrong
            "status_address": ADDRESS_BITS,
            "lost": 1,  # the status cannot be written: its place is outside the window
        }
    )


def outcome_layout():
    """What became of a command's jobs."""
    return data.StructLayout(
        {
            "saturated": 1,
            "nonfinite": 1,
            "error": 1,  # a write failed
            "status": 11,  # of the first job that failed
            "job": 16,  # its index
            "failed": 16,  # jobs that failed
        }
    )


class ResultWriter(wiring.Component):
    """Writes each job's result where its requests say, in their order.

    Members
    -------
    i : In(stream), ``result_request_layout()``
    i_results : In(stream), `hls_attention.messages.result_layout`
    write : Out(MemoryPortSignature)
    clear : In(1)
        A new command: the outcome begins anew.
    outcome : Out, ``outcome_layout()``
    busy : Out(1)
        Requests are not yet in host memory.
    head : Out(1)
        The words of a head have been sent.
    quiet : Out(1)
    """

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(result_request_layout())),
                "i_results": In(stream.Signature(result_layout())),
                "write": Out(MemoryPortSignature()),
                "clear": In(1),
                "outcome": Out(outcome_layout()),
                "busy": Out(1),
                "head": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.requests = requests = Queue(result_request_layout(), depth=REQUESTS_AHEAD)
        m.submodules.writer = writer = BurstWriter(burst=64, posted=True)
        connect(m, writer.port, flipped(self.write))
        connect(m, flipped(self.i), requests.i)
        request, result, outcome = requests.o.payload, self.i_results.payload, self.outcome

        flags = Signal(data.StructLayout({"saturated": 1, "nonfinite": 1, "poisoned": 1}))
        status = Signal(11)
        word = Signal(JOB_STATUS.struct)
        refused = request.words == 0
        m.d.comb += [
            status.eq(
                Mux(
                    refused | (request.status != Status.SUCCESS),
                    request.status,
                    Mux(flags.poisoned, Status.UNRECOVERED_READ, Status.SUCCESS),
                )
            ),
            word.status.eq(status),
            word.flags.eq(Mux(refused, 0, flags.as_value()[:2])),
            word.passes.eq(request.passes),
            word.written.eq(1),
            writer.i.payload.strobe.eq(0xFF),
        ]

        jobs_open = Signal(8)  # requests taken and not yet dealt with
        left = Signal(WORDS_BITS)
        waits = Signal()
        with m.FSM(name="state"):
            with m.State("REQUEST"):
                m.d.comb += waits.eq(~requests.o.valid)
                with m.If(requests.o.valid):
                    with m.If(refused):
                        m.next = "STATUS"
                    with m.Else():
                        m.d.comb += [
                            writer.i.valid.eq(1),
                            writer.i.payload.address.eq(request.address),
                            writer.i.payload.words.eq(request.words),
                        ]
                        m.d.sync += left.eq(request.words)
                        with m.If(writer.i.ready):
                            m.next = "WORDS"
            with m.State("WORDS"):
                moved = self.i_results.valid & self.i_results.ready
                m.d.comb += [
                    writer.i_data.valid.eq(self.i_results.valid),
                    writer.i_data.payload.eq(result.data),
                    self.i_results.ready.eq(writer.i_data.ready),
                    waits.eq(~moved),
                ]
                with m.If(moved):
                    m.d.sync += left.eq(left - 1)
                    with m.If(result.last):
                        m.d.sync += [
                            flags[name].eq(flags[name] | result[name])
                            for name in ("saturated", "nonfinite", "poisoned")
                        ]
                    with m.If(left == 1):
                        m.d.comb += self.head.eq(1)
                        with m.If(request.ends):
                            m.next = "STATUS"
                        with m.Else():
                            m.d.comb += requests.o.ready.eq(1)
                            m.next = "REQUEST"
            with m.State("STATUS"):
                m.d.comb += [
                    writer.i.valid.eq(~request.lost),
                    writer.i.payload.address.eq(request.status_address),
                    writer.i.payload.words.eq(1),
                ]
                with m.If(status != Status.SUCCESS):
                    with m.If(request.lost | writer.i.ready):
                        m.d.sync += outcome.failed.eq(outcome.failed + 1)
                        with m.If(outcome.failed == 0):
                            m.d.sync += [outcome.status.eq(status), outcome.job.eq(request.job)]
                with m.If(request.lost):
                    m.next = "DONE"
                with m.Elif(writer.i.ready):
                    m.next = "STATUS_WORD"
            with m.State("STATUS_WORD"):
                m.d.comb += [
                    writer.i_data.valid.eq(1),
                    writer.i_data.payload.eq(word.as_value()),
                    waits.eq(~writer.i_data.ready),
                ]
                with m.If(writer.i_data.ready):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += requests.o.ready.eq(1)
                m.d.sync += [
                    outcome.saturated.eq(outcome.saturated | word.flags[0]),
                    outcome.nonfinite.eq(outcome.nonfinite | word.flags[1]),
                    flags.eq(0),
                ]
                m.next = "REQUEST"

        accepted, closed = Signal(), Signal()
        m.d.comb += [
            accepted.eq(self.i.valid & self.i.ready),
            closed.eq(requests.o.valid & requests.o.ready),
            self.busy.eq((jobs_open != 0) | ~writer.settled),
            self.quiet.eq(writer.quiet & waits & ~accepted),
        ]
        m.d.sync += jobs_open.eq(jobs_open + accepted - closed)
        with m.If(writer.failed):
            m.d.sync += outcome.error.eq(1)
        with m.If(self.clear):
            m.d.sync += outcome.eq(0)
        return m
