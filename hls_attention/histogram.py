"""Histogram: how often each digit came, one a clock, whatever their order.

::

    i_bin --> read --> register --> + 1 --> write       while counting
                          ^-- or what the count before, or the one before that, has written
    sweep_bin --> read --> o_count, write 0             while swept

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
        Count this bin. Not while ``sweep``.
    sweep, sweep_bin : In
        Give the bin's count and clear it. Not in the two clocks after ``i_en``.
    o_count : Out
        One clock after ``sweep``. Cleared two clocks after it.
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

        # Three stages: asked, held, written. A count that is asked for does not see the two
        # before it, which are written in this clock and in the next one.
        asked, asked_bin = Signal(), Signal(self._digit_bits)
        held_count, written_count = Signal(shape), Signal(shape)
        written, written_bin = Signal(), Signal(self._digit_bits)
        clears, same = Signal(2), Signal()
        m.d.comb += [
            read.en.eq(self.i_en | self.sweep),
            read.addr.eq(Mux(self.sweep, self.sweep_bin, self.i_bin)),
            self.o_count.eq(read.data),
            write.data.eq(Mux(clears[1], 0, Mux(same, written_count, held_count) + 1)),
        ]
        m.d.sync += [
            asked.eq(read.en),
            asked_bin.eq(read.addr),
            clears.eq(self.sweep | clears << 1),
            write.en.eq(asked),
            write.addr.eq(asked_bin),
            same.eq(write.en & (asked_bin == write.addr)),
            held_count.eq(Mux(written & (asked_bin == written_bin), written_count, read.data)),
            written.eq(write.en),
            written_bin.eq(write.addr),
            written_count.eq(write.data),
        ]
        return m
