"""From sequences of one die to the steps of the bus, one after the other without a gap."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flash_model.timing import cycles

from .planes import planes_of
from .steps import StepKind, sequence_layout, sequences, step_layout

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Emits the steps of one sequence after another.

    The next sequence is taken in the clock after the bus has taken the last step of the one before,
    which the bus is then still busy with: a command cycle of two clocks or more is long enough for
    the first step of the next to be there in time. A last step that moves data is longer; then
    ``soon`` says when to take the next. The bus's ``o.ready`` would be a long way to ``i.ready``,
    from which what is chosen goes on. Only where a command cycle is one clock, and so a slow one,
    is the next sequence taken together with the last step.

    Parameters
    ----------
    profile : Profile
    clock_hz : int
        Core clock.

    Members
    -------
    i : In(stream(sequence_layout(dies)))
    o : Out(stream(step_layout(dies)))
        Steps for the bus.
    soon : In(1)
        The bus has no data phase in progress, or one that is about to end.
    running : Out(1)
        There are steps to be taken by the bus.
    """

    def __init__(self, profile, clock_hz):
        self._timing = profile.timing
        self._planes = planes_of(profile)
        self._clock_hz = clock_hz
        dies = profile.geometry.dies
        super().__init__(
            {
                "i": In(stream.Signature(sequence_layout(dies))),
                "o": Out(stream.Signature(step_layout(dies))),
                "soon": In(1),
                "running": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        step = self.o.payload
        current = Signal(self.i.payload.shape())
        index = Signal(4)
        is_burst = (step.kind == StepKind.READ) | (step.kind == StepKind.WRITE)
        at_once = self.o.ready & step.last & ~is_burst
        if cycles(self._timing.t_wc_ns, self._clock_hz) > 1:
            at_once = 0
        m.d.comb += [
            self.o.valid.eq(self.running),
            self.i.ready.eq(Mux(self.running, at_once, self.soon)),
            step.sequence.eq(current.sequence),
            step.die.eq(current.die),
            step.cause.eq(current.cause),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [index.eq(index + 1), self.running.eq(~step.last)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [current.eq(self.i.payload), self.running.eq(1), index.eq(0)]

        table = sequences(
            self._timing,
            self._clock_hz,
            current.row,
            current.column,
            current.words,
            self._planes,
        )
        with m.Switch(current.sequence):
            for sequence, steps in table.items():
                with m.Case(sequence), m.Switch(index):
                    for number, (kind, argument, confirm) in enumerate(steps):
                        with m.Case(number):
                            m.d.comb += [
                                step.kind.eq(kind),
                                step.argument.eq(argument),
                                step.confirm.eq(confirm),
                                step.last.eq(number == len(steps) - 1),
                            ]
        return m
