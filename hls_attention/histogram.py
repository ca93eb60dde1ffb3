"""Histogram: how often each digit came, one a clock, whatever their order.

::

    i_bin --> read --> + 1 --> write            while counting
                 ^  '-- the count just written, where the same bin comes again at once
    sweep_bin --> read --> o_count, write 0     while swept

Memories are not reached by resets: a sweep over all bins makes it ready for the first count.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Histogram"]


class Histogram(wiring.Component):
    """Counts in ``2**digit_bits`` bins.

    Parameters
    ----------
    digit_bits : int
    most : int
        Largest count of a bin.

    Members
    -------
    i_en, i_bin : In
        Count this bin. Not while ``sweep`` or in the clock before it.
    sweep, sweep_bin : In
        Give the bin's count and clear it. Not in the clock after ``i_en``.
    o_count : Out
        One clock after ``sweep``.
    """

    def __init__(self, digit_bits, most):
        self._digit_bits = digit_bits
        self._most = most
        super().__init__(
            {
                "i_en": In(1),
                "i_bin": In(digit_bits),
                "sweep": In(1),
                "sweep_bin": In(digit_bits),
                "o_count": Out(range(most + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape = self.o_count.shape()
        m.submodules.bins = bins = memory.Memory(shape=shape, depth=1 << self._digit_bits, init=[])
        read, write = bins.read_port(), bins.write_port()
        pending, clears, again = Signal(), Signal(), Signal()
        written = Signal(shape)
        m.d.comb += [
            read.en.eq(self.i_en | self.sweep),
            read.addr.eq(Mux(self.sweep, self.sweep_bin, self.i_bin)),
            write.en.eq(pending),
            write.data.eq(Mux(clears, 0, Mux(again, written, read.data) + 1)),
            self.o_count.eq(read.data),
        ]
        m.d.sync += [pending.eq(read.en), clears.eq(self.sweep), written.eq(write.data)]
        with m.If(read.en):
            m.d.sync += [
                write.addr.eq(read.addr),
                again.eq(pending & (read.addr == write.addr)),
            ]
        return m
