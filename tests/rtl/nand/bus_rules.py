"""ONFI's rules as seen on a channel's bus, clock by clock: what a controller must never do.

Written from the times of the profile and the standard's text, not from the die model, which simply
ignores what is illegal.
"""

import math

from flash_model.timing import cycles
from rtl.nand.phy import Cycle

__all__ = ["BusRules"]

OLD = -(1 << 40)
BUSY_COMMANDS = (0x70, 0xFF)  # READ STATUS, RESET
ARRAY_COMMANDS = (0x30, 0x80, 0x60, 0x90, 0x10, 0xD0)  # need the array at rest
CONFIRMS = (0x30, 0x31, 0x3F, 0x10, 0xD0, 0xFF)  # R/B# falls after them


class _Die:
    def __init__(self):
        self.ready = True
        self.rose = OLD  # R/B#
        self.rest = OLD  # the array rests from here on
        self.confirmed = OLD
        self.senses = False  # 31h was given: tR begins when R/B# rises
        self.caches = False  # 31h and 3Fh may follow
        self.opened = None  # 00h, 05h, 80h, 60h or 90h, and its addresses
        self.addresses = 0
        self.output = OLD  # data output may begin
        self.shows_page = True


class BusRules:
    """Watches a bus.

    Parameters
    ----------
    profile : Profile
    clock_hz : int
    """

    def __init__(self, profile, clock_hz):
        def clocks(ns):
            return cycles(ns, clock_hz)

        t = profile.timing
        self.t = {
            name: clocks(getattr(t, f"t_{name}_ns"))
            for name in ("wc", "wb", "rr", "whr", "rhw", "adl", "ccs", "preamble", "r")
        }
        self.rate = t.bytes_per_clock(clock_hz)
        self.dies = [_Die() for _ in range(profile.geometry.dies)]
        self.last = OLD  # strobe of the symbol before
        self.last_read = OLD
        self.burst = None  # first clock of the data phase in progress, and its words
        self.commands = []  # (clock, die, byte)

    def observe(self, clock, die, cycle, strobe, byte, ready):
        """What the bus shows in this clock."""
        for index, state in enumerate(self.dies):
            was, state.ready = state.ready, bool(ready >> index & 1)
            if state.ready and not was:
                state.rose = clock
                state.rest = clock + (self.t["r"] if state.senses else 0)
                state.senses = False
        if cycle not in (Cycle.READ.value, Cycle.WRITE.value):
            self.burst = None
        elif self.burst is None:
            self.burst = [clock, 0]
            self._begins(clock, self.dies[die], cycle)
        if not strobe:
            return
        state = self.dies[die]
        if cycle == Cycle.COMMAND.value:
            self.commands.append((clock, die, byte))
            self._command(clock, state, byte)
        elif cycle == Cycle.ADDRESS.value:
            self._cycle(clock)
            assert state.opened is not None, f"clock {clock}: address without a command"
            state.addresses += 1
            if state.opened == 0x90:
                state.shows_page, state.output = False, clock + self.t["whr"]
            if state.opened == 0x80:
                state.output = clock + self.t["adl"]
        else:
            self.burst[1] += 1
            took = clock - self.burst[0] + 1
            assert took >= math.ceil(8 * self.burst[1] / self.rate), f"clock {clock}: too fast"
            if cycle == Cycle.READ.value:
                self.last_read = clock
        self.last = clock

    def _begins(self, clock, state, cycle):
        """A data phase begins."""
        if cycle == Cycle.WRITE.value:
            assert (state.opened, state.addresses) == (0x80, 5) and clock > state.output
            return
        preamble = self.t["preamble"]
        assert clock > self.last + preamble, f"clock {clock}: no preamble"
        assert clock > state.output + preamble, f"clock {clock}: tWHR or tCCS"
        assert clock > state.confirmed + self.t["wb"], f"clock {clock}: data within tWB"
        if state.shows_page:
            assert state.ready, f"clock {clock}: data output of a busy die"
            assert clock >= state.rose + self.t["rr"] + preamble, f"clock {clock}: tRR"

    def _cycle(self, clock):
        begin = clock - self.t["wc"] + 1
        assert begin > self.last, f"clock {clock}: shorter than tWC"
        return begin

    def _command(self, clock, state, byte):
        where = f"clock {clock}: {byte:02X}h"
        assert self._cycle(clock) > self.last_read + self.t["rhw"], f"{where} within tRHW"
        assert clock > state.confirmed + self.t["wb"], f"{where} within tWB"
        if byte not in BUSY_COMMANDS:
            assert state.ready, f"{where} while R/B# is low"
        if byte in ARRAY_COMMANDS:
            assert clock >= state.rest, f"{where} while the array senses"
        opened, state.opened = (state.opened, state.addresses), None
        match byte:
            case 0x00 | 0x05 | 0x80 | 0x60 | 0x90:
                state.opened, state.addresses = byte, 0
                if byte == 0x00:
                    state.shows_page, state.output = True, clock + self.t["whr"]
            case 0x30 | 0x31:
                assert opened == (0x00, 5), where
                assert byte == 0x30 or state.caches, f"{where} does not follow a read"
                state.caches, state.senses, state.output = True, byte == 0x31, OLD
            case 0x3F:
                assert state.caches, f"{where} does not follow a read"
                state.caches, state.shows_page, state.output = False, True, OLD
            case 0xE0:
                assert opened == (0x05, 2), where
                state.shows_page, state.output = True, clock + self.t["ccs"]
            case 0x10:
                assert opened == (0x80, 5), where
                state.caches = False
            case 0xD0:
                assert opened == (0x60, 3), where
                state.caches = False
            case 0x70:
                state.shows_page, state.output = False, clock + self.t["whr"]
            case 0xFF:
                state.caches, state.senses = False, False
            case _:
                raise AssertionError(f"{where} is unknown")
        if byte in CONFIRMS:
            state.confirmed = clock
            state.ready = False  # from the next clock on
