"""What a die wants before its first operation: a reset, and to be told its interface and mode.

A die wakes up in asynchronous SDR, timing mode 0. One die after another gets::

    R/B_n high   FFh   tWB, R/B_n high   EFh 01h   tADL   P1 00h 00h 00h   tWB, R/B_n high, tITC

P1 is the timing mode, and 10h more for NV-DDR. Pins move every 70 ns or more, which keeps all times
of mode 0 (but for those that have steps of their own). Meanwhile nothing else may be on the pins.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from flash_model.timing import cycles

__all__ = ["StartUp", "start_pins"]

SLOT_NS = 70
"""tCS of mode 0, the longest of a cycle: CE_n, CLE, ALE and DQ change as WE_n falls."""


class Step(enum.Enum, shape=3):
    """What is done in a step."""

    WAIT = 0  # argument: slots
    READY = 1  # until R/B_n is high
    COMMAND = 2  # argument: byte
    ADDRESS = 3
    DATA = 4


def _slots(ns):
    return Step.WAIT, -(-ns // SLOT_NS)


def _steps(feature):
    return [
        _slots(100),  # tWW
        (Step.READY, 0),
        (Step.COMMAND, 0xFF),
        _slots(200),  # tWB
        (Step.READY, 0),
        _slots(40),  # tRR
        (Step.COMMAND, 0xEF),
        (Step.ADDRESS, 0x01),
        _slots(400),  # tADL
        (Step.DATA, feature),
        *[(Step.DATA, 0x00)] * 3,
        _slots(200),  # tWB
        (Step.READY, 0),
        _slots(1000),  # tITC
    ]


def start_pins(dies):
    """What the pins are to be."""
    return data.StructLayout({"ce_n": dies, "cle": 1, "ale": 1, "we_n": 1, "oe": 1, "dq": 8})


class StartUp(wiring.Component):
    """Drives the pins from reset until every die has been told.

    Parameters
    ----------
    dies : int
        Dies on the channel.
    feature : int
        P1 of the timing mode.
    clock_hz : int
        Core clock.

    Members
    -------
    ready : In(dies)
        R/B_n in the clock's domain.
    pins : Out(start_pins(dies))
        RE_n is high.
    done : Out(1)
        All dies have been told; stays.
    """

    def __init__(self, dies, feature, clock_hz):
        self._steps = _steps(feature)
        self._slot = cycles(SLOT_NS, clock_hz)
        self._dies = dies
        super().__init__({"ready": In(dies), "pins": Out(start_pins(dies)), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        pins = self.pins
        die = Signal(range(max(2, self._dies)))
        number = Signal(range(len(self._steps)))
        step, argument = Signal(Step), Signal(8)
        clocks = Signal(range(self._slot))
        slots = Signal(8)  # of this step that are over
        is_cycle = Signal()
        ends = Signal()
        m.d.comb += is_cycle.eq(
            (step == Step.COMMAND) | (step == Step.ADDRESS) | (step == Step.DATA)
        )
        with m.Switch(number):
            for index, (kind, value) in enumerate(self._steps):
                with m.Case(index):
                    m.d.comb += [step.eq(kind), argument.eq(value)]
        with m.Switch(step):
            with m.Case(Step.WAIT):
                m.d.comb += ends.eq(slots == argument - 1)
            with m.Case(Step.READY):
                m.d.comb += ends.eq(self.ready.bit_select(die, 1))
            with m.Default():
                m.d.comb += ends.eq(slots == 1)  # WE_n low, high
        chosen = Signal(self._dies)
        m.d.comb += [
            chosen.eq(1 << die),
            pins.ce_n.eq(Mux(self.done, ~0, ~chosen)),
            pins.cle.eq(step == Step.COMMAND),
            pins.ale.eq(step == Step.ADDRESS),
            pins.we_n.eq(~(is_cycle & (slots == 0)) | self.done),
            pins.oe.eq(is_cycle & ~self.done),
            pins.dq.eq(argument),
        ]
        with m.If(~self.done):
            m.d.sync += clocks.eq(clocks + 1)
            with m.If(clocks == self._slot - 1):
                m.d.sync += [clocks.eq(0), slots.eq(slots + 1)]
                with m.If(ends):
                    m.d.sync += [slots.eq(0), number.eq(number + 1)]
                    with m.If(number == len(self._steps) - 1):
                        m.d.sync += [number.eq(0), die.eq(die + 1)]
                        with m.If(die == self._dies - 1):
                            m.d.sync += self.done.eq(1)
        return m
