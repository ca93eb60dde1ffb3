"""Bus timing of a channel: turns steps into PHY symbols, each held for its time.

A step is a command or address cycle (tWC), a wait, or a burst of data words. Steps follow each
other without a gap. Two times run beside the steps: tRHW keeps a command away from the data output
before it, tWB after a confirming command hides R/B# of its die (``settling``) and keeps the next
confirmation away.

The data rate is kept exactly: each clock adds the rate's numerator to an accumulator, a word goes
when it holds eight bytes' worth. When a word cannot go (no room for read data, none to write) the
strobes pause.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from flash_model.timing import cycles

from .operations import WORD_BITS, Cause
from .phy import Cycle
from .planes import planes_of
from .steps import MUTE, Sequence, StepKind, step_layout

__all__ = ["Bus", "progress_layout"]

SOON = 2
"""Words before the end of a data phase at which what follows is chosen: one clock to choose, one to
load it."""


def progress_layout(dies):
    """How far the bus is with the sequence in progress."""
    die = max(1, ceil_log2(dies))
    return data.StructLayout(
        {
            "sequence": Sequence,
            "die": die,
            "ended": 1,  # its last step ends with this clock
            # tWB of the last confirmed command is running: R/B# of its die says nothing yet.
            "settling": 1,
            "settling_die": die,
        }
    )


class Bus(wiring.Component):
    """Step sequencer of one channel's bus.

    Parameters
    ----------
    profile : Profile
    clock_hz : int
        Core clock.

    Members
    -------
    i : In(stream(step_layout(dies)))
        Steps.
    w_data : In(stream(64))
        Words of WRITE steps.
    room : In(1)
        A read word can be taken.
    die, cycle, strobe, word : Out
        Symbol for the PHY.
    busy : Out(1)
        A step is in progress.
    confirmed : Out(1)
        A confirming command takes effect in this clock.
    progress : Out(progress_layout(dies))
        For the die table.
    is_status : Out(1)
        The sequence in progress is a STATUS. Apart from ``progress``, which depends on ``room``.
    asked, asked_last : Out(1)
        A word of read data is asked for, the last of its data phase.
    cause : Out(Cause)
        Of the words asked for: anything but NONE asks for a zero, and not of the PHY.
    mute : Out(1)
        The burst in progress is none of the PHY's.
    moving : Out(1)
        A data burst makes progress in this clock.
    stalled : Out(1)
        A data burst waits for ``room`` or ``w_data``.
    soon : Out(1)
        No data output is in progress, or one that is about to end.
    turned : Out(1)
        A command could start now: no data output, and tRHW after it has passed.
    quiet : Out(1)
        Nothing here changes at the coming clock edge, if no step is offered.
    """

    def __init__(self, profile, clock_hz):
        timing, dies = profile.timing, profile.geometry.dies
        self._t_wc = cycles(timing.t_wc_ns, clock_hz)
        self._t_rhw = cycles(timing.t_rhw_ns, clock_hz)
        self._t_wb = cycles(timing.t_wb_ns, clock_hz)
        self._t_value = max(self._t_wc, timing.data_cycles(1, clock_hz))
        self._planes = planes_of(profile)
        self._rate = timing.bytes_per_clock(clock_hz)
        super().__init__(
            {
                "i": In(stream.Signature(step_layout(dies))),
                "w_data": In(stream.Signature(64)),
                "room": In(1),
                "die": Out(max(1, ceil_log2(dies))),
                "cycle": Out(Cycle),
                "strobe": Out(1),
                "word": Out(64),
                "busy": Out(1),
                "confirmed": Out(1),
                "progress": Out(progress_layout(dies)),
                "is_status": Out(1),
                "asked": Out(1),
                "asked_last": Out(1),
                "cause": Out(Cause),
                "mute": Out(1),
                "moving": Out(1),
                "stalled": Out(1),
                "soon": Out(1),
                "turned": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        progress = self.progress
        kind = Signal(StepKind)
        symbol = Signal(8)
        confirm = Signal()
        last = Signal()
        left = Signal(WORD_BITS)  # clocks or words still to go
        turnaround = Signal(range(self._t_rhw + 1))
        blind = Signal(range(self._t_wb + 1))

        per_clock, per_word = self._rate.numerator, 8 * self._rate.denominator
        paid = Signal(bits_for(per_word - 1))
        paying = Signal(bits_for(per_word - 1 + per_clock))
        due = Signal()
        is_read = (kind == StepKind.READ) & self.busy
        is_write = (kind == StepKind.WRITE) & self.busy
        is_burst = is_read | is_write
        m.d.comb += [
            paying.eq(paid + per_clock),
            due.eq(paying >= per_word),
            self.stalled.eq(due & ((is_read & ~self.room) | (is_write & ~self.w_data.valid))),
            self.moving.eq(is_burst & ~self.stalled),
            progress.settling.eq(blind != 0),
            progress.die.eq(self.die),
        ]

        word_goes = Signal()
        finishing = Signal()  # the step in progress ends with this clock
        m.d.comb += [
            word_goes.eq(is_burst & due & ~self.stalled),
            finishing.eq(self.busy & (left <= 1) & (word_goes | ~is_burst)),
            self.strobe.eq(
                Mux(is_burst, word_goes & ~self.mute, finishing & (kind != StepKind.WAIT))
            ),
            progress.ended.eq(finishing & last),
            self.asked.eq(is_read & word_goes),
            self.asked_last.eq(left <= 1),
            self.soon.eq(~is_read | (left <= SOON)),
            self.turned.eq(~is_read & (turnaround == 0)),
        ]
        with m.If(self.moving):
            m.d.sync += paid.eq(Mux(due, paying - per_word, paying))
        with m.If(word_goes | (self.busy & ~is_burst)):
            m.d.sync += left.eq(left - 1)

        # Cycle has the values of StepKind but for a value, a wait is an idle bus.
        shown = Mux(kind == StepKind.VALUE, StepKind.WRITE, kind)
        m.d.comb += [
            self.cycle.eq(Mux(self.busy & ~self.mute, Value.cast(shown), 0)),
            self.word.eq(Mux(is_write, self.w_data.payload, symbol)),
            self.w_data.ready.eq(is_write & due),
            self.confirmed.eq(finishing & confirm),
        ]

        with m.If(turnaround != 0):
            m.d.sync += turnaround.eq(turnaround - 1)
        with m.If(blind != 0):
            m.d.sync += blind.eq(blind - 1)
        with m.If(self.confirmed):
            m.d.sync += [blind.eq(self._t_wb), progress.settling_die.eq(self.die)]
        ends_read = Signal()
        m.d.comb += ends_read.eq(is_read & finishing & ~self.mute)
        with m.If(ends_read):
            m.d.sync += turnaround.eq(self._t_rhw - 1)

        step = self.i.payload
        is_status = step.sequence == Sequence.STATUS
        if self._planes:
            is_status |= step.sequence == Sequence.STATUS_PLANE
        allowed = Signal(init=1)
        with m.If(step.kind == StepKind.COMMAND):
            m.d.comb += allowed.eq((turnaround == 0) & ~(ends_read & (self._t_rhw > 1)))
        with m.If(step.confirm & (progress.settling | self.confirmed)):
            m.d.comb += allowed.eq(0)
        m.d.comb += self.i.ready.eq((~self.busy | finishing) & allowed)
        with m.If(finishing):
            m.d.sync += self.busy.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                self.busy.eq(1),
                self.die.eq(step.die),
                progress.sequence.eq(step.sequence),
                self.is_status.eq(is_status),
                kind.eq(step.kind),
                confirm.eq(step.confirm),
                last.eq(step.last),
                self.cause.eq(step.cause),
                self.mute.eq(Cat(step.sequence == sequence for sequence in MUTE).any()),
                symbol.eq(step.argument[:8]),
                left.eq(step.argument),
                paid.eq(0),
            ]
            with m.Switch(step.kind):
                with m.Case(StepKind.COMMAND, StepKind.ADDRESS):
                    m.d.sync += left.eq(self._t_wc)
                with m.Case(StepKind.VALUE):
                    m.d.sync += left.eq(self._t_value)

        m.d.comb += self.quiet.eq((~self.busy | self.stalled) & (turnaround == 0) & (blind == 0))
        return m
