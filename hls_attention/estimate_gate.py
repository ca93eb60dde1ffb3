"""Estimate gate: when a beat of an estimate may be accepted, and what it is of its unit.

Columns come unit by unit, each unit's columns one after the other; two units may be summed up at a
time, one of which is being read out. Tokens beyond the units, and the end, follow when no unit is.

A unit of bounds has fewer beats than the scores that it stands for, if there are many query heads:
then the end of the next one has to wait.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .bounds_code import UNIT_TOKENS

__all__ = ["EstimateGate"]


class EstimateGate(wiring.Component):
    """Counts columns as they are accepted.

    Parameters
    ----------
    config : EngineConfig

    Members
    -------
    channels : In
        Columns of a unit, at least 1.
    accept, column, ends, last, error : In(1)
        A beat of an estimate is accepted: of a column, the last one of its column or token, the
        null beat that ends the estimate, a beat of data that cannot be read.
    drained : In(1)
        Pulse: the sums of a unit have been read out.
    heads, bounded : In
        If the drive has bounds: query heads; the unit stands for more than one token.
    open_column, open_other : Out(1)
        A beat of a column may come; any other beat.
    first, completes : Out(1)
        The present column is the first, the last one of its unit.
    bank : Out(1)
        Of its sums.
    poisoned : Out(1)
        The present beat or one before it could not be read.
    """

    def __init__(self, config):
        self._config = config
        bounds = {"heads": In(range(config.max_heads + 1)), "bounded": In(1)}
        super().__init__(
            {
                **(bounds if config.bounds else {}),
                "channels": In(range(config.max_head_dim + 1)),
                "accept": In(1),
                "column": In(1),
                "ends": In(1),
                "last": In(1),
                "error": In(1),
                "drained": In(1),
                "open_column": Out(1),
                "open_other": Out(1),
                "first": Out(1, init=1),
                "completes": Out(1),
                "bank": Out(1),
                "poisoned": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        number = Signal(range(self._config.max_head_dim))
        begun = Signal()  # a column of the present unit has come
        taken = Signal(range(3))  # units that are summed up or read out
        spoiled = Signal()
        column = self.accept & self.column
        begins, ends_column, ends_unit = Signal(), Signal(), Signal()
        m.d.comb += [
            self.open_column.eq(begun | (taken != 2)),
            self.open_other.eq((taken == 0) & ~self._waits(m)),
            self.completes.eq(number == self.channels - 1),
            self.poisoned.eq(spoiled | self.error),
            begins.eq(column & ~begun),
            ends_column.eq(column & self.ends),
            ends_unit.eq(ends_column & self.completes),
        ]
        m.d.sync += taken.eq(taken + begins - self.drained)
        with m.If(column):
            m.d.sync += begun.eq(~ends_unit)
        with m.If(ends_column):
            m.d.sync += [number.eq(Mux(ends_unit, 0, number + 1)), self.first.eq(ends_unit)]
        with m.If(ends_unit):
            m.d.sync += self.bank.eq(~self.bank)
        with m.If(self.accept):
            m.d.sync += spoiled.eq(self.poisoned & ~self.last)
        return m

    def _waits(self, m):
        """Whether the end of a unit comes too early: scores of the one before are still made."""
        if not self._config.bounds:
            return 0
        left = Signal(range(UNIT_TOKENS * self._config.max_heads))
        with m.If(self.accept & self.ends & self.bounded):
            m.d.sync += left.eq(UNIT_TOKENS * self.heads - 1)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return self.ends & (left != 0)
