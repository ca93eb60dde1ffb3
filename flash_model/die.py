"""Bus behaviour of one NAND die: command latching, address cycles, status, busy times.

Commands (ONFI): RESET FFh, READ ID 90h (00h: JEDEC, 20h: "ONFI"), READ STATUS 70h, READ MODE 00h,
READ PAGE 00h-5 addresses-30h, CHANGE READ COLUMN 05h-2 addresses-E0h, PROGRAM PAGE
80h-5 addresses-data-10h, ERASE BLOCK 60h-3 addresses-D0h. An address is 2 column and 3 row bytes,
lowest first; columns count bytes and are taken as multiples of 8. While busy, a die takes RESET and
READ STATUS only. A program or erase whose row lies outside the die fails (SR0).

Page register and cells lie behind the array port (`flash_model.array_port`), which sees each
operation in the clock of its confirming strobe. R/B# is low from the next clock on, for tWB and the
operation's time.

`Die` is the behaviour without the storage: from a die's state and a bus symbol to its next
state. One bus reaches one die at a time, so the dies of a channel share one behaviour, each with a
state and a busy timer of its own (`flash_model.package`). Unselected dies then only count, which
is what makes a drive of 128 dies quick to simulate.
"""

from amaranth.hdl import Cat, Module
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .array_port import ROW_BITS, ArrayOp
from .timing import cycles

__all__ = [
    "BusCycle",
    "Command",
    "Die",
    "JEDEC_ID",
    "ONFI_ID",
    "Opened",
    "Shows",
    "Status",
    "busy_cycles",
    "die_state",
    "timer_bits",
]

JEDEC_ID = bytes([0x2C, 0x84, 0x64, 0x3C, 0xA9, 0x04, 0x00, 0x00])
"""READ ID, address 00h."""

ONFI_ID = b"ONFI\0\0\0\0"
"""READ ID, address 20h."""


class BusCycle(enum.Enum, shape=3):  # type: ignore[call-arg]
    """What the bus carries; the PHY boundary of the controller uses the same encoding."""

    IDLE = 0
    COMMAND = 1
    ADDRESS = 2
    WRITE = 3
    READ = 4


class Command:
    """Command bytes."""

    READ = 0x00
    READ_CONFIRM = 0x30
    CHANGE_READ_COLUMN = 0x05
    CHANGE_READ_COLUMN_CONFIRM = 0xE0
    PROGRAM = 0x80
    PROGRAM_CONFIRM = 0x10
    ERASE = 0x60
    ERASE_CONFIRM = 0xD0
    READ_STATUS = 0x70
    READ_ID = 0x90
    RESET = 0xFF


class Status:
    """Bits of the status byte."""

    FAIL = 0x01
    ARDY = 0x20
    RDY = 0x40
    WRITABLE = 0x80


class Opened(enum.Enum, shape=3):  # type: ignore[call-arg]
    """The command whose address or confirmation is awaited."""

    NONE = 0
    READ = 1
    COLUMN = 2
    PROGRAM = 3
    ERASE = 4
    ID = 5


class Shows(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What data output cycles show."""

    PAGE = 0
    STATUS = 1
    JEDEC = 2
    ONFI = 3


def busy_cycles(timing, clock_hz):
    """Clocks R/B# is low, by operation: ``read``, ``program``, ``erase``, ``reset``."""
    wb = cycles(timing.t_wb_ns, clock_hz)
    return {
        "read": wb + cycles(timing.t_r_ns, clock_hz),
        "program": wb + cycles(timing.t_prog_ns, clock_hz),
        "erase": wb + cycles(timing.t_bers_ns, clock_hz),
        "reset": wb + cycles(timing.t_rst_ns, clock_hz),
    }


def timer_bits(timing, clock_hz):
    """Bits of a die's busy timer."""
    return bits_for(max(busy_cycles(timing, clock_hz).values()))


def die_state():
    """What a die remembers between bus symbols (its busy time apart)."""
    return data.StructLayout(
        {
            "opened": Opened,
            "count": 3,  # address cycles taken
            "address": 40,  # the last five address bytes, newest on top
            "word": 13,  # column in words
            "shows": Shows,
            "failed": 1,
        }
    )


class Die(wiring.Component):
    """Behaviour of one die, combinational.

    Parameters
    ----------
    timing : Timing
    geometry : Geometry
    clock_hz : int
        Core clock.

    Members
    -------
    state : In(die_state())
        State of the selected die. All zeros after power-on.
    ready : In(1)
        R/B# of the selected die, 1 = ready.
    cycle, strobe, symbol : In
        Bus symbol, the clock in which it takes effect, and its command or address byte.
    next_state : Out(die_state())
        State after this clock; differs from ``state`` only with ``strobe``.
    starts : Out(1)
        The die gets busy ...
    busy_clocks : Out
        ... for so many clocks, from the next one on.
    op_valid, op, op_row : Out
        Array operation, valid for one clock.
    reg_read, reg_write : Out(1)
        The page register is read or written at ``column`` in this clock.
    column : Out(16)
        Byte address in the page register, a multiple of 8.
    answers : Out(1)
        A data output cycle shows ``answer`` instead of the page register.
    answer : Out(64)
        Status byte (eight times) or ID bytes.
    """

    def __init__(self, timing, geometry, clock_hz):
        self._busy = busy_cycles(timing, clock_hz)
        self._geometry = geometry
        super().__init__(
            {
                "state": In(die_state()),
                "ready": In(1),
                "cycle": In(BusCycle),
                "strobe": In(1),
                "symbol": In(8),
                "next_state": Out(die_state()),
                "starts": Out(1),
                "busy_clocks": Out(timer_bits(timing, clock_hz)),
                "op_valid": Out(1),
                "op": Out(ArrayOp),
                "op_row": Out(ROW_BITS),
                "reg_read": Out(1),
                "reg_write": Out(1),
                "column": Out(16),
                "answers": Out(1),
                "answer": Out(64),
            }
        )

    def elaborate(self, platform):
        m = Module()
        old, new = self.state, self.next_state
        in_page = old.word < self._geometry.page_words
        m.d.comb += [
            new.eq(old),
            # The top three bytes: after five cycles (read, program) and after three (erase).
            self.op_row.eq(old.address[16:]),
            self.column.eq(old.word << 3),
        ]
        with m.If(self.strobe), m.Switch(self.cycle):
            with m.Case(BusCycle.COMMAND):
                self._command(m)
            with m.Case(BusCycle.ADDRESS):
                with m.If(old.opened != Opened.NONE):
                    m.d.comb += [
                        new.address.eq(Cat(old.address[8:], self.symbol)),
                        new.count.eq(old.count + 1),
                    ]
                with m.If((old.opened == Opened.ID) & (old.count == 0)):
                    m.d.comb += new.shows.eq(Shows.JEDEC)
                    with m.If(self.symbol == 0x20):
                        m.d.comb += new.shows.eq(Shows.ONFI)
                with m.If(
                    ((old.opened == Opened.READ) | (old.opened == Opened.PROGRAM))
                    & (old.count == 4)
                ):
                    m.d.comb += new.word.eq(old.address[8:24] >> 3)
            with m.Case(BusCycle.WRITE):
                with m.If((old.opened == Opened.PROGRAM) & (old.count == 5) & in_page):
                    m.d.comb += [self.reg_write.eq(1), new.word.eq(old.word + 1)]
            with m.Case(BusCycle.READ):
                with m.If((old.shows == Shows.PAGE) & self.ready & in_page):
                    m.d.comb += [self.reg_read.eq(1), new.word.eq(old.word + 1)]

        status = Cat(old.failed, 0, 0, 0, 0, self.ready, self.ready, 1)
        m.d.comb += self.answers.eq(old.shows != Shows.PAGE)
        with m.Switch(old.shows):
            with m.Case(Shows.STATUS):
                m.d.comb += self.answer.eq(status.replicate(8))
            with m.Case(Shows.JEDEC):
                m.d.comb += self.answer.eq(int.from_bytes(JEDEC_ID, "little"))
            with m.Case(Shows.ONFI):
                m.d.comb += self.answer.eq(int.from_bytes(ONFI_ID, "little"))
        return m

    def _command(self, m):
        """What a command byte does."""
        old, new = self.state, self.next_state
        row_exists = self.op_row < self._geometry.rows

        def confirmed(opened, count):
            return (old.opened == opened) & (old.count == count)

        def opens(opened):
            return [new.opened.eq(opened), new.count.eq(0)]

        def begins(op):
            return [self.starts.eq(1), self.busy_clocks.eq(self._busy[op])]

        def operates(op, valid):
            return [self.op_valid.eq(valid), self.op.eq(op)]

        with m.If(self.symbol == Command.RESET):
            m.d.comb += [
                new.opened.eq(Opened.NONE),
                new.shows.eq(Shows.PAGE),
                new.failed.eq(0),
                begins("reset"),
            ]
        with m.Elif(self.symbol == Command.READ_STATUS):
            m.d.comb += new.shows.eq(Shows.STATUS)
        with m.Elif(self.ready):
            m.d.comb += new.opened.eq(Opened.NONE)
            with m.Switch(self.symbol):
                with m.Case(Command.READ):
                    m.d.comb += [opens(Opened.READ), new.shows.eq(Shows.PAGE)]
                with m.Case(Command.READ_CONFIRM), m.If(confirmed(Opened.READ, 5)):
                    m.d.comb += [operates(ArrayOp.READ, row_exists), begins("read")]
                with m.Case(Command.CHANGE_READ_COLUMN):
                    m.d.comb += opens(Opened.COLUMN)
                with m.Case(Command.CHANGE_READ_COLUMN_CONFIRM), m.If(confirmed(Opened.COLUMN, 2)):
                    m.d.comb += [new.word.eq(old.address[24:] >> 3), new.shows.eq(Shows.PAGE)]
                with m.Case(Command.PROGRAM):
                    m.d.comb += [operates(ArrayOp.CLEAR, 1), opens(Opened.PROGRAM)]
                with m.Case(Command.PROGRAM_CONFIRM), m.If(confirmed(Opened.PROGRAM, 5)):
                    m.d.comb += [
                        operates(ArrayOp.PROGRAM, row_exists),
                        begins("program"),
                        new.failed.eq(~row_exists),
                    ]
                with m.Case(Command.ERASE):
                    m.d.comb += opens(Opened.ERASE)
                with m.Case(Command.ERASE_CONFIRM), m.If(confirmed(Opened.ERASE, 3)):
                    m.d.comb += [
                        operates(ArrayOp.ERASE, row_exists),
                        begins("erase"),
                        new.failed.eq(~row_exists),
                    ]
                with m.Case(Command.READ_ID):
                    m.d.comb += opens(Opened.ID)
