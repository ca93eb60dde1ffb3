"""Digit search: in which bin the last one to be kept lies.

::

    sweep from the highest bin down --> counts of all channels --> total (adder tree)
    above = sum of the totals so far;  the bin where above + total reaches what is still wanted
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DigitSearch"]


class DigitSearch(wiring.Component):
    """Sweeps the histograms of all channels and finds a digit of the threshold.

    A sweep takes ``2**digit_bits + levels + 2`` clocks from ``start`` to ``done``, with the levels
    of the adder tree, ceil of log2 of the channels.

    Parameters
    ----------
    config : SelectConfig

    Members
    -------
    start : In(1)
        Pulse: sweep from the next clock on.
    load, k : In
        Pulse: ``k`` are wanted; before the first sweep of a job.
    sweep, sweep_bin : Out
        To the histograms.
    i_counts : In array
        Their answer, a clock later.
    digit : Out
        The bin that was found.
    exact : Out(1)
        All of it are wanted: nothing of lower digits matters.
    done : Out(1)
        Pulse: the sweep is over, ``digit`` and ``exact`` are there. What lies above the bin is no
        longer wanted.
    """

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "load": In(1),
                "k": In(config.max_tokens.bit_length()),
                "sweep": Out(1),
                "sweep_bin": Out(config.digit_bits),
                "i_counts": In(range(config.lane_rows + 1)).array(config.channels),
                "digit": Out(config.digit_bits),
                "exact": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        last = Signal()
        m.d.comb += last.eq(self.sweep_bin == 0)
        with m.If(self.start):
            m.d.sync += [self.sweep.eq(1), self.sweep_bin.eq(-1)]
        with m.Elif(self.sweep):
            m.d.sync += [self.sweep.eq(~last), self.sweep_bin.eq(self.sweep_bin - 1)]

        # The answers of a bin reach the end of the tree together with its number.
        valid, ends, bin_ = self._delayed(m, "asked", self.sweep, last, self.sweep_bin)
        counts = list(self.i_counts)
        level = 0
        while len(counts) > 1:
            sums = [
                Signal(range(self._config.max_tokens + 1), name=f"sum_{level}_{n}")
                for n in range((len(counts) + 1) // 2)
            ]
            m.d.sync += [
                sum_.eq(sum(counts[2 * n + 1 : 2 * n + 2], counts[2 * n]))
                for n, sum_ in enumerate(sums)
            ]
            valid, ends, bin_ = self._delayed(m, f"level_{level}", valid, ends, bin_)
            counts, level = sums, level + 1
        (total,) = counts

        wanted, above = Signal.like(self.k), Signal.like(self.k)
        upto = Signal(range(2 * self._config.max_tokens))
        found = Signal()
        m.d.comb += upto.eq(above + total)
        with m.If(self.load):
            m.d.sync += wanted.eq(self.k)
        with m.If(self.start):
            m.d.sync += [above.eq(0), found.eq(0)]
        with m.Elif(valid & ~found):
            with m.If(upto >= wanted):
                m.d.sync += [
                    found.eq(1),
                    self.digit.eq(bin_),
                    self.exact.eq(upto == wanted),
                    wanted.eq(wanted - above),
                ]
            with m.Else():
                m.d.sync += above.eq(upto)
        m.d.sync += self.done.eq(valid & ends)
        return m

    def _delayed(self, m, name, *signals):
        result = [Signal.like(signal, name=f"{name}_{n}") for n, signal in enumerate(signals)]
        m.d.sync += [register.eq(signal) for register, signal in zip(result, signals)]
        return result
