"""The protocol monitor: what a channel's bus shows, clock by clock, against `rules` and times.

::

    symbols of the bus, R/B#, WP# --observe--> WatchedDie of the die that is selected --> violations
"""

import math

from ..timing import cycles
from .commands import (
    ALONE,
    AT_ANY_TIME,
    COPYBACK_PROGRAM,
    ENDS,
    NEED_REST,
    OPENINGS,
    PROGRAM,
    RESETS,
    WHILE_SENSING,
    WITH_ROW,
)
from .die import WatchedDie
from .planes import INSIDE
from .rules import RULES, ProtocolError, Violation

__all__ = ["ProtocolMonitor"]

_LONG_AGO = -(1 << 40)
_NAMES = ("wc", "wb", "rr", "whr", "rhw", "adl", "ccs", "preamble", "r", "prog")
_IDLE, _COMMAND, _ADDRESS, _WRITE, _READ = range(5)  # values of `BusCycle`


class ProtocolMonitor:
    """Watches the bus of one channel.

    Parameters
    ----------
    profile : Profile
        Geometry and times that are to be kept.
    clock_hz : int
        Core clock.
    page_order : bool
        Check the order of programs inside a block, from its first erase that was seen on.

    Attributes
    ----------
    violations : list of Violation
        In the order of their clocks.
    commands : list of (int, int, int)
        Clock, die and byte of each command.
    pages_out : int
        Data phases that were output of a page.
    """

    def __init__(self, profile, clock_hz, *, page_order=False):
        t = profile.timing
        self.t = {name: cycles(getattr(t, f"t_{name}_ns"), clock_hz) for name in _NAMES}
        self.rate = t.bytes_per_clock(clock_hz)
        self.geometry = profile.geometry
        self.page_order = page_order
        s = t.suspend
        self._suspends = {s.erase_suspend: "erase", s.program_suspend: "program"} if s else {}
        self._resumes = {s.erase_resume: "erase", s.program_resume: "program"} if s else {}
        self.dies = [WatchedDie() for _ in range(profile.geometry.dies)]
        self.violations: list[Violation] = []
        self.commands: list[tuple[int, int, int]] = []
        self.pages_out = 0
        self._clock, self._die = 0, 0
        self._last = _LONG_AGO  # strobe of the symbol before
        self._last_read = _LONG_AGO
        # Die, cycle and byte on the bus, and the first clock that had them.
        self._shown: tuple[tuple[int, int, int], int] = ((0, _IDLE, 0), _LONG_AGO)
        # First clock of the data phase in progress, its words and its die.
        self._burst: list[int] | None = None
        self._programmed: dict[tuple[int, int], int] = {}  # die, block -> next page to program

    def check(self):
        """Raise `ProtocolError` with the first violations, if there are any."""
        if self.violations:
            shown = "\n".join(str(violation) for violation in self.violations[:10])
            raise ProtocolError(f"{len(self.violations)} violations:\n{shown}")

    def observe(self, clock, die, cycle, strobe, byte, ready, write_protect=False):
        """What the bus shows in a clock, before its edge.

        Parameters
        ----------
        clock : int
            Ascending; clocks without a strobe in which nothing changes may be left out.
        die : int
            Chip enable.
        cycle : int
            `BusCycle` value.
        strobe : bool
        byte : int
            Lowest byte of the data lines.
        ready : int
            R/B# of the dies, one bit each, 1 = ready.
        write_protect : bool
            WP# is low.
        """
        self._clock, self._die = clock, die
        for index, state in enumerate(self.dies):
            # Within tWB of a confirmation R/B# says nothing.
            state.sees(clock, bool(ready >> index & 1), state.confirmed + self.t["wb"] + 1)
        self._hold(die, cycle, byte)
        state = self.dies[die]
        if cycle not in (_READ, _WRITE):
            self._burst = None
        elif self._burst is None:
            self._burst = [clock, 0, die]
            self._data_begins(state, cycle)
        elif self._burst[2] != die:
            self._wrong("chip enable", f"die {self._burst[2]} had the data phase")
            self._burst[2] = die
        if not strobe:
            return
        if cycle == _COMMAND:
            self.commands.append((clock, die, byte))
            self._command(state, byte, write_protect)
        elif cycle == _ADDRESS:
            self._symbol_time()
            self._address(state, byte)
        elif self._burst is not None:
            self._word(state, cycle, self._burst)
        self._last = clock

    def _wrong(self, rule, text):
        assert rule in RULES
        self.violations.append(Violation(self._clock, self._die, rule, text))

    def _unless(self, ok, rule, text):
        if not ok:
            self._wrong(rule, text)

    def _hold(self, die, cycle, byte):
        """A symbol stays as it is until its strobe."""
        shown = (die, cycle, byte if cycle in (_COMMAND, _ADDRESS) else 0)
        inside = self._last < self._shown[1]
        if shown != self._shown[0] or not inside:
            if inside and self._shown[0][1] in (_COMMAND, _ADDRESS):
                was_die, _, was_byte = self._shown[0]
                if was_die != die:
                    self._wrong("chip enable", f"die {was_die} had byte {was_byte:02X}h")
                else:
                    self._wrong("symbol", f"{was_byte:02X}h has gone without its strobe")
            self._shown = (shown, self._clock)

    def _symbol_time(self):
        """First clock of a command or address cycle that ends here."""
        begin = self._clock - self.t["wc"] + 1
        since = self._shown[1]
        self._unless(begin >= since, "tWC", f"begun in clock {since}")
        return begin

    def _data_begins(self, state, cycle):
        clock, t = self._clock, self.t
        if cycle == _WRITE:
            self._unless(clock > state.data_from, state.data_rule, "data after an address")
            return
        begin = clock - t["preamble"]
        self._unless(begin > self._last, "preamble", "data after another symbol")
        self._unless(begin > state.output_from, state.output_rule, "data output")
        self._unless(clock > state.confirmed + t["wb"], "tWB", "data output")
        self._unless(not state.is_begun, "nothing to output", f"inside {state.described()}")
        if not state.shows_status:
            self.pages_out += state.shows_page
            self._unless(state.has_output, "nothing to output", "nothing was read")
            rests = state.planes.at_rest(state.planes.shown, begin - t["rr"])
            self._unless(state.ready or rests, "R/B#", "data output of a busy die")
            self._unless(begin >= state.rose + t["rr"], "tRR", f"R/B# rose in clock {state.rose}")

    def _word(self, state, cycle, burst):
        burst[1] += 1
        took = self._clock - burst[0] + 1
        least = math.ceil(8 * burst[1] / self.rate)
        self._unless(took >= least, "rate", f"{burst[1]} words in {took} clocks")
        if cycle == _READ:
            self._last_read = self._clock
            if state.shows_page:
                self._advance(state)
        elif state.sequence == 0xEF and state.addresses == 1:
            state.planes.forget()
            state.confirm(self._clock)
        elif state.takes_data:
            self._advance(state)
        else:
            self._wrong("no program before", "data input")

    def _advance(self, state):
        self._unless(
            state.word < self.geometry.page_words, "page", f"word {state.word} of the page"
        )
        state.word += 1

    def _address(self, state, byte):
        opening = OPENINGS.get(state.sequence)
        if opening is None or state.addresses == opening.addresses:
            return self._wrong("address", f"{byte:02X}h, no command waits for it")
        state.address = (*state.address, byte)
        if state.addresses < opening.addresses:
            return None
        # The last address cycle.
        sequence, t = state.sequence, self.t
        if sequence in (0x00, *WITH_ROW, 0x60, 0x78, 0xFA, 0x06):
            rows = state.address[-3:]
            state.row = int.from_bytes(bytes(rows), "little")
            self._unless(state.row < self.geometry.rows, "row", f"{state.row}")
            if sequence == 0x00 and state.suspended:
                block = state.row // self.geometry.pages
                blocks = [row // self.geometry.pages for row in state.suspended[1]]
                self._unless(block not in blocks, "suspend", f"read of block {block}")
        if sequence in (0x00, 0x05, 0x06, 0x85, *WITH_ROW):
            column = state.address[0] | state.address[1] << 8
            fits = column % 8 == 0 and column < self.geometry.page_total
            self._unless(fits, "column", f"{column}")
            state.column = column // 8
        match sequence:
            case _ if sequence == 0x85 or sequence in WITH_ROW:
                state.word = state.column
                late = "ccs" if sequence == 0x85 else "adl"
                state.data_from, state.data_rule = self._clock + t[late], f"t{late.upper()}"
            case 0xEF:
                state.data_from, state.data_rule = self._clock + t["adl"], "tADL"
            case 0x90:
                state.shows("id", self._clock + t["whr"])
            case 0x78:
                state.shows("status", self._clock + t["whr"])
            case 0xEC | 0xED | 0xEE:
                state.planes.forget()
                state.confirm(self._clock, holds="factory")
            case 0xFA:
                state.planes.forget()
                state.confirm(self._clock)
        return None

    def _command(self, state, byte, write_protect):
        clock, t = self._clock, self.t
        name = f"{byte:02X}h"
        self._unless(self._symbol_time() > self._last_read + t["rhw"], "tRHW", name)
        self._unless(clock > state.confirmed + t["wb"], "tWB", name)
        if byte in self._suspends or (byte in self._resumes and state.suspended):
            return self._suspension(state, byte, name)
        if byte not in OPENINGS and byte not in ENDS and byte not in ALONE:
            return self._wrong("unknown command", name)
        if byte not in AT_ANY_TIME:
            self._unless(state.ready or self._may_sense(state, byte), "R/B#", name)
        may_program = byte in PROGRAM and state.cache_programs
        if byte in NEED_REST or byte in PROGRAM:
            self._unless(may_program or clock >= state.rests(t), "array", name)

        opening = OPENINGS.get(state.sequence)
        alone = byte == 0x31 and not (state.sequence == 0x00 and state.addresses)
        ends = bool(opening and state.addresses == opening.addresses and byte in opening.ends)
        copies = byte == 0x85 and not ends and state.planes.source is not None
        if (byte in ENDS or byte == 0x85) and not alone and not ends and not copies:
            self._wrong("confirmation", f"{name} after {state.described()}")
        elif not ends and byte not in (0x70, 0xFA, *RESETS) and state.is_begun:
            self._wrong("broken off", f"{name} after {state.described()}")
        self._planes(state, byte, name)
        if byte in (0x10, 0x11, 0x15, 0xD0, 0xD1):
            self._unless(not write_protect, "WP#", name)
        if byte in (0x31, 0x3F):
            self._unless(state.caches, "no read before", name)
        if byte in (0x80, 0x81, 0x60) or copies:
            self._unless(state.suspended is None, "suspend", f"{name} while one is suspended")
        if byte in (*RESETS, 0xFA):
            state.suspended = None
        self._take(state, COPYBACK_PROGRAM if copies else byte, alone)
        return None

    def _suspension(self, state, byte, name):
        """A maker's command. One that comes just after its operation has ended does nothing."""
        self._unless(not state.is_begun, "broken off", f"{name} after {state.described()}")
        self._unless(state.planes.queue is None, "multi-plane", f"{name} inside one")
        if kind := self._suspends.get(byte):
            stops, goes_on = state.work, None
            self._unless(stops is not None and stops[0] == kind, "suspend", f"{name}, no {kind}")
        else:
            self._unless(
                state.suspended[0] == self._resumes[byte], "suspend", f"{name}, {state.suspended}"
            )
            self._unless(state.ready, "R/B#", name)
            self._unless(self._clock >= state.rests(self.t), "array", name)
            stops, goes_on = None, state.suspended
        state.confirm(self._clock)
        state.suspended, state.work = stops, goes_on
        state.planes.forget()

    def _may_sense(self, state, byte):
        """A command for an independent plane that rests, while others sense."""
        if not self.geometry.plane_independent or byte not in WHILE_SENSING:
            return False
        if byte != 0x30:
            return state.planes.senses
        plane = self.geometry.plane(state.row)
        return not state.planes.queue and state.planes.at_rest(plane, self._clock)

    def _planes(self, state, byte, name):
        """Rules for several planes."""
        planes, plane = state.planes, self.geometry.plane(state.row)
        if planes.queue is not None and byte not in (*INSIDE[planes.queue], *AT_ANY_TIME):
            self._wrong("multi-plane", f"{name} inside one")
            planes.forget()
        elif byte == 0x81 and planes.queue != 0x11:
            self._wrong("multi-plane", f"{name} without 11h before")
        if byte in (0x10, 0x11, 0x15) and planes.source is not None:
            self._unless(byte == 0x10, "copyback", name)
            self._unless(plane == planes.source, "copyback", f"plane {planes.source} to {plane}")
        if byte in INSIDE or (planes.queue is not None and byte in (0x30, 0x10, 0xD0)):
            erases = byte in (0xD0, 0xD1)
            if rule := planes.joins(plane, state.row, self.geometry.pages, pages_agree=not erases):
                self._wrong(rule, f"row {state.row} of plane {plane}")

    def _take(self, state, byte, alone):
        """Change the picture of the die."""
        clock, t = self._clock, self.t
        planes, plane = state.planes, self.geometry.plane(state.row)
        rows = (*planes.queued.values(), state.row)
        alone_before = not planes.queued and (state.ready or not planes.senses)
        if byte not in OPENINGS and byte not in (0x70, 0xE0):
            planes.confirmed(byte, plane, clock + t["wb"] + t["r"] + 1)
        if byte == 0x70:
            return state.shows("status", clock + t["whr"])
        if byte in OPENINGS:
            if byte in (0x80, 0x81):
                planes.source = None
            state.opens(byte)
            if byte == 0x00:
                state.shows("data", clock + t["whr"])
            return None
        match byte:
            case 0x30:
                state.confirm(clock, holds="page", caches=alone_before)
                state.sensed, state.word = state.row, state.column
            case 0x35:
                state.confirm(clock, holds="page")
                state.word = state.column
            case 0x31:
                state.confirm(clock, holds="page", caches=True, behind="r")
                state.sensed, state.word = state.sensed + 1 if alone else state.row, 0
                self._unless(state.sensed < self.geometry.rows, "row", f"{state.sensed}")
            case 0x3F:
                state.confirm(clock, holds="page")
                state.word = 0
            case 0xE0:
                state.word = state.column
                if state.sequence == 0x06:
                    planes.shown = plane
                state.shows("column", clock + t["ccs"])
                state.sequence = None
            case 0x10 | 0x11 | 0x15:
                self._order(state.row)
                state.confirm(clock, behind="prog" if byte == 0x15 else None)
                if byte == 0x10:
                    state.work = ("program", rows)
            case 0xD0 | 0xD1:
                self._programmed[self._die, state.row // self.geometry.pages] = 0
                state.confirm(clock)
                if byte == 0xD0:
                    state.work = ("erase", rows)
            case _:
                state.confirm(clock)
        return None

    def _order(self, row):
        block, page = divmod(row, self.geometry.pages)
        expected = self._programmed.get((self._die, block))
        if self.page_order and expected is not None:
            self._unless(page >= expected, "page order", f"page {page} of block {block}")
            self._programmed[self._die, block] = page + 1
