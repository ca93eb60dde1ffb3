"""Bus timing of a channel: turns steps into PHY symbols, each held for its time.

A step is a command or address cycle (tWC), a wait, or a burst of data words. Steps follow each
other without a gap. Two times run beside the steps: tRHW keeps a command away from the data output
before it, tWB after a confirming command hides R/B# of its die (``settling``) and keeps the next
confirmation away.

The data rate is kept exactly: each clock adds the rate's numerator to an accumulator, a word goes
when it holds eight bytes' worth. When a word cannot go (no room for read data, none to write) the
strobes pause.
"""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from flash_model.timing import cycles

from .phy import Cycle

__all__ = ["ARGUMENT_BITS", "Bus", "StepKind", "step_layout"]

ARGUMENT_BITS = 12


class StepKind(enum.Enum, shape=3):
    """What a step does on the bus."""

    WAIT = 0  # argument: clocks, 1 or more
    COMMAND = 1  # argument: byte
    ADDRESS = 2  # argument: byte
    WRITE = 3  # argument: words
    READ = 4  # argument: words


def step_layout():
    """One step."""
    return data.StructLayout(
        {
            "kind": StepKind,
            "argument": ARGUMENT_BITS,
            "confirm": 1,  # a command after which the die gets busy
        }
    )


class Bus(wiring.Component):
    """Step sequencer of one channel's bus.

    Parameters
    ----------
    timing : Timing
    clock_hz : int
        Core clock.

    Members
    -------
    i : In(stream(step_layout()))
        Steps.
    w_data : In(stream(64))
        Words of WRITE steps.
    room : In(1)
        A read word can be taken.
    cycle, strobe, word : Out
        Symbol for the PHY.
    confirmed : Out(1)
        A confirming command takes effect in this clock.
    settling : Out(1)
        tWB of the last confirmed command is running: R/B# of its die says nothing yet.
    idle : Out(1)
        No step in progress.
    finishing : Out(1)
        The step in progress ends with this clock.
    moving : Out(1)
        A data burst makes progress in this clock.
    stalled : Out(1)
        A data burst waits for ``room`` or ``w_data``.
    quiet : Out(1)
        Nothing here changes at the coming clock edge, if no step is offered.
    """

    def __init__(self, timing, clock_hz):
        self._t_wc = cycles(timing.t_wc_ns, clock_hz)
        self._t_rhw = cycles(timing.t_rhw_ns, clock_hz)
        self._t_wb = cycles(timing.t_wb_ns, clock_hz)
        self._rate = timing.bytes_per_clock(clock_hz)
        super().__init__(
            {
                "i": In(stream.Signature(step_layout())),
                "w_data": In(stream.Signature(64)),
                "room": In(1),
                "cycle": Out(Cycle),
                "strobe": Out(1),
                "word": Out(64),
                "confirmed": Out(1),
                "settling": Out(1),
                "idle": Out(1, init=1),
                "finishing": Out(1),
                "moving": Out(1),
                "stalled": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        kind = Signal(StepKind)
        busy = Signal()
        symbol = Signal(8)
        confirm = Signal()
        left = Signal(ARGUMENT_BITS)  # clocks or words still to go
        turnaround = Signal(range(self._t_rhw + 1))
        blind = Signal(range(self._t_wb + 1))

        per_clock, per_word = self._rate.numerator, 8 * self._rate.denominator
        paid = Signal(bits_for(per_word - 1))
        paying = Signal(bits_for(per_word - 1 + per_clock))
        due = Signal()
        is_read = (kind == StepKind.READ) & busy
        is_write = (kind == StepKind.WRITE) & busy
        is_burst = is_read | is_write
        m.d.comb += [
            paying.eq(paid + per_clock),
            due.eq(paying >= per_word),
            self.stalled.eq(due & ((is_read & ~self.room) | (is_write & ~self.w_data.valid))),
            self.moving.eq(is_burst & ~self.stalled),
            self.idle.eq(~busy),
            self.settling.eq(blind != 0),
        ]

        word_goes = Signal()
        at_end = Signal()
        m.d.comb += [
            word_goes.eq(is_burst & due & ~self.stalled),
            at_end.eq(left <= 1),
            self.finishing.eq(busy & at_end & (word_goes | ~is_burst)),
            self.strobe.eq(Mux(is_burst, word_goes, self.finishing & (kind != StepKind.WAIT))),
        ]
        with m.If(self.moving):
            m.d.sync += paid.eq(Mux(due, paying - per_word, paying))
        with m.If(word_goes | (busy & ~is_burst)):
            m.d.sync += left.eq(left - 1)

        # Cycle has the values of StepKind, a wait is an idle bus.
        m.d.comb += [
            self.cycle.eq(Mux(busy, Value.cast(kind), 0)),
            self.word.eq(Mux(is_write, self.w_data.payload, symbol)),
            self.w_data.ready.eq(is_write & due),
            self.confirmed.eq(busy & confirm & self.strobe),
        ]

        with m.If(turnaround != 0):
            m.d.sync += turnaround.eq(turnaround - 1)
        with m.If(blind != 0):
            m.d.sync += blind.eq(blind - 1)
        with m.If(self.confirmed):
            m.d.sync += blind.eq(self._t_wb)
        ends_read = Signal()
        m.d.comb += ends_read.eq(is_read & self.finishing)
        with m.If(ends_read):
            m.d.sync += turnaround.eq(self._t_rhw - 1)

        step = self.i.payload
        allowed = Signal(init=1)
        with m.If(step.kind == StepKind.COMMAND):
            m.d.comb += allowed.eq((turnaround == 0) & ~(ends_read & (self._t_rhw > 1)))
            with m.If(step.confirm & (self.settling | self.confirmed)):
                m.d.comb += allowed.eq(0)
        m.d.comb += self.i.ready.eq((~busy | self.finishing) & allowed)
        with m.If(self.finishing):
            m.d.sync += busy.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                busy.eq(1),
                kind.eq(step.kind),
                confirm.eq(step.confirm),
                symbol.eq(step.argument[:8]),
                left.eq(step.argument),
                paid.eq(0),
            ]
            with m.If((step.kind == StepKind.COMMAND) | (step.kind == StepKind.ADDRESS)):
                m.d.sync += left.eq(self._t_wc)

        m.d.comb += self.quiet.eq((~busy | self.stalled) & (turnaround == 0) & (blind == 0))
        return m
