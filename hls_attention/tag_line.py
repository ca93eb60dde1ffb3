"""Tag line: tags that keep pace with what they describe."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TagLine"]


class TagLine(wiring.Component):
    """Carries tags along a pipeline that never stalls.

    Parameters
    ----------
    shape : ShapeLike
    length : int
        Registers, 1 or more.

    Members
    -------
    i_valid, i_meta : In
    o_valid, o_meta : Out array
        What went in 1, 2 ... ``length`` clocks ago.
    busy : Out(1)
        Some register holds tags.
    """

    def __init__(self, shape, length):
        super().__init__(
            {
                "i_valid": In(1),
                "i_meta": In(shape),
                "o_valid": Out(1).array(length),
                "o_meta": Out(shape).array(length),
                "busy": Out(1),
            }
        )

    @property
    def length(self):
        """Clocks from end to end."""
        return len(self.o_valid)

    def after(self, clocks):
        """``(valid, meta)`` of what went in so many clocks ago, 0 or more."""
        return (
            (self.o_valid[clocks - 1], self.o_meta[clocks - 1])
            if clocks
            else (self.i_valid, self.i_meta)
        )

    def elaborate(self, platform):
        m = Module()
        for n in range(self.length):
            before, meta_before = self.after(n)
            m.d.sync += self.o_valid[n].eq(before)
            with m.If(before):
                m.d.sync += self.o_meta[n].eq(meta_before)
        m.d.comb += self.busy.eq(self.i_valid | Cat(*self.o_valid).any())
        return m
