"""The protocol monitor on buses written by hand: legal ones pass, each violation is told alone.

`Script` keeps the times by itself; what a test breaks it breaks on purpose.
"""

import dataclasses

import pytest

from flash_model.monitor import RULES, ProtocolError, ProtocolMonitor
from flash_model.profiles import profile
from flash_model.suspend import Suspend

HZ = 100_000_000
BASE = profile("tiny")
FLASH = dataclasses.replace(
    BASE,
    timing=dataclasses.replace(
        BASE.timing,
        rate_mts=800,
        t_wc_ns=30,
        t_wb_ns=60,
        suspend=Suspend(t_susp_ns=100, erase_most=2, program_most=2),
    ),
)
# In clocks of 10 ns, from the numbers in the profile.
WC, WB, RR, WHR, RHW, ADL, CCS, PREAMBLE, R, PROG = 3, 6, 2, 3, 3, 3, 4, 1, 200, 300
COMMAND, ADDRESS, WRITE, READ = 1, 2, 3, 4


class Script:
    """A bus, clock by clock, and the monitor that watches it.

    With ``sparse`` it sees clocks with a strobe and those in which something has changed.
    """

    def __init__(self, planes=1, independent=False, sparse=False, **options):
        geometry = dataclasses.replace(FLASH.geometry, planes=planes, plane_independent=independent)
        flash = dataclasses.replace(FLASH, geometry=geometry)
        self.monitor = ProtocolMonitor(flash, HZ, **options)
        self.sparse = sparse
        self.shown = None
        self.clock = 0
        self.busy_until = [0, 0]
        self.write_protect = False

    def show(self, cycle=0, byte=0, strobe=0, die=0):
        ready = sum((self.clock >= until) << die for die, until in enumerate(self.busy_until))
        shown = die, cycle, strobe, byte, ready, self.write_protect
        if not self.sparse or strobe or shown != self.shown:
            self.monitor.observe(self.clock, *shown)
        self.shown = shown
        self.clock += 1

    def idle(self, clocks):
        for _ in range(clocks):
            self.show()
        return self

    def symbol(self, cycle, byte, die=0, clocks=WC):
        for left in range(clocks, 0, -1):
            self.show(cycle, byte, left == 1, die)

    def command(self, byte, die=0, clocks=WC):
        self.symbol(COMMAND, byte, die, clocks)
        return self

    def address(self, *row_or_column, die=0):
        for byte in row_or_column:
            self.symbol(ADDRESS, byte, die)
        return self

    def data(self, cycle, words, die=0, clocks=1):
        for _ in range(words):
            for left in range(clocks, 0, -1):
                self.show(cycle, 0, left == 1, die)
        return self

    def busy(self, clocks=50, die=0, wait=True):
        """R/B# falls, rises after ``clocks``, and the bus rests till then and tRR after."""
        self.busy_until[die] = self.clock + clocks
        return self.idle(clocks + RR) if wait else self

    def five(self, row=0, column=0):
        return self.address(column & 255, column >> 8, row & 255, row >> 8 & 255, row >> 16)

    def read(self, row=0, column=0):
        return self.command(0x00).five(row, column).command(0x30).busy()

    def begin_read(self, row, confirm=0x30):
        return self.command(0x00).five(row).command(confirm)

    def erase(self, row, confirm=0xD0):
        return self.command(0x60).address(row & 255, row >> 8, 0).command(confirm).busy()

    def out(self, words=1):
        return self.idle(PREAMBLE).data(READ, words)

    def program(self, row, confirm=0x10):
        self.command(0x80).five(row).idle(ADL).data(WRITE, 2).command(confirm)
        return self.busy(20 if confirm == 0x15 else 50)


def cached(s):
    """A page in the cache register, the array senses behind it."""
    return s.read().command(0x00).five(1).command(0x31).busy(10)


def legal():
    s = Script(page_order=True)
    s.command(0xFF).busy().command(0x70).idle(WHR).out().idle(RHW)
    s.command(0x90).address(0x20).idle(WHR).out().idle(RHW)
    s.command(0xEC).address(0).busy().out(96).idle(RHW)
    s.command(0x05).address(0x50, 0).command(0xE0).idle(CCS).out(2).idle(RHW)
    s.command(0xED).address(0).busy().out(4).idle(RHW)
    s.command(0xEF).address(1).idle(ADL).data(WRITE, 1).busy()
    s.command(0xEE).address(1).busy().out().idle(RHW)
    cached(s).out(68).idle(RHW)
    s.command(0x05).address(8, 0).command(0xE0).idle(CCS).out(67).idle(RHW)
    s.command(0x78).address(1, 0, 0).idle(WHR).out().idle(RHW)
    s.command(0x00).idle(WHR).command(0x31).busy(300).out(68).idle(RHW)
    s.command(0x3F).busy(300).out(68).idle(RHW)
    s.command(0x06).five(1, 16).command(0xE0).idle(CCS).out(66).idle(RHW)
    s.command(0x60).address(0, 0, 0).command(0xD0).busy()
    s.command(0x80).five(0).idle(ADL).data(WRITE, 68).command(0x85).address(8, 0).idle(CCS)
    s.data(WRITE, 67).command(0x15).busy(20)
    s.program(1, 0x15).program(3)
    s.command(0x60).address(0, 0, 0).command(0xD0).busy(wait=False).idle(WB)
    s.command(0x78).address(0, 0, 0).idle(WHR).out().idle(RHW).command(0xFC).busy()
    s.command(0xFA).address(0, 0, 0).busy()
    suspended(s).read(16).out().idle(RHW).command(0xD2).busy(wait=False).idle(WB)
    s.command(0x61).busy(10).command(0xD2).busy()
    s.program(16).command(0x86).busy(10).command(0xD1).busy()
    suspended(s).command(0xFF).busy()
    s.command(0x60).address(0, 0, 0).command(0xD0).busy()
    # Another die may be used in the middle of a sequence.
    s.command(0x00).address(0, 0, 0)
    s.command(0x70, die=1).idle(WHR + PREAMBLE).data(READ, 1, die=1).idle(RHW)
    s.address(0, 0).command(0x30).busy().out()
    return s


def test_a_legal_bus_has_no_violation():
    s = legal()
    assert s.monitor.violations == []
    s.monitor.check()
    assert len(s.monitor.commands) == 56


def swap(s, cycle):
    """The die changes while a symbol is on the bus."""
    s.show(cycle, 0x70, 0, die=0)
    s.symbol(cycle, 0x70, die=1)


def change(s):
    s.show(COMMAND, 0x70)
    s.command(0x00)


def leave(s):
    s.show(COMMAND, 0x70)
    s.idle(2)


def protected(s, act):
    s.write_protect = True
    act(s)


def two(s, *, independent=False):
    """The same bus with dies of two planes: block b lies in plane b % 2, 16 rows each."""
    s.monitor = Script(planes=2, independent=independent).monitor
    return s


def pages(s, opening, row, confirm):
    """One plane of a program."""
    s.command(opening).five(row).idle(ADL).data(WRITE, 2).command(confirm)
    return s.busy(20)


def copied(s, target, confirm=0x10):
    """A copy out of plane 0."""
    return two(s).begin_read(3, 0x35).busy().command(0x85).five(target).command(confirm)


def two_planes(s):
    """What dies of two planes allow."""
    two(s).begin_read(3, 0x32).busy(20).begin_read(16 + 3).busy().out().idle(RHW)
    s.command(0x06).five(3, 8).command(0xE0).idle(CCS).out(67).idle(RHW)
    pages(pages(s, 0x80, 5, 0x11), 0x81, 21, 0x10)
    pages(s, 0x80, 6, 0x11).command(0x70).idle(WHR).out().idle(RHW)
    s.command(0x78).address(6, 0, 0).idle(WHR).out().idle(RHW)
    pages(s, 0x80, 22, 0x10)
    s.erase(16, 0xD1).erase(37)  # no page number is asked for
    s.begin_read(3, 0x35).busy().out(68).idle(RHW)
    s.command(0x85).five(32 + 9).command(0x10).busy()
    s.begin_read(3, 0x35).busy().command(0x85).five(32 + 10, 8).idle(ADL).data(WRITE, 1)
    s.command(0x85).address(64, 0).idle(CCS).data(WRITE, 1).command(0x10).busy()
    s.begin_read(3, 0x32).busy(20).command(0xFF).busy()
    return s.read(5).command(0x31).busy(10).out()


def side_by_side(s, wait=0):
    """Plane 1 begins to read ``wait`` clocks after R/B# has fallen for plane 0, both for tR."""
    two(s, independent=True).begin_read(3).busy(WB + R, wait=False).idle(WB + wait)
    s.begin_read(16 + 9).busy(WB + R, wait=False).idle(WB)
    return s


VIOLATIONS = {
    "a plane of a multi-plane read too early": (
        "R/B#",
        lambda s: two(s).begin_read(3, 0x32).busy(20, wait=False).idle(WB).command(0x00),
    ),
    "a read beside another, of planes that are not independent": (
        "R/B#",
        lambda s: two(s).begin_read(3).busy(WB + R, wait=False).idle(WB).begin_read(16),
    ),
    "a read of a plane that senses": (
        "R/B#",
        lambda s: side_by_side(s).begin_read(5),
    ),
    "a program of a plane that rests while another senses": (
        "R/B#",
        lambda s: side_by_side(s, R).command(0x80),
    ),
    "output of a plane that senses": (
        "R/B#",
        lambda s: side_by_side(s, 50).idle(R - 60).out(),
    ),
    "a read beside a parameter page": (
        "R/B#",
        lambda s: (
            two(s, independent=True)
            .command(0xEC)
            .address(0)
            .busy(WB + R, wait=False)
            .idle(WB)
            .command(0x00)
        ),
    ),
    "a multi-plane program behind a cache program": (
        "array",
        lambda s: pages(pages(two(s), 0x80, 1, 0x15), 0x80, 2, 0x11),
    ),
    "35h after four addresses": (
        "confirmation",
        lambda s: s.command(0x00).address(0, 0, 0, 0).command(0x35),
    ),
    "85h for a copy after 30h": ("confirmation", lambda s: s.read().command(0x85)),
    "a second copy of one 35h": (
        "confirmation",
        lambda s: copied(s, 32 + 4).busy().command(0x85),
    ),
    "a copy left for a read": ("broken off", lambda s: copied(s, 5, 0x00)),
    "a multi-plane read left for a program": (
        "multi-plane",
        lambda s: two(s).begin_read(3, 0x32).busy(20).command(0x80),
    ),
    "a multi-plane program left for an erase": (
        "multi-plane",
        lambda s: pages(two(s), 0x80, 3, 0x11).command(0x60),
    ),
    "a multi-plane erase left for a read": (
        "multi-plane",
        lambda s: two(s).erase(3, 0xD1).command(0x00),
    ),
    "81h outside of a multi-plane program": (
        "multi-plane",
        lambda s: two(s).command(0x81),
    ),
    "a multi-plane program that ends with 15h": (
        "multi-plane",
        lambda s: pages(pages(two(s), 0x80, 3, 0x11), 0x81, 16 + 3, 0x15),
    ),
    "a plane read twice": (
        "same plane",
        lambda s: two(s).begin_read(3, 0x32).busy(20).begin_read(32 + 3),
    ),
    "a plane programmed twice": (
        "same plane",
        lambda s: pages(pages(two(s), 0x80, 3, 0x11), 0x81, 32 + 3, 0x10),
    ),
    "a plane erased twice": ("same plane", lambda s: two(s).erase(3, 0xD1).erase(35)),
    "a read of two page numbers": (
        "page number",
        lambda s: two(s).begin_read(3, 0x32).busy(20).begin_read(16 + 4),
    ),
    "a program of two page numbers": (
        "page number",
        lambda s: pages(pages(two(s), 0x80, 3, 0x11), 0x81, 16 + 2, 0x10),
    ),
    "a copy into another plane": ("copyback", lambda s: copied(s, 16 + 3)),
    "a copy with 11h": ("copyback", lambda s: copied(s, 5, 0x11)),
    "a copy with 15h": ("copyback", lambda s: copied(s, 5, 0x15)),
    "a second plane while protected": (
        "WP#",
        lambda s: protected(s, lambda s: pages(two(s), 0x80, 3, 0x11)),
    ),
    "a byte that is no command": ("unknown command", lambda s: s.command(0x42)),
    "a read of a busy die": (
        "R/B#",
        lambda s: s.command(0xFF).busy(wait=False).idle(WB).command(0x00),
    ),
    "an ID of a busy die": (
        "R/B#",
        lambda s: s.command(0xFF).busy(wait=False).idle(WB).command(0x90),
    ),
    "output of a busy die": (
        "R/B#",
        lambda s: (
            s.read().command(0x00).five().command(0x30).busy(wait=False).idle(9).data(READ, 1)
        ),
    ),
    "30h behind a sensing": (
        "array",
        lambda s: cached(s).command(0x00).five(2).command(0x30),
    ),
    "80h behind a sensing": ("array", lambda s: cached(s).command(0x80)),
    "an erase behind a sensing": ("array", lambda s: cached(s).command(0x60)),
    "a feature behind a sensing": ("array", lambda s: cached(s).command(0xEE)),
    "a parameter page behind a program": (
        "array",
        lambda s: s.program(0, 0x15).command(0xEC),
    ),
    "30h without a read": ("confirmation", lambda s: s.command(0x30)),
    "30h after four addresses": (
        "confirmation",
        lambda s: s.command(0x00).address(0, 0, 0, 0).command(0x30),
    ),
    "31h after three addresses": (
        "confirmation",
        lambda s: s.read().command(0x00).address(0, 0, 0).command(0x31),
    ),
    "D0h after a read": ("confirmation", lambda s: s.command(0x00).five().command(0xD0)),
    "10h without a program": ("confirmation", lambda s: s.command(0x10)),
    "85h without a program": ("confirmation", lambda s: s.command(0x85)),
    "E0h after one address": (
        "confirmation",
        lambda s: s.read().command(0x05).address(0).command(0xE0),
    ),
    "a program left for a read": (
        "broken off",
        lambda s: s.command(0x80).five().idle(ADL).data(WRITE, 1).command(0x00),
    ),
    "a program left for a status": (
        "broken off",
        lambda s: s.command(0x80).five().idle(ADL).data(WRITE, 1).command(0x78),
    ),
    "an erase left for another": (
        "broken off",
        lambda s: s.command(0x60).address(0, 0, 0).command(0x60),
    ),
    "a feature without its data": ("broken off", lambda s: s.command(0xEF).address(1).command(0)),
    "a sixth address": ("address", lambda s: s.command(0x00).five().address(0)),
    "an address without a command": ("address", lambda s: s.address(0)),
    "an address after READ STATUS": ("address", lambda s: s.command(0x70).address(0)),
    "3Fh first": ("no read before", lambda s: s.command(0x3F)),
    "31h first": ("no read before", lambda s: s.command(0x31)),
    "31h after 3Fh": (
        "no read before",
        lambda s: s.read().command(0x3F).busy().command(0x00).five().command(0x31),
    ),
    "3Fh after a program": ("no read before", lambda s: s.read().program(0).command(0x3F)),
    "data before the last address": (
        "no program before",
        lambda s: s.command(0x80).address(0, 0, 0, 0).idle(ADL).data(WRITE, 1),
    ),
    "data after the confirmation": (
        "no program before",
        lambda s: s.program(0).data(WRITE, 1),
    ),
    "two words of a feature": (
        "no program before",
        lambda s: s.command(0xEF).address(1).idle(ADL).data(WRITE, 2),
    ),
    "output before anything": ("nothing to output", lambda s: s.out()),
    "output after a program": ("nothing to output", lambda s: s.program(0).out()),
    "output between addresses": (
        "nothing to output",
        lambda s: s.read().command(0x05).address(0).out(),
    ),
    "a word too many in": (
        "page",
        lambda s: s.command(0x80).five(column=16).idle(ADL).data(WRITE, 67),
    ),
    "a word too many out": ("page", lambda s: s.read(column=8).out(68)),
    "a word too many after a change of column": (
        "page",
        lambda s: s.read().command(0x05).address(0x18, 2).command(0xE0).idle(CCS).out(2),
    ),
    "an odd column": ("column", lambda s: s.command(0x00).five(column=4)),
    "a column outside": ("column", lambda s: s.command(0x80).five(column=544)),
    "a row outside": ("row", lambda s: s.command(0x00).five(row=1024)),
    "an erase outside": ("row", lambda s: s.command(0x60).address(0, 4, 0)),
    "the row behind the last": ("row", lambda s: s.read(row=1023).command(0x31)),
    "a program while protected": (
        "WP#",
        lambda s: protected(s, lambda s: s.program(0)),
    ),
    "an erase while protected": (
        "WP#",
        lambda s: protected(s, lambda s: s.command(0x60).address(0, 0, 0).command(0xD0)),
    ),
    "another die in a command": ("chip enable", lambda s: swap(s, COMMAND)),
    "another die in a data phase": (
        "chip enable",
        lambda s: s.read().out().data(READ, 1, die=1),
    ),
    "a byte that changes": ("symbol", change),
    "a byte without a strobe": ("symbol", leave),
    "data too fast": ("rate", lambda s: slow_bus(s)),
    "a short command": ("tWC", lambda s: s.command(0x70, clocks=WC - 1)),
    "a status within tWB": (
        "tWB",
        lambda s: s.command(0xFF).busy(wait=False).command(0x70),
    ),
    "a command after output": ("tRHW", lambda s: s.read().out().idle(RHW - WC).command(0x70)),
    "a status too early": ("tWHR", lambda s: s.command(0x70).idle(WHR - 1).out()),
    "an enhanced status too early": (
        "tWHR",
        lambda s: s.command(0x78).address(0, 0, 0).idle(WHR - 1).out(),
    ),
    "an ID too early": ("tWHR", lambda s: s.command(0x90).address(0).idle(WHR - 1).out()),
    "a column too early": (
        "tCCS",
        lambda s: s.read().command(0x05).address(0, 0).command(0xE0).idle(CCS - 1).out(),
    ),
    "a write column too early": (
        "tCCS",
        lambda s: (
            s.command(0x80)
            .five()
            .idle(ADL)
            .command(0x85)
            .address(0, 0)
            .idle(CCS - 1)
            .data(WRITE, 1)
        ),
    ),
    "output right after R/B#": (
        "tRR",
        lambda s: s.command(0x00).five().command(0x30).busy(wait=False).idle(50 + RR - 1).out(),
    ),
    "data too early": ("tADL", lambda s: s.command(0x80).five().idle(ADL - 1).data(WRITE, 1)),
    "a feature too early": (
        "tADL",
        lambda s: s.command(0xEF).address(1).idle(ADL - 1).data(WRITE, 1),
    ),
    "no preamble": ("preamble", lambda s: s.read().command(0x70, die=1).data(READ, 1)),
    "pages backwards": (
        "page order",
        lambda s: erased(s).program(1).program(0),
    ),
    "suspend of nothing": ("suspend", lambda s: s.idle(9).command(0x61)),
    "suspend of a read": ("suspend", lambda s: s.read().command(0x61)),
    "suspend of another": ("suspend", lambda s: erased(s).command(0x86)),
    "resume of nothing": ("unknown command", lambda s: erased(s).command(0xD2)),
    "resume of another": ("suspend", lambda s: suspended(s).command(0xD1)),
    "resume too early": (
        "R/B#",
        lambda s: (
            suspended(s)
            .read(16)
            .command(0x00)
            .five(17)
            .command(0x30)
            .busy(wait=False)
            .idle(WB)
            .command(0xD2)
        ),
    ),
    "resume over the array": (
        "array",
        lambda s: suspended(s).read(16).command(0x00).five(17).command(0x31).busy(10).command(0xD2),
    ),
    "suspend in a sequence": ("broken off", lambda s: erased(s).command(0x05).command(0x61)),
    "program of a suspended die": ("suspend", lambda s: suspended(s).command(0x80)),
    "erase of a suspended die": ("suspend", lambda s: suspended(s).command(0x60)),
    "read of a suspended block": ("suspend", lambda s: suspended(s).command(0x00).five(15)),
    "read of a block suspended with another": (
        "suspend",
        lambda s: two_suspended(s).command(0x00).five(15),
    ),
    "copyback of a suspended die": (
        "suspend",
        lambda s: suspended(s).begin_read(16, 0x35).busy().command(0x85),
    ),
    "suspend of a cache program": ("suspend", lambda s: s.program(0, 0x15).command(0x86)),
    "suspend between planes": ("multi-plane", lambda s: two(s).erase(0, 0xD1).command(0x61)),
    "resume between planes": (
        "multi-plane",
        lambda s: two_suspended(s).begin_read(32, 0x32).busy().command(0xD2),
    ),
    "a page twice": ("page order", lambda s: erased(s).program(1).program(1)),
}


def suspended(s):
    """An erase of block 0 is."""
    s.command(0x60).address(0, 0, 0).command(0xD0).busy(wait=False).idle(WB)
    return s.command(0x61).busy(10)


def two_suspended(s):
    """An erase of blocks 0 and 1, of two planes, is."""
    two(s).erase(0, 0xD1).command(0x60).address(16, 0, 0).command(0xD0).busy(wait=False).idle(WB)
    return s.command(0x61).busy(10)


def erased(s):
    return s.command(0x60).address(0, 0, 0).command(0xD0).busy()


def slow_bus(s):
    """Half the rate: a word takes two clocks."""
    slow = dataclasses.replace(FLASH, timing=dataclasses.replace(FLASH.timing, rate_mts=400))
    s.monitor = ProtocolMonitor(slow, HZ)
    s.read().out()


def test_every_rule_has_a_violation():
    assert {rule for rule, _ in VIOLATIONS.values()} == set(RULES)
    assert len(RULES) == 30
    assert len(VIOLATIONS) == 103


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_told_by_its_rule(name):
    rule, act = VIOLATIONS[name]
    s = Script(page_order=True)
    act(s)
    told = [violation.rule for violation in s.monitor.violations]
    assert told[:1] == [rule], s.monitor.violations
    with pytest.raises(ProtocolError, match=f"violations:\nclock .*, die .: {rule}: "):
        s.monitor.check()


@pytest.mark.parametrize("name", VIOLATIONS)
def test_clocks_in_which_nothing_changes_may_be_left_out(name):
    seen = []
    for sparse in (False, True):
        s = Script(sparse=sparse, page_order=True)
        VIOLATIONS[name][1](s)
        seen.append((s.monitor.violations, s.monitor.commands, s.monitor.pages_out))
    assert seen[0] == seen[1]


def test_a_pin_that_never_falls_says_ready_once_it_says_something():
    """A confirmed command took no time: nothing changes in the clock in which R/B# counts again."""
    roses = []
    for sparse in (False, True):
        s = Script(sparse=sparse)
        s.erase(0).command(0x61).idle(40).command(0x70)
        roses.append(s.monitor.dies[0].rose)
    assert roses[0] == roses[1] == s.clock - WC - 40 + WB


def test_outputs_of_pages_are_counted():
    s = cached(Script())
    s.command(0x70).idle(WHR).out().idle(RHW).command(0x00).idle(WHR).out(3).idle(RHW)
    s.command(0x05).address(8, 0).command(0xE0).idle(CCS).out(2).idle(RHW)
    s.command(0x90).address(0x20).idle(WHR).out()
    assert s.monitor.pages_out == 2


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.command(0x70, clocks=WC),
        lambda s: s.command(0x70).idle(WHR).out(),
        lambda s: s.read().out().idle(RHW),
        lambda s: s.command(0x80).five().idle(ADL).data(WRITE, 1),
        lambda s: s.command(0x00).five().command(0x30).busy(wait=False).idle(50 + RR).out(),
        lambda s: s.read(column=8).out(67),
        lambda s: erased(s).program(1).program(2),
        lambda s: cached(s).idle(R).command(0x00).five(2).command(0x30),
        lambda s: s.program(0, 0x15).idle(PROG).command(0xEC),
        two_planes,
        lambda s: two_suspended(s).read(32).read(48).command(0xD2).busy().program(1),
        lambda s: side_by_side(s, R - 4 * WC).begin_read(5),
        lambda s: side_by_side(s, 50).idle(RR).command(0x06).five(3).command(0xE0).idle(R).out(),
    ],
)
def test_the_same_just_legal(act):
    s = Script(page_order=True)
    act(s)
    s.monitor.check()
