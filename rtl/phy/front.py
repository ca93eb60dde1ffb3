"""What a PHY has in front of its pins: symbols that wait, R/B_n, and the dies' start-up.

The ring has room: a word to a die takes the pins as long as eight commands, and the times that
PHYs ask of a profile let the pins catch up before anything else is as long.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from rtl.nand.phy import Cycle
from rtl.nand.ring import Ring

from .start_up import StartUp, start_pins

__all__ = ["TAKEN", "Front", "symbol_layout"]

RING = 16

TAKEN = "die", "cycle", "strobe", "w_data"
"""Of `rtl.nand.phy.PhySignature`, what a PHY gives to its front."""


def symbol_layout(dies):
    """One symbol."""
    return data.StructLayout({"die": max(1, ceil_log2(dies)), "cycle": Cycle, "word": 64})


class Front(wiring.Component):
    """Takes each symbol at its strobe. Latency 1.

    Parameters
    ----------
    dies : int
        Dies on the channel.
    feature : int
        Timing mode that the dies are told, see `StartUp`.
    clock_hz : int
        Core clock.
    t_rst_ns : int
        How long a die may be busy with its reset; None: as long as ONFI allows.

    Members
    -------
    die, cycle, strobe, w_data, ready
        Of the controller.
    o : Out(stream(symbol_layout(dies)))
    rb_n : In(dies)
        The pins.
    pins : Out(start_pins(dies))
        What the other pins are to be until ``started``.
    answers : Out(dies)
        Dies that have been told; the controller sees the others busy, for ever.
    started : Out(1)
        No die is left to be told; before, the controller sees all of them busy.
    """

    def __init__(self, dies, feature, clock_hz, t_rst_ns=None):
        self._start_up = StartUp(dies, feature, clock_hz, t_rst_ns)
        symbol = symbol_layout(dies)
        super().__init__(
            {
                "die": In(symbol["die"].shape),
                "cycle": In(Cycle),
                "strobe": In(1),
                "w_data": In(64),
                "ready": Out(dies),
                "o": Out(stream.Signature(symbol)),
                "rb_n": In(dies),
                "pins": Out(start_pins(dies)),
                "answers": Out(dies),
                "started": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        stages = [
            Signal(len(self.rb_n), name=name, reset_less=True, attrs={"ASYNC_REG": "TRUE"})
            for name in ("rb_first", "rb_second")
        ]
        m.d.sync += [stage.eq(value) for value, stage in zip((self.rb_n, *stages), stages)]
        ready = stages[-1]
        m.submodules.start_up = start_up = self._start_up
        m.submodules.ring = ring = Ring(self.o.payload.shape(), depth=RING)
        m.d.comb += [
            start_up.ready.eq(ready),
            self.pins.eq(start_up.pins),
            self.answers.eq(start_up.answers),
            self.started.eq(start_up.done),
            self.ready.eq(Mux(start_up.done, ready & start_up.answers, 0)),
            ring.i.valid.eq(self.strobe),
            ring.i.payload.die.eq(self.die),
            ring.i.payload.cycle.eq(self.cycle),
            ring.i.payload.word.eq(self.w_data),
        ]
        connect(m, ring.o, flipped(self.o))
        return m
