"""The command buffer: job list, q, k and v of one ATTEND or STEP, on chip.

Fetched from the host in one go, so that the link's latency is paid once per command and not once
per head.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hls_attention.streams import Queue
from hls_attention.verilog import Ram

__all__ = ["CommandBuffer"]


class CommandBuffer(wiring.Component):
    """A buffer filled from its start and read as ranges.

    Parameters
    ----------
    words : int
        64-bit words it holds.

    Members
    -------
    clear : In(1)
        The next word written is word 0.
    i : In(stream), 64 bits
        Words to store, always accepted.
    i_range : In(stream), {address, words}
        Range to read, in words; one at a time.
    o : Out(stream), 64 bits
        Its words. Latency 4, then one a clock.
    quiet : Out(1)
    """

    def __init__(self, words):
        self._words = words
        bits = ceil_log2(words)
        super().__init__(
            {
                "clear": In(1),
                "i": In(stream.Signature(64)),
                "i_range": In(
                    stream.Signature(data.StructLayout({"address": bits, "words": bits + 1}))
                ),
                "o": Out(stream.Signature(64)),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = ceil_log2(self._words)
        m.submodules.ram = ram = Ram(width=64, depth=self._words)
        m.submodules.queue = queue = Queue(64, depth=8)
        connect(m, queue.o, flipped(self.o))

        place = Signal(bits)
        m.d.comb += [
            self.i.ready.eq(1),
            ram.w_en.eq(self.i.valid),
            ram.w_addr.eq(place),
            ram.w_data.eq(self.i.payload),
        ]
        with m.If(self.clear):
            m.d.sync += place.eq(0)
        with m.Elif(self.i.valid):
            m.d.sync += place.eq(place + 1)

        address = Signal(bits)
        left = Signal(bits + 1)
        arriving = Signal()
        room = Signal()
        m.d.comb += [
            self.i_range.ready.eq(left == 0),
            # one word may be on its way from the RAM; the queue must have room for it
            room.eq(queue.level < 6),
            ram.r_en.eq((left != 0) & room),
            ram.r_addr.eq(address),
            queue.i.valid.eq(arriving),
            queue.i.payload.eq(ram.r_data),
        ]
        m.d.sync += arriving.eq(ram.r_en)
        with m.If(self.i_range.valid & self.i_range.ready):
            m.d.sync += [
                address.eq(self.i_range.payload.address),
                left.eq(self.i_range.payload.words),
            ]
        with m.Elif(ram.r_en):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
        m.d.comb += self.quiet.eq(
            ~ram.r_en & ~arriving & ~self.i.valid & ~(self.i_range.valid & self.i_range.ready)
        )
        return m
