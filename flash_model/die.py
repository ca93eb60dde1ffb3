"""Bus behaviour of one NAND die: command latching, address cycles, status, busy times.

Commands (ONFI):

=============================  ====================================================================
RESET                          FFh; SYNCHRONOUS RESET FCh; RESET LUN FAh-3 addresses
identification                 READ ID 90h (00h: JEDEC, 20h: "ONFI"), READ PARAMETER PAGE ECh-00h,
                               READ UNIQUE ID EDh-00h
GET FEATURES, SET FEATURES     EEh, EFh-address-data: timing mode 01h, read retry 89h
READ STATUS                    70h; READ STATUS ENHANCED 78h-3 addresses
READ MODE                      00h
READ PAGE                      00h-5 addresses-30h; with more planes before it: -32h
READ PAGE CACHE                RANDOM 00h-5 addresses-31h, SEQUENTIAL 31h, END 3Fh
CHANGE READ COLUMN             05h-2 addresses-E0h; ENHANCED 06h-5 addresses-E0h
PROGRAM PAGE                   80h-5 addresses-data-10h, with CHANGE WRITE COLUMN 85h-2 addresses
                               more planes before it: 11h instead of 10h, then 80h or 81h
PROGRAM PAGE CACHE             the same with 15h, of one plane
COPYBACK                       00h-5 addresses-35h, 85h-5 addresses-(data)-10h
ERASE BLOCK                    60h-3 addresses-D0h; more planes before it 60h-3 addresses-D1h
suspend, resume                of a maker, see `flash_model.die_suspend`
=============================  ====================================================================

An address is 2 column and 3 row bytes, lowest first; columns count bytes and are taken as multiples
of 8. Row bits above those of the die's last row are the LUN: a chip enable has one, number 0. A
program or erase whose row lies outside the die fails (SR0), as does one that the array refuses.
70h tells of all planes that took part, 78h of the one that its row is in. A multi-plane command
that is left for another command than a status is forgotten.

Each plane of a die has two registers. The bus sees the cache register; the array works on the data
register behind it::

    array --tR--> data register --tRCBSY--> cache register --> bus
    array <--tPROG-- data register <--tPCBSY-- cache register <-- bus

`flash_model.die_reads` and `flash_model.die_programs` say how the two are used, and
`flash_model.die_setup` what the rest does. What is illegal is ignored and changes nothing:

========================  =========================================================================
R/B# low                  resets and both READ STATUS are taken
R/B# low, planes sense    (independent planes) also 00h and 30h, READ MODE, CHANGE READ COLUMN and
                          data output of planes at rest
R/B# high, array senses   also READ MODE, 31h, 3Fh, CHANGE READ COLUMN and data output
R/B# high, it programs    also READ MODE, CHANGE READ COLUMN, 80h, data input, 85h, 10h, 15h
both at rest              everything
========================  =========================================================================

R/B# is low from the clock after the confirming strobe (of a command, of the address of ECh, EDh,
EEh and FAh, of the data of EFh), for tWB and the operation's time, and what is left of the array's
operation before it, if that went on behind a ready cache register. After 31h and 15h the array then
works for tR or tPROG: ARDY (SR5) is low all the while, RDY (SR6) only as long as R/B#.

Registers and cells lie behind the array port (`flash_model.array_port`), which sees each operation
in the clock of its confirming strobe and has its verdict one clock later.

`Die` is the behaviour without the storage: from a die's state and a bus symbol to its next
state. One bus reaches one die at a time, so the dies of a channel share one behaviour, each with a
state and timers of its own (`flash_model.package`). Unselected dies then only count, which is what
makes a drive of 128 dies quick to simulate.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .array_port import PLANE_BITS, PLANES_MAX, ROW_BITS, ArrayOp
from .die_moment import Moment
from .die_programs import program_address, program_commands
from .die_reads import read_commands, sense_commands
from .die_setup import resets, setup_address, setup_commands, take_feature
from .die_state import Opened, Pins, Queue, Shows, Work, behind_bits, die_state, timer_bits
from .die_suspend import suspend_commands
from .onfi import JEDEC_ID, ONFI_ID, BusCycle, Command
from .parameter_page import EXTENDED_BYTES, PARAMETER_BYTES, PARAMETER_COPIES, UNIQUE_ID_BYTES

__all__ = ["Die"]


_INSIDE = {
    Queue.NONE: (Command.CHANGE_WRITE_COLUMN, Command.PROGRAM_CONFIRM),  # of a copy
    Queue.READ: (Command.READ, Command.READ_PLANE_CONFIRM, Command.READ_CONFIRM),
    Queue.PROGRAM: (
        Command.PROGRAM,
        Command.PROGRAM_PLANE,
        Command.CHANGE_WRITE_COLUMN,
        Command.PROGRAM_PLANE_CONFIRM,
        Command.PROGRAM_CONFIRM,
    ),
    Queue.ERASE: (Command.ERASE, Command.ERASE_PLANE_CONFIRM, Command.ERASE_CONFIRM),
}
"""What does not end a multi-plane command or a copy, besides the status."""


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
    left, kept : In
        Clocks that R/B# is still low, this one included, and what is left of what is suspended.
    behind : In
        Clocks that its array still works behind the cache register, this one included.
    verdict : In
        Planes of its array that have failed in the last program or erase.
    write_protect : In(1)
        WP# is low: programs and erases are ignored when they are confirmed.
    cycle, strobe, symbol : In
        Bus symbol, the clock in which it takes effect, and its lowest byte.
    next_state : Out(die_state())
        State after this clock; differs from ``state`` only with ``strobe``.
    starts : Out(1)
        The die gets busy, and what its array has said before is past ...
    busy_clocks : Out
        ... for so many clocks, from the next one on.
    behind_clocks : Out
        After them its array goes on for so many; 0: it is at rest then.
    keeps : Out(1)
        ``left`` is to be kept.
    verdict_then : Out
        With ``starts``: ``verdict`` from the next clock on, as long as the array says nothing.
    op_valid, op, op_row, op_plane, op_planes : Out
        Array operation, valid for one clock; see `ArrayPortSignature`.
    reg_read, reg_write : Out(1)
        The cache register of ``plane`` is read or written at ``column`` in this clock.
    plane : Out
        Plane that the bus sees.
    column : Out(16)
        Byte address in the cache register, a multiple of 8.
    answers : Out(1)
        A data output cycle shows ``answer`` instead of the cache register.
    answer : Out(64)
        Status byte (eight times), ID bytes, or the four bytes of a feature, 00h behind them.
    """

    def __init__(self, timing, geometry, clock_hz):
        self._timing, self._geometry, self._clock_hz = timing, geometry, clock_hz
        super().__init__(
            {
                "state": In(die_state(timing, geometry, clock_hz)),
                "ready": In(1),
                "left": In(timer_bits(timing, clock_hz)),
                "kept": In(timer_bits(timing, clock_hz)),
                "behind": In(behind_bits(timing, clock_hz)),
                "verdict": In(geometry.planes),
                "write_protect": In(1),
                "cycle": In(BusCycle),
                "strobe": In(1),
                "symbol": In(8),
                "next_state": Out(die_state(timing, geometry, clock_hz)),
                "starts": Out(1),
                "busy_clocks": Out(timer_bits(timing, clock_hz)),
                "behind_clocks": Out(behind_bits(timing, clock_hz)),
                "keeps": Out(1),
                "verdict_then": Out(geometry.planes),
                "op_valid": Out(1),
                "op": Out(ArrayOp),
                "op_row": Out(ROW_BITS),
                "op_plane": Out(PLANE_BITS),
                "op_planes": Out(PLANES_MAX),
                "reg_read": Out(1),
                "reg_write": Out(1),
                "plane": Out(PLANE_BITS),
                "column": Out(16),
                "answers": Out(1),
                "answer": Out(64),
            }
        )

    def elaborate(self, platform):
        m = Module()
        old, new = self.state, self.next_state
        moment = Moment(m, self, self._timing, self._geometry, self._clock_hz)
        in_page = old.word < self._geometry.page_words
        m.d.comb += [
            new.eq(old),
            # The top three bytes: after five cycles (read) and after three (erase).
            self.op_row.eq(old.address[16:]),
            self.column.eq(old.word << 3),
            self.plane.eq(old.plane),
            # Of the last row sensed, whose page a cache read moves.
            self.op_plane.eq(moment.plane_of(old.row)),
            self.op_planes.eq(old.queued),
        ]
        repeats = Const(0)  # the output begins again and has no end
        for shows, words in (
            (Shows.PARAMETERS, PARAMETER_BYTES // 8),
            (Shows.UNIQUE_ID, UNIQUE_ID_BYTES // 8),
        ):
            with m.If(old.shows == shows):
                m.d.comb += self.column.eq((old.word % words) << 3)
            repeats = repeats | (old.shows == shows)
        copies = PARAMETER_COPIES * PARAMETER_BYTES // 8
        with m.If((old.shows == Shows.PARAMETERS) & (old.word >= copies)):
            extended = (old.word - copies)[: len(old.word)] % (EXTENDED_BYTES // 8)
            m.d.comb += self.column.eq(PARAMETER_BYTES + (extended << 3))

        with m.If(self.strobe), m.Switch(self.cycle):
            with m.Case(BusCycle.COMMAND):
                self._command(m, moment)
            with m.Case(BusCycle.ADDRESS), m.If(old.opened != Opened.NONE):
                self._address(m, moment)
            with m.Case(BusCycle.WRITE):
                with m.If(moment.takes_data & in_page):
                    m.d.comb += [self.reg_write.eq(1), new.word.eq(old.word + 1)]
                with m.If(moment.confirmed(Opened.SET_FEATURES, 1)):
                    take_feature(m, moment)
            with m.Case(BusCycle.READ):
                register = repeats | ((old.shows == Shows.PAGE) & in_page)
                can_read = self.ready | moment.only_senses & moment.rests(old.plane)
                with m.If((old.pins == Pins.OUTPUT) & can_read & register):
                    m.d.comb += [self.reg_read.eq(1), new.word.eq(old.word + 1)]

        suspend_commands(m, moment, self._timing.suspend, self._clock_hz)
        self._answer(m, moment, repeats)
        return m

    def _answer(self, m, moment, repeats):
        """Data output that does not come from the cache register."""
        old = self.state
        failed, rests, ready = Signal(), Signal(), Signal()
        m.d.comb += [failed.eq(moment.failed), rests.eq(moment.at_rest), ready.eq(self.ready)]
        with m.If(old.pins == Pins.PLANE_STATUS):
            plane_rests = moment.rests(old.status_plane)
            m.d.comb += [
                failed.eq(old.no_row | self.verdict.bit_select(old.status_plane, 1)),
                rests.eq(plane_rests),
                ready.eq(self.ready | plane_rests),
            ]
        status = Cat(
            failed & rests,
            old.failed_before & self.ready,
            old.suspended != Work.NONE,
            Const(0, 2),
            rests,
            ready,
            ~self.write_protect,
        )
        m.d.comb += self.answers.eq(
            (old.pins != Pins.OUTPUT) | ~(repeats | (old.shows == Shows.PAGE))
        )
        with m.If((old.pins == Pins.STATUS) | (old.pins == Pins.PLANE_STATUS)):
            m.d.comb += self.answer.eq(status.replicate(8))
        with m.Elif(old.pins == Pins.RELEASED):
            m.d.comb += self.answer.eq(Const(1, 1).replicate(64))
        with m.Else(), m.Switch(old.shows):
            with m.Case(Shows.JEDEC):
                m.d.comb += self.answer.eq(int.from_bytes(JEDEC_ID, "little"))
            with m.Case(Shows.ONFI):
                m.d.comb += self.answer.eq(int.from_bytes(ONFI_ID, "little"))
            with m.Case(Shows.TIMING_MODE):
                m.d.comb += self.answer.eq(old.timing_mode)
            with m.Case(Shows.READ_RETRY):
                m.d.comb += self.answer.eq(old.retry)

    def _command(self, m, moment):
        """What a command byte does."""
        old, new = self.state, self.next_state
        with m.Switch(self.symbol):
            with m.Case(Command.RESET, Command.SYNCHRONOUS_RESET):
                resets(m, moment, everything=True)
                with m.If(self.symbol == Command.RESET):
                    m.d.comb += new.timing_mode.eq(0)
            with m.Case(Command.READ_STATUS):
                m.d.comb += new.pins.eq(Pins.STATUS)
            with m.Case(Command.READ_STATUS_ENHANCED):
                m.d.comb += moment.opens(Opened.STATUS_ENHANCED)
            with m.Case(Command.RESET_LUN):
                m.d.comb += moment.opens(Opened.RESET_LUN)
            with m.Default():
                with m.If(self.ready):
                    m.d.comb += new.opened.eq(Opened.NONE)
                    for queue, allowed in _INSIDE.items():
                        with m.If((old.queue == queue) & ~self.symbol.matches(*allowed)):
                            m.d.comb += moment.forgets()
                    with m.Switch(self.symbol):
                        read_commands(m, moment)
                        program_commands(m, moment)
                        setup_commands(m, moment)
                with m.Elif(moment.only_senses):
                    m.d.comb += new.opened.eq(Opened.NONE)
                    with m.Switch(self.symbol):
                        sense_commands(m, moment)

    def _address(self, m, moment):
        """What an address byte does."""
        old, new = self.state, self.next_state
        m.d.comb += [
            new.address.eq(Cat(old.address[8:], self.symbol)),
            new.count.eq(Mux(old.count == 7, 7, old.count + 1)),
        ]
        with m.Switch(old.opened):
            program_address(m, moment)
            with m.Case(Opened.STATUS_ENHANCED), m.If(old.count == 2):
                row = Cat(old.address[24:], self.symbol)
                m.d.comb += [
                    new.opened.eq(Opened.NONE),
                    new.pins.eq(Mux(moment.ours(row), Pins.PLANE_STATUS, Pins.RELEASED)),
                    new.status_plane.eq(moment.plane_of(row)),
                ]
            with m.Case(Opened.RESET_LUN), m.If(old.count == 2):
                m.d.comb += new.opened.eq(Opened.NONE)
                with m.If(moment.ours(old.address[24:], self.symbol)):
                    resets(m, moment, everything=False)
            setup_address(m, moment)
