"""From a sequence of one die to the steps of the bus."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from flash_model.array_port import ROW_BITS
from flash_model.timing import cycles

from .bus import ARGUMENT_BITS, StepKind, step_layout

__all__ = ["Sequence", "Sequencer", "sequence_layout", "sequences"]


class Sequence(enum.Enum, shape=3):
    """What is done on the bus without a break, under one chip enable."""

    READ = 0  # open a page: 00h-address-30h
    PROGRAM = 1  # 80h-address-data-10h
    ERASE = 2  # 60h-row-D0h
    RESET = 3  # FFh
    STATUS = 4  # 70h and the status byte
    READ_ID = 5  # 90h-address and one word
    DATA = 6  # data of an opened page
    DATA_AFTER_STATUS = 7  # the same with READ MODE first: the die's output shows its status


def sequence_layout(dies):
    """A sequence to be done."""
    return data.StructLayout(
        {
            "sequence": Sequence,
            "die": max(1, ceil_log2(dies)),
            "row": ROW_BITS,
            "words": ARGUMENT_BITS,
        }
    )


def sequences(timing, clock_hz, row, words):
    """Steps ``(kind, argument, confirm)`` of each sequence.

    Parameters
    ----------
    timing : Timing
    clock_hz : int
    row, words
        Row address (its bytes are the address cycles) and number of words; values or integers.
    """

    def command(byte, confirm=0):
        return StepKind.COMMAND, byte, confirm

    def address(byte):
        return StepKind.ADDRESS, byte, 0

    def wait(ns):
        clocks = cycles(ns, clock_hz)
        if clocks >> ARGUMENT_BITS:
            raise ValueError(
                f"a bus wait of {ns} ns is {clocks} clocks: choose a timing with less than "
                f"{1 << ARGUMENT_BITS} clocks"
            )
        return StepKind.WAIT, clocks, 0

    column = [address(0), address(0)]  # pages are read and programmed from their start
    rows = [address((row >> shift) & 0xFF) for shift in (0, 8, 16)]
    to_output = wait(timing.t_whr_ns)
    preamble = wait(timing.t_preamble_ns)
    read, one, write = (
        (StepKind.READ, words, 0),
        (StepKind.READ, 1, 0),
        (StepKind.WRITE, words, 0),
    )
    return {
        Sequence.READ: [command(0x00), *column, *rows, command(0x30, 1)],
        Sequence.PROGRAM: [
            command(0x80),
            *column,
            *rows,
            wait(timing.t_adl_ns),
            write,
            command(0x10, 1),
        ],
        Sequence.ERASE: [command(0x60), *rows, command(0xD0, 1)],
        Sequence.RESET: [command(0xFF, 1)],
        Sequence.STATUS: [command(0x70), to_output, preamble, one],
        Sequence.READ_ID: [command(0x90), rows[0], to_output, preamble, one],
        Sequence.DATA: [preamble, read],
        Sequence.DATA_AFTER_STATUS: [command(0x00), to_output, preamble, read],
    }


class Sequencer(wiring.Component):
    """Emits the steps of one sequence after another.

    Parameters
    ----------
    profile : Profile
    clock_hz : int
        Core clock.

    Members
    -------
    i : In(stream(sequence_layout(dies)))
        Taken when idle.
    o : Out(stream(step_layout()))
        Steps for the bus.
    current : Out(sequence_layout(dies))
        The sequence in progress; its die stays selected.
    running : Out(1)
        A sequence is in progress, until ``finished``.
    emitted : Out(1)
        All steps were taken by the bus.
    finished : In(1)
        The last step has ended; comes only with ``emitted``.
    """

    def __init__(self, profile, clock_hz):
        self._timing = profile.timing
        self._clock_hz = clock_hz
        dies = profile.geometry.dies
        super().__init__(
            {
                "i": In(stream.Signature(sequence_layout(dies))),
                "o": Out(stream.Signature(step_layout())),
                "current": Out(sequence_layout(dies)),
                "running": Out(1),
                "emitted": Out(1),
                "finished": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        index = Signal(4)
        current, step = self.current, self.o.payload

        m.d.comb += [
            self.i.ready.eq(~self.running),
            self.o.valid.eq(self.running & ~self.emitted),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [current.eq(self.i.payload), self.running.eq(1), index.eq(0)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += index.eq(index + 1)
        with m.If(self.finished):
            m.d.sync += self.running.eq(0)

        table = sequences(self._timing, self._clock_hz, current.row, current.words)
        with m.Switch(current.sequence):
            for sequence, steps in table.items():
                with m.Case(sequence), m.Switch(index):
                    for number, (kind, argument, confirm) in enumerate(steps):
                        with m.Case(number):
                            m.d.comb += [
                                step.kind.eq(kind),
                                step.argument.eq(argument),
                                step.confirm.eq(confirm),
                            ]
                    with m.Default():
                        m.d.comb += self.emitted.eq(self.running)
        return m
