"""Adder tree: one number of every input added up, exactly, with a register per level."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .messages import SUM_BITS

__all__ = ["AdderTree"]


class AdderTree(wiring.Component):
    """Adds one number of every input, a register per level.

    Parameters
    ----------
    inputs : int

    Members
    -------
    i : In(stream(signed(64))) array
    o : Out(stream(signed(64)))
    busy : Out(1)
        Some level holds a number.
    """

    def __init__(self, inputs):
        self._inputs = inputs
        super().__init__(
            {
                "i": In(stream.Signature(signed(SUM_BITS))).array(inputs),
                "o": Out(stream.Signature(signed(SUM_BITS))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        advance, complete = Signal(), Signal()
        m.d.comb += [
            advance.eq(self.o.ready | ~self.o.valid),
            complete.eq(Cat(port.valid for port in self.i).all()),
            *[port.ready.eq(complete & advance) for port in self.i],
        ]
        numbers, valid, held = [port.payload for port in self.i], complete, []
        level = 0
        while len(numbers) > 1 or not held:
            sums = [
                Signal(signed(SUM_BITS), name=f"sum_{level}_{n}")
                for n in range((len(numbers) + 1) // 2)
            ]
            next_valid = Signal(name=f"valid_{level}")
            with m.If(advance):
                m.d.sync += next_valid.eq(valid)
                with m.If(valid):
                    m.d.sync += [
                        sum_.eq(sum(numbers[2 * n + 1 : 2 * n + 2], numbers[2 * n]))
                        for n, sum_ in enumerate(sums)
                    ]
            numbers, valid, level = sums, next_valid, level + 1
            held.append(valid)
        m.d.comb += [
            self.o.payload.eq(numbers[0]),
            self.o.valid.eq(valid),
            self.busy.eq(Cat(held).any()),
        ]
        return m
