"""Bus behaviour of one NAND die: command latching, address cycles, status, busy times.

Commands (ONFI): RESET FFh, READ ID 90h (00h: JEDEC, 20h: "ONFI"), READ STATUS 70h, READ MODE 00h,
READ PAGE 00h-5 addresses-30h, CHANGE READ COLUMN 05h-2 addresses-E0h, PROGRAM PAGE
80h-5 addresses-data-10h, ERASE BLOCK 60h-3 addresses-D0h. An address is 2 column and 3 row bytes,
lowest first; columns count bytes and are taken as multiples of 8. While busy, a die takes RESET and
READ STATUS only. A program or erase whose row lies outside the die fails (SR0).

Page register and cells lie behind the array port (`flash_model.array_port`), which sees each
operation in the clock of its confirming strobe. R/B# is low from the next clock on, for tWB and the
operation's time: one countdown, which ``skip`` can advance by more than one.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .array_port import ROW_BITS, ArrayOp
from .timing import cycles

__all__ = ["Command", "Die", "JEDEC_ID", "ONFI_ID", "Status", "busy_cycles", "BUS_CYCLE_BITS", "BusCycle"]

JEDEC_ID = bytes([0x2C, 0x84, 0x64, 0x3C, 0xA9, 0x04, 0x00, 0x00])
"""READ ID, address 00h."""

ONFI_ID = b"ONFI\0\0\0\0"
"""READ ID, address 20h."""

BUS_CYCLE_BITS = 3


class BusCycle(enum.Enum, shape=BUS_CYCLE_BITS):
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


class _Open(enum.Enum, shape=3):
    """The command whose address or confirmation is awaited."""

    NONE = 0
    READ = 1
    COLUMN = 2
    PROGRAM = 3
    ERASE = 4
    ID = 5


class _Output(enum.Enum, shape=2):
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


class Die(wiring.Component):
    """One die.

    Parameters
    ----------
    timing : Timing
    geometry : Geometry
    clock_hz : int
        Core clock.

    Members
    -------
    selected : In(1)
        Chip enable; all of the following inputs but ``skip`` count only with it.
    cycle, strobe : In
        Bus symbol and the clock in which it takes effect.
    symbol : In(8)
        Command or address byte.
    skip : In(32)
        The busy time advances by ``skip + 1`` in this clock (0 in normal operation). Not above
        ``remaining - 1``, or the die gets ready late.
    ready : Out(1)
        R/B#, 1 = ready.
    remaining : Out(32)
        Clocks until ``ready`` rises, 0 when ready.
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
        self._timing = timing
        self._geometry = geometry
        self._clock_hz = clock_hz
        super().__init__({
            "selected": In(1),
            "cycle": In(BusCycle),
            "strobe": In(1),
            "symbol": In(8),
            "skip": In(32),
            "ready": Out(1, init=1),
            "remaining": Out(32),
            "op_valid": Out(1),
            "op": Out(ArrayOp),
            "op_row": Out(ROW_BITS),
            "reg_read": Out(1),
            "reg_write": Out(1),
            "column": Out(16),
            "answers": Out(1),
            "answer": Out(64),
        })

    def elaborate(self, platform):
        m = Module()
        busy = busy_cycles(self._timing, self._clock_hz)
        page_words = self._geometry.page_words

        timer = Signal(bits_for(max(busy.values())))
        opened = Signal(_Open)
        count = Signal(3)           # address cycles taken
        address = Signal(40)        # the last five address bytes, newest on top
        word = Signal(13)           # column in words
        shows = Signal(_Output)
        failed = Signal()

        # The top three bytes are the row after five cycles (read, program) and after three (erase).
        row = address[16:]
        row_exists = row < self._geometry.rows
        in_page = word < page_words
        here = Signal()
        m.d.comb += [
            here.eq(self.selected & self.strobe),
            self.op_row.eq(row),
            self.column.eq(word << 3),
            self.remaining.eq(timer),
            self.ready.eq(timer == 0),
        ]

        with m.If(timer != 0):
            m.d.sync += timer.eq(0)
            with m.If(timer > self.skip):
                m.d.sync += timer.eq(timer - self.skip[:len(timer)] - 1)

        with m.If(here):
            with m.Switch(self.cycle):
                with m.Case(BusCycle.COMMAND):
                    self._command(m, timer, busy, opened, count, address, word, shows, failed, row_exists)
                with m.Case(BusCycle.ADDRESS):
                    with m.If(opened != _Open.NONE):
                        m.d.sync += [address.eq(Cat(address[8:], self.symbol)), count.eq(count + 1)]
                    with m.If((opened == _Open.ID) & (count == 0)):
                        with m.If(self.symbol == 0x20):
                            m.d.sync += shows.eq(_Output.ONFI)
                        with m.Else():
                            m.d.sync += shows.eq(_Output.JEDEC)
                    with m.If(((opened == _Open.READ) | (opened == _Open.PROGRAM)) & (count == 4)):
                        m.d.sync += word.eq(address[8:24] >> 3)
                with m.Case(BusCycle.WRITE):
                    with m.If((opened == _Open.PROGRAM) & (count == 5) & in_page):
                        m.d.comb += self.reg_write.eq(1)
                        m.d.sync += word.eq(word + 1)
                with m.Case(BusCycle.READ):
                    with m.If((shows == _Output.PAGE) & self.ready & in_page):
                        m.d.comb += self.reg_read.eq(1)
                        m.d.sync += word.eq(word + 1)

        status = Cat(failed, 0, 0, 0, 0, self.ready, self.ready, 1)
        m.d.comb += self.answers.eq(shows != _Output.PAGE)
        with m.Switch(shows):
            with m.Case(_Output.STATUS):
                m.d.comb += self.answer.eq(status.replicate(8))
            with m.Case(_Output.JEDEC):
                m.d.comb += self.answer.eq(int.from_bytes(JEDEC_ID, "little"))
            with m.Case(_Output.ONFI):
                m.d.comb += self.answer.eq(int.from_bytes(ONFI_ID, "little"))
        return m

    def _command(self, m, timer, busy, opened, count, address, word, shows, failed, row_exists):
        """What a command byte does."""
        def confirms(kind, cycles_wanted):
            return (opened == kind) & (count == cycles_wanted)

        def opens(kind):
            return [opened.eq(kind), count.eq(0)]

        with m.If(self.symbol == Command.RESET):
            m.d.sync += [opened.eq(_Open.NONE), shows.eq(_Output.PAGE), failed.eq(0),
                         timer.eq(busy["reset"])]
        with m.Elif(self.symbol == Command.READ_STATUS):
            m.d.sync += shows.eq(_Output.STATUS)
        with m.Elif(self.ready):
            m.d.sync += opened.eq(_Open.NONE)
            with m.Switch(self.symbol):
                with m.Case(Command.READ):
                    m.d.sync += [opens(_Open.READ), shows.eq(_Output.PAGE)]
                with m.Case(Command.READ_CONFIRM):
                    with m.If(confirms(_Open.READ, 5)):
                        m.d.comb += [self.op_valid.eq(row_exists), self.op.eq(ArrayOp.READ)]
                        m.d.sync += timer.eq(busy["read"])
                with m.Case(Command.CHANGE_READ_COLUMN):
                    m.d.sync += opens(_Open.COLUMN)
                with m.Case(Command.CHANGE_READ_COLUMN_CONFIRM):
                    with m.If(confirms(_Open.COLUMN, 2)):
                        m.d.sync += [word.eq(address[24:] >> 3), shows.eq(_Output.PAGE)]
                with m.Case(Command.PROGRAM):
                    m.d.comb += [self.op_valid.eq(1), self.op.eq(ArrayOp.CLEAR)]
                    m.d.sync += opens(_Open.PROGRAM)
                with m.Case(Command.PROGRAM_CONFIRM):
                    with m.If(confirms(_Open.PROGRAM, 5)):
                        m.d.comb += [self.op_valid.eq(row_exists), self.op.eq(ArrayOp.PROGRAM)]
                        m.d.sync += [timer.eq(busy["program"]), failed.eq(~row_exists)]
                with m.Case(Command.ERASE):
                    m.d.sync += opens(_Open.ERASE)
                with m.Case(Command.ERASE_CONFIRM):
                    with m.If(confirms(_Open.ERASE, 3)):
                        m.d.comb += [self.op_valid.eq(row_exists), self.op.eq(ArrayOp.ERASE)]
                        m.d.sync += [timer.eq(busy["erase"]), failed.eq(~row_exists)]
                with m.Case(Command.READ_ID):
                    m.d.sync += opens(_Open.ID)
