"""Finds where in time NV-DDR's read data are to be taken, before the controller has the dies.

One die after the other is asked for READ ID of address 20h, at one offset after the other. An
offset is right for a die if it says "ONFI"; the first right ones that follow each other are the
die's window. An ID comes with each byte twice, and where the two differ the PHY gives 00h: so an
offset that is wrong by a byte is not right. The middle of what the windows have in common is kept.
A die that has none, or one that has nothing in common with those before it, is not usable::

    offset   4   5   6   7   8   9  10  11 ...
    die 0                 right
    die 1            -- does not answer --
    die 2                    right---
    die 3                                right     not usable: another wire than the others
    common                   right
"""

import math

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from flash_model.timing import cycles
from rtl.nand.phy import Cycle

from .front import symbol_layout

__all__ = ["OFFSET_BITS", "Training", "window_layout"]

OFFSET_BITS = 6
FIRST = 4
"""Offset whose sample is of the time at which CLK rises, with the buffers of `rtl.phy.buffers`."""

LATEST_NS = 35
"""tDQSCK, pads and board; a cycle of CLK and a byte come on top of it."""

ONFI = int.from_bytes(b"ONFI", "little")
READ_ID, ONFI_ADDRESS = 0x90, 0x20


def window_layout():
    """Offsets that are right for a die."""
    return data.StructLayout({"first": OFFSET_BITS, "width": OFFSET_BITS})


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
        The dies have been told their interface ...
    answers : In(dies)
        ... that is to say these.
    o : Out(stream(symbol_layout(dies)))
    r_valid, r_data : In
        Words of the dies.
    offset : Out(OFFSET_BITS)
        In half clocks.
    usable : Out(dies)
        Dies whose window it lies in.
    asked : In(die), window : Out(``window_layout()``)
        The window of a die.
    done : Out(1)
        All this stays.
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
                "answers": In(dies),
                "o": Out(stream.Signature(symbol_layout(dies))),
                "r_valid": In(1),
                "r_data": In(64),
                "offset": Out(OFFSET_BITS, init=FIRST),
                "usable": Out(dies),
                "asked": In(symbol_layout(dies)["die"].shape),
                "window": Out(window_layout()),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        symbol = self.o.payload
        die = Signal(range(max(2, self._dies)))
        clocks = Signal(range(max(self._to_output, self._to_next)))
        heard = Signal()  # "ONFI"
        own = Signal(window_layout())  # of this die
        first, last = Signal(OFFSET_BITS), Signal(OFFSET_BITS, init=self._last)  # in common
        m.submodules.windows = windows = memory.Memory(
            shape=window_layout(), depth=max(2, self._dies), init=[]
        )
        write, read = windows.write_port(), windows.read_port(domain="comb")
        m.d.comb += [
            symbol.die.eq(die),
            write.addr.eq(die),
            write.data.eq(own),
            read.addr.eq(self.asked),
            self.window.eq(read.data),
        ]

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
            with m.State("DIE"), m.If(self.go & ~self.done):
                m.d.sync += [self.offset.eq(FIRST), own.eq(0)]
                m.next = "COMMAND"
                with m.If(~self.answers.bit_select(die, 1)):
                    m.next = "WINDOW"
            with m.State("COMMAND"):
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
                m.d.sync += self.offset.eq(self.offset + 1)
                m.next = "COMMAND"
                with m.If(heard):
                    m.d.sync += own.width.eq(own.width + 1)
                    with m.If(own.width == 0):
                        m.d.sync += own.first.eq(self.offset)
                with m.If((~heard & (own.width != 0)) | (self.offset == self._last)):
                    m.next = "WINDOW"
            with m.State("WINDOW"):
                own_last = (own.first + own.width - 1)[:OFFSET_BITS]
                begin, end = Signal(OFFSET_BITS), Signal(OFFSET_BITS)
                meets = Signal()
                m.d.comb += [
                    write.en.eq(1),
                    begin.eq(Mux(own.first > first, own.first, first)),
                    end.eq(Mux(own_last < last, own_last, last)),
                    meets.eq((own.width != 0) & (begin <= end)),
                ]
                m.d.sync += self.usable.bit_select(die, 1).eq(meets)
                with m.If(meets):
                    m.d.sync += [first.eq(begin), last.eq(end)]
                m.d.sync += die.eq(die + 1)
                m.next = "DIE"
                with m.If(die == self._dies - 1):
                    m.next = "MIDDLE"
            with m.State("MIDDLE"):
                width = last - first + 1
                m.d.sync += [self.offset.eq(first + (width >> 1)), self.done.eq(1)]
                m.next = "DIE"
        return m
