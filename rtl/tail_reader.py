"""The tail as a page source: words of tokens not yet on flash, from device DRAM to a channel."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hls_attention.streams import Queue

from .memory import BurstReader
from .memory_port import MemoryPortSignature
from .pages.requests import page_word_layout
from .walker import tail_request_layout

__all__ = ["TailReader"]

REQUESTS_AHEAD = 32
"""Tails asked for ahead of use: K and V of as many heads as the engine's queue holds jobs."""


class TailReader(wiring.Component):
    """Reads tails in request order and hands the words to the channel each request names.

    Members
    -------
    i : In(stream), ``tail_request_layout()``
    o : Out(stream).array(channels), ``page_word_layout()``
    read : Out(MemoryPortSignature)
    word : Out(1)
        A word leaves (for the counters).
    quiet : Out(1)
    """

    def __init__(self, channels):
        self._channels = channels
        super().__init__(
            {
                "i": In(stream.Signature(tail_request_layout(channels))),
                "o": Out(stream.Signature(page_word_layout())).array(channels),
                "read": Out(MemoryPortSignature()),
                "word": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = BurstReader(depth=128, burst=64)
        # Tails wait here for their channel, so that the walker goes on opening pages.
        m.submodules.requests = requests = Queue(
            tail_request_layout(self._channels), depth=REQUESTS_AHEAD
        )
        connect(m, flipped(self.i), requests.i)
        request = requests.o
        m.submodules.targets = targets = Queue(max(1, ceil_log2(self._channels)), depth=8)
        connect(m, reader.port, flipped(self.read))
        m.d.comb += [
            reader.i.payload.address.eq(request.payload.address),
            reader.i.payload.words.eq(request.payload.words),
            targets.i.payload.eq(request.payload.channel),
            reader.i.valid.eq(request.valid & targets.i.ready),
            targets.i.valid.eq(request.valid & reader.i.ready),
            request.ready.eq(reader.i.ready & targets.i.ready),
        ]
        leaving = Signal(self._channels)
        for channel, port in enumerate(self.o):
            m.d.comb += leaving[channel].eq(port.valid & port.ready)
            m.submodules[f"queue_{channel}"] = queue = Queue(page_word_layout(), depth=32)
            connect(m, queue.o, flipped(port))
            m.d.comb += [
                queue.i.payload[name].eq(reader.o.payload[name]) for name in ("data", "error")
            ]
            with m.If(targets.o.valid & (targets.o.payload == channel)):
                m.d.comb += [
                    queue.i.valid.eq(reader.o.valid),
                    reader.o.ready.eq(queue.i.ready),
                ]
        m.d.comb += [
            self.word.eq(reader.o.valid & reader.o.ready),
            targets.o.ready.eq(self.word & reader.o.payload.last),
            self.quiet.eq(reader.quiet & ~self.word & ~leaving.any()),
        ]
        return m
