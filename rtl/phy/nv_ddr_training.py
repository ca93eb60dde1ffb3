"""Finds where in time NV-DDR's read data are to be taken, before the controller has the dies.

For one offset after the other each die is asked for READ ID of address 20h. An offset is right if
all of them say "ONFI"; the one in the middle of the first right ones is kept. An ID comes with each
byte twice, and where the two differ the PHY gives 00h: so an offset that is wrong by a byte is not
right. If no offset is, the search begins again.
"""

import math

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flash_model.timing import cycles
from rtl.nand.phy import Cycle

from .front import symbol_layout

__all__ = ["OFFSET_BITS", "Training"]

OFFSET_BITS = 6
FIRST = 4
"""Offset whose sample is of the time at which CLK rises, with the buffers of `rtl.phy.buffers`."""

LATEST_NS = 35
"""tDQSCK, pads and board; a cycle of CLK and a byte come on top of it."""

ONFI = int.from_bytes(b"ONFI", "little")
READ_ID, ONFI_ADDRESS = 0x90, 0x20


class Training(wiring.Component):
    """Asks and judges, from ``go`` on.

    Parameters
    ----------
    dies : int
        Dies on the channel.
    clock_hz : int
        Core clock.
    slot : int
        Clocks of a cycle of CLK.

    Members
    -------
    go : In(1)
        The dies have been told their interface.
    o : Out(stream(symbol_layout(dies)))
    r_valid, r_data : In
        Words of the dies.
    offset : Out(OFFSET_BITS)
        In half clocks.
    done : Out(1)
        ``offset`` stays.
    """

    def __init__(self, dies, clock_hz, slot):
        self._dies = dies
        half_clocks = math.ceil(2 * clock_hz * LATEST_NS / 10**9) + 3 * slot
        self._last = min(FIRST + half_clocks, (1 << OFFSET_BITS) - 1)
        self._to_output = cycles(80, clock_hz) + 8 * slot  # tWHR
        self._to_next = cycles(100, clock_hz) + 16 * slot + (1 << OFFSET_BITS)  # tRHW
        super().__init__(
            {
                "go": In(1),
                "o": Out(stream.Signature(symbol_layout(dies))),
                "r_valid": In(1),
                "r_data": In(64),
                "offset": Out(OFFSET_BITS, init=FIRST),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        symbol = self.o.payload
        die = Signal(range(max(2, self._dies)))
        clocks = Signal(range(max(self._to_output, self._to_next)))
        right = Signal(init=1)  # so far, of this offset
        heard = Signal()  # "ONFI"
        first = Signal(OFFSET_BITS)
        count = Signal(OFFSET_BITS)  # of the right ones from there on
        m.d.comb += symbol.die.eq(die)

        def send(cycle, byte, then):
            m.d.comb += [self.o.valid.eq(1), symbol.cycle.eq(cycle), symbol.word.eq(byte)]
            with m.If(self.o.ready):
                m.next = then

        def wait(length, then):
            m.d.sync += clocks.eq(clocks + 1)
            with m.If(clocks == length - 1):
                m.d.sync += clocks.eq(0)
                m.next = then

        with m.FSM(name="step"):
            with m.State("COMMAND"), m.If(self.go & ~self.done):
                m.d.sync += heard.eq(0)
                send(Cycle.COMMAND, READ_ID, "ADDRESS")
            with m.State("ADDRESS"):
                send(Cycle.ADDRESS, ONFI_ADDRESS, "TO_OUTPUT")
            with m.State("TO_OUTPUT"):
                wait(self._to_output, "READ")
            with m.State("READ"):
                send(Cycle.READ, 0, "LISTEN")
            with m.State("LISTEN"):
                with m.If(self.r_valid):
                    m.d.sync += heard.eq(self.r_data == ONFI)
                wait(self._to_next, "JUDGE")
            with m.State("JUDGE"):
                good = right & heard
                m.d.sync += [right.eq(good), die.eq(die + 1)]
                m.next = "COMMAND"
                with m.If(die == self._dies - 1):
                    m.d.sync += [right.eq(1), die.eq(0), self.offset.eq(self.offset + 1)]
                    with m.If(good):
                        m.d.sync += count.eq(count + 1)
                        with m.If(count == 0):
                            m.d.sync += first.eq(self.offset)
                    is_last = self.offset == self._last
                    with m.If((count != 0) & (~good | is_last)):
                        m.d.sync += [self.done.eq(1), self.offset.eq(first + (count >> 1))]
                    with m.Elif(is_last):
                        m.d.sync += [count.eq(0), self.offset.eq(FIRST)]
        return m
