"""What a die wants before its first operation: a reset, and to be told its interface and mode.

A die wakes up in asynchronous SDR, timing mode 0. One die after another gets::

    R/B_n high   FFh   R/B_n low, then high   EFh 01h   tADL   P1 00h 00h 00h   tWB, R/B_n high

P1 is the timing mode, and 10h more for NV-DDR. Pins move every 70 ns or more, which keeps all times
of mode 0 (but for those that have steps of their own). Meanwhile nothing else may be on the pins.

No wait is for ever. A die whose R/B_n does not fall behind FFh, or stays low for tRST, is not
there, or is not the one whose R/B_n this is: it is left alone, and the next one gets its turn.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from flash_model.timing import cycles

from .sdr_modes import sdr_time

__all__ = ["StartUp", "start_pins"]

SLOT_NS = 70
"""tCS of mode 0, the longest of a cycle: CE_n, CLE, ALE and DQ change as WE_n falls."""

FALL_SLOTS = 15
"""In which R/B_n has to fall: five times tWB of mode 0."""


class Step(enum.Enum, shape=3):
    """What is done in a step."""

    WAIT = 0  # argument: slots
    AWAKE = 1  # until R/B_n is high, or tRST is over: FFh may come to a busy die
    FALLS = 2  # until R/B_n has been low
    READY = 3  # until R/B_n is high
    COMMAND = 4  # argument: byte
    ADDRESS = 5
    DATA = 6


def _slots(ns):
    return Step.WAIT, -(-ns // SLOT_NS)


def _steps(feature):
    return [
        _slots(100),  # tWW
        (Step.AWAKE, 0),
        (Step.COMMAND, 0xFF),
        (Step.FALLS, 0),
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
    """Drives the pins from reset until every die has been told, or given up.

    Parameters
    ----------
    dies : int
        Dies on the channel.
    feature : int
        P1 of the timing mode.
    clock_hz : int
        Core clock.
    t_rst_ns : int
        How long a die may be busy with its reset.

    Members
    -------
    ready : In(dies)
        R/B_n in the clock's domain.
    pins : Out(start_pins(dies))
        RE_n is high.
    answers : Out(dies)
        Dies that have been told.
    done : Out(1)
        No die is left to be told; stays.
    """

    def __init__(self, dies, feature, clock_hz, t_rst_ns=None):
        t_rst_ns = sdr_time("t_rst", 0) if t_rst_ns is None else t_rst_ns
        self._steps = _steps(feature)
        self._slot = cycles(SLOT_NS, clock_hz)
        self._t_rst = max(FALL_SLOTS, -(-cycles(t_rst_ns, clock_hz) // self._slot))
        self._dies = dies
        super().__init__(
            {
                "ready": In(dies),
                "pins": Out(start_pins(dies)),
                "answers": Out(dies),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pins = self.pins
        die = Signal(range(max(2, self._dies)))
        number = Signal(range(len(self._steps)))
        step, argument = Signal(Step), Signal(8)
        clocks = Signal(range(self._slot))
        slots = Signal(range(self._t_rst))  # of this step that are over
        is_cycle, ready, late = Signal(), Signal(), Signal()
        fell = Signal()  # R/B_n has been low since FFh
        awake = Signal()  # a die has taken tRST to wake up, so the others have had it, too
        ends = Signal()
        silent = Signal()  # what the step waits for does not come
        m.d.comb += [
            is_cycle.eq((step == Step.COMMAND) | (step == Step.ADDRESS) | (step == Step.DATA)),
            ready.eq(self.ready.bit_select(die, 1)),
            late.eq(slots == self._t_rst - 1),
        ]
        with m.Switch(number):
            for index, (kind, value) in enumerate(self._steps):
                with m.Case(index):
                    m.d.comb += [step.eq(kind), argument.eq(value)]
        with m.Switch(step):
            with m.Case(Step.WAIT):
                m.d.comb += ends.eq(slots == argument - 1)
            with m.Case(Step.AWAKE):
                m.d.comb += ends.eq(ready | awake | late)
            with m.Case(Step.FALLS):
                m.d.comb += [ends.eq(fell), silent.eq(slots == FALL_SLOTS - 1)]
            with m.Case(Step.READY):
                m.d.comb += [ends.eq(ready), silent.eq(late)]
            with m.Default():
                m.d.comb += ends.eq(slots == 1)  # WE_n low, high
        m.d.sync += fell.eq((step != Step.AWAKE) & (fell | ~ready))
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
                    with m.If((step == Step.AWAKE) & late):
                        m.d.sync += awake.eq(1)
                with m.If(Mux(ends, number == len(self._steps) - 1, silent)):
                    m.d.sync += [
                        slots.eq(0),
                        number.eq(0),
                        die.eq(die + 1),
                        self.answers.bit_select(die, 1).eq(ends),
                        self.done.eq(die == self._dies - 1),
                    ]
        return m
