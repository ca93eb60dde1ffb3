"""Bus behaviour of one NAND die: command latching, address cycles, status, busy times.

Commands (ONFI): RESET FFh, READ ID 90h (00h: JEDEC, 20h: "ONFI"), READ STATUS 70h, READ MODE 00h,
READ PAGE 00h-5 addresses-30h, READ PAGE CACHE RANDOM 00h-5 addresses-31h, READ PAGE CACHE END 3Fh,
CHANGE READ COLUMN 05h-2 addresses-E0h, PROGRAM PAGE 80h-5 addresses-data-10h, ERASE BLOCK
60h-3 addresses-D0h. An address is 2 column and 3 row bytes, lowest first; columns count bytes and
are taken as multiples of 8. A program or erase whose row lies outside the die fails (SR0).

A die has two registers. The bus sees the cache register; the array senses into the data register
behind it::

    array --tR--> data register --tRCBSY--> cache register --> bus

30h leaves the page in both. 31h moves the data register's page to the cache register, at column 0
(its own column address is ignored, as ONFI says), then senses the new row into the data register
while the bus reads the cache register. 3Fh moves without sensing. Both wait for a sensing still
under way and follow 30h or 31h only; otherwise they are ignored.

========================  =========================================================================
R/B# low                  RESET and READ STATUS are taken, all else is ignored
R/B# high, array senses   also READ MODE, 31h with its address, 3Fh, CHANGE READ COLUMN and data
                          output; 30h, program, erase and READ ID are ignored and change nothing
both at rest              everything
========================  =========================================================================

R/B# is low from the clock after the confirming strobe, for tWB and the operation's time; for 31h
and 3Fh for tWB, what is left of a sensing, and tRCBSY. After 31h the array then senses for tR: ARDY
(SR5) is low all the while, RDY (SR6) only as long as R/B#.

Registers and cells lie behind the array port (`flash_model.array_port`), which sees each operation
in the clock of its confirming strobe.

`Die` is the behaviour without the storage: from a die's state and a bus symbol to its next
state. One bus reaches one die at a time, so the dies of a channel share one behaviour, each with a
state and timers of its own (`flash_model.package`). Unselected dies then only count, which is what
makes a drive of 128 dies quick to simulate.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .array_port import ROW_BITS, ArrayOp
from .die_state import Opened, Shows, busy_cycles, die_state, sense_bits, timer_bits
from .onfi import JEDEC_ID, ONFI_ID, BusCycle, Command

__all__ = ["Die"]


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
    sensing : In
        Clocks that its array still senses behind the cache register, this one included.
    cycle, strobe, symbol : In
        Bus symbol, the clock in which it takes effect, and its command or address byte.
    next_state : Out(die_state())
        State after this clock; differs from ``state`` only with ``strobe``.
    starts : Out(1)
        The die gets busy ...
    busy_clocks : Out
        ... for so many clocks, from the next one on.
    senses_on : Out(1)
        After them its array senses for tR; else it is at rest then.
    op_valid, op, op_row : Out
        Array operation, valid for one clock.
    reg_read, reg_write : Out(1)
        The cache register is read or written at ``column`` in this clock.
    column : Out(16)
        Byte address in the cache register, a multiple of 8.
    answers : Out(1)
        A data output cycle shows ``answer`` instead of the cache register.
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
                "sensing": In(sense_bits(timing, clock_hz)),
                "cycle": In(BusCycle),
                "strobe": In(1),
                "symbol": In(8),
                "next_state": Out(die_state()),
                "starts": Out(1),
                "busy_clocks": Out(timer_bits(timing, clock_hz)),
                "senses_on": Out(1),
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
                with m.If((old.opened == Opened.PROGRAM) & (old.count == 4)):
                    m.d.comb += new.word.eq(old.address[8:24] >> 3)
            with m.Case(BusCycle.WRITE):
                with m.If((old.opened == Opened.PROGRAM) & (old.count == 5) & in_page):
                    m.d.comb += [self.reg_write.eq(1), new.word.eq(old.word + 1)]
            with m.Case(BusCycle.READ):
                with m.If((old.shows == Shows.PAGE) & self.ready & in_page):
                    m.d.comb += [self.reg_read.eq(1), new.word.eq(old.word + 1)]

        status = Cat(old.failed, 0, 0, 0, 0, self.ready & (self.sensing == 0), self.ready, 1)
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
        at_rest = Signal()
        rest_of_sensing = Signal.like(self.sensing)  # after this clock
        m.d.comb += [
            at_rest.eq(self.ready & (self.sensing == 0)),
            rest_of_sensing.eq(Mux(self.sensing == 0, 0, self.sensing - 1)),
        ]

        def confirmed(opened, count):
            return (old.opened == opened) & (old.count == count)

        def opens(opened):
            return [new.opened.eq(opened), new.count.eq(0)]

        def begins(op):
            return [self.starts.eq(1), self.busy_clocks.eq(self._busy[op])]

        def operates(op, valid):
            return [self.op_valid.eq(valid), self.op.eq(op)]

        def moves_up():
            return [
                self.starts.eq(1),
                self.busy_clocks.eq(self._busy["cache"] + rest_of_sensing),
                new.word.eq(0),
                new.shows.eq(Shows.PAGE),
            ]

        with m.If(self.symbol == Command.RESET):
            m.d.comb += [
                new.opened.eq(Opened.NONE),
                new.shows.eq(Shows.PAGE),
                new.failed.eq(0),
                new.caches.eq(0),
                begins("reset"),
            ]
        with m.Elif(self.symbol == Command.READ_STATUS):
            m.d.comb += new.shows.eq(Shows.STATUS)
        with m.Elif(self.ready):
            m.d.comb += new.opened.eq(Opened.NONE)
            with m.Switch(self.symbol):
                with m.Case(Command.READ):
                    m.d.comb += [opens(Opened.READ), new.shows.eq(Shows.PAGE)]
                with (
                    m.Case(Command.READ_CACHE_CONFIRM),
                    m.If(confirmed(Opened.READ, 5) & old.caches),
                ):
                    m.d.comb += [
                        operates(ArrayOp.READ_CACHE_END, 1),
                        moves_up(),
                        self.senses_on.eq(1),
                    ]
                    with m.If(row_exists):
                        m.d.comb += self.op.eq(ArrayOp.READ_CACHE)
                with m.Case(Command.READ_CACHE_END), m.If(old.caches):
                    m.d.comb += [
                        operates(ArrayOp.READ_CACHE_END, 1),
                        moves_up(),
                        new.caches.eq(0),
                    ]
                with m.Case(Command.CHANGE_READ_COLUMN):
                    m.d.comb += opens(Opened.COLUMN)
                with m.Case(Command.CHANGE_READ_COLUMN_CONFIRM), m.If(confirmed(Opened.COLUMN, 2)):
                    m.d.comb += [new.word.eq(old.address[24:] >> 3), new.shows.eq(Shows.PAGE)]
                with m.Default(), m.If(at_rest):
                    self._command_at_rest(m, confirmed, opens, begins, operates, row_exists)

    def _command_at_rest(self, m, confirmed, opens, begins, operates, row_exists):
        """Commands that need the array."""
        old, new = self.state, self.next_state
        with m.Switch(self.symbol):
            with m.Case(Command.READ_CONFIRM), m.If(confirmed(Opened.READ, 5)):
                m.d.comb += [
                    operates(ArrayOp.READ, row_exists),
                    begins("read"),
                    new.word.eq(old.address[:16] >> 3),
                    new.caches.eq(1),
                ]
            with m.Case(Command.PROGRAM):
                m.d.comb += [
                    operates(ArrayOp.CLEAR, 1),
                    opens(Opened.PROGRAM),
                    new.caches.eq(0),
                ]
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
                    new.caches.eq(0),
                ]
            with m.Case(Command.READ_ID):
                m.d.comb += opens(Opened.ID)
