"""Bus and busy time of every operation against closed forms, at each data rate.

Forms are written out here from ONFI's sequences, apart from those of `host.bench.flash_bound`,
which must say the same. What the controller adds to choose what comes next is in `CHOICE`.
"""

import dataclasses
import math
from fractions import Fraction

import pytest

from flash_model.onfi import BusCycle
from flash_model.profiles import profile
from host.bench.flash_bound import ChannelClocks, turnaround_ns
from host.bench.flash_cases import RATES, FlashCase, flash_profile
from host.bench.flash_measure import measure_flash
from rtl.nand.operations import NandOp
from tests.rtl.nand.test_controller import OVERHEAD

HZ = 310_000_000  # 2400 MT/s bring less than 8 bytes a clock, and few times are whole clocks
WORDS = 37
CHOICE = 3
"""Clocks from a die's being known ready to the first clock of its next sequence."""

PAPER = profile("paper").timing
SHORTER = {"t_r_ns": 3_001, "t_prog_ns": 5_003, "t_bers_ns": 7_007, "t_rst_ns": 1_009}


class Form:
    """A profile's times in clocks, each rounded up."""

    def __init__(self, timing):
        for field in dataclasses.fields(timing):
            if field.name.endswith("_ns"):
                ns = Fraction(str(getattr(timing, field.name)))
                setattr(self, field.name[2:-3], math.ceil(ns * HZ / 10**9))
        preamble = Fraction(str(timing.t_rpre_ns)) + Fraction(str(timing.t_dqsre_ns))
        self.preamble = math.ceil(preamble * HZ / 10**9)
        self._rate = Fraction(str(timing.rate_mts)) * 10**6

    def words(self, number):
        return math.ceil(8 * number * HZ / self._rate)


class Watched:
    """What was on the bus of a run, by the commands that begin a sequence."""

    def __init__(self, b):
        self.strobes = [  # (cycle, byte, last clock)
            (BusCycle(cycle), byte, clock) for clock, cycle, strobe, byte, _ in b.symbols if strobe
        ]
        self.lows = []  # (first clock low, first clock high again)
        before = True
        for clock, *_, ready in b.symbols:
            high = bool(ready & 1)
            if before and not high:
                self.lows.append([clock])
            elif high and not before:
                self.lows[-1].append(clock)
            before = high

    def ends(self, *commands):
        """Last clocks of these command bytes, in order of time."""
        return [end for kind, byte, end in self.strobes if kind == BusCycle.COMMAND
                and byte & 0xFF in commands]  # fmt: skip

    def words(self, after, kind=BusCycle.READ):
        """Clocks of the words that follow a clock without a command between them."""
        found = []
        for other, _, end in self.strobes:
            if end > after and other == kind:
                found.append(end)
            elif end > after and found:
                break
        return found

    def busy(self, after):
        """Clocks that R/B# is low after a confirmation, which it follows at once."""
        (low,) = (low for low in self.lows if low[0] == after + 1)
        return low[1] - low[0]


def run(bench, rate, t_cs_ns, ops, words=()):
    timing = {
        field.name: getattr(PAPER, field.name)
        for field in dataclasses.fields(PAPER)
    } | {**SHORTER, "rate_mts": rate, "t_cs_ns": t_cs_ns}  # fmt: skip
    b = bench(dies=1, clock_hz=HZ, timing=timing, skip=True)
    b.run(ops, words)
    return b, Form(b.profile.timing), ChannelClocks(b.profile, HZ).operations(WORDS)


@pytest.mark.parametrize("t_cs_ns", [0, 20])
@pytest.mark.parametrize("rate", RATES)
def test_reads(bench, rate, t_cs_ns):
    """READ, READ PAGE CACHE RANDOM and its end, CHANGE READ COLUMN, data output."""
    read = {"op": NandOp.READ, "row": 3, "words": WORDS}
    ops = [read, {**read, "column": 9}, {**read, "row": 4}]
    b, t, said = run(bench, rate, t_cs_ns, ops)
    seen = Watched(b)
    (confirm,), (cached,), (end,) = seen.ends(0x30), seen.ends(0x31), seen.ends(0x3F)
    (column,) = seen.ends(0xE0)
    opens = seen.ends(0x00)

    def starts(last):
        """First clock of a sequence's chip enable, by the last clock of its first command."""
        return last - t.wc - t.cs + 1

    assert confirm - starts(opens[0]) + 1 == t.cs + 7 * t.wc == said["read"].bus
    assert seen.busy(confirm) == t.wb + t.r == said["read"].busy
    assert cached - starts(opens[1]) + 1 == t.cs + 7 * t.wc == said["cache_read"].bus
    assert said["cache_read"].busy == said["cache_end"].busy == t.wb + t.rcbsy
    assert seen.busy(cached) == t.wb + t.rcbsy
    (begin,) = seen.ends(0x05)
    assert column - starts(begin) + 1 == t.cs + 4 * t.wc == said["column"].bus
    assert said["cache_end"].bus == t.cs + t.wc
    left = t.r - (end - cached - (t.wb + t.rcbsy))  # of the sensing, when 3Fh comes
    assert seen.busy(end) == t.wb + t.rcbsy + max(0, left)

    # data: after R/B# and tRR, or after tCCS
    rest = t.words(WORDS) - t.words(1)
    for before in (cached, end):
        words = seen.words(before)
        ready = before + 1 + seen.busy(before)
        assert words[0] - ready + 1 == t.rr + CHOICE + t.preamble + t.words(1)
        assert (len(words), words[-1] - words[0]) == (WORDS, rest)
    words = seen.words(column)
    assert words[0] - column == t.ccs + CHOICE + t.preamble + t.words(1)
    assert words[-1] - words[0] == rest
    assert said["data"].bus == t.preamble + t.words(WORDS)


@pytest.mark.parametrize("rate", RATES)
def test_data_after_a_status(bench, rate):
    """The status was read while the array sensed: READ MODE comes before the page's data."""
    read = {"op": NandOp.READ, "row": 3, "words": WORDS}
    b, t, said = run(bench, rate, 20, [read, {"op": NandOp.STATUS}])
    seen = Watched(b)
    _, mode = seen.ends(0x00)
    last = seen.words(mode)[-1]
    whole = t.cs + t.wc + t.whr + t.preamble + t.words(WORDS)
    assert last - (mode - t.wc - t.cs) == whole == said["data_after_status"].bus


@pytest.mark.parametrize("t_cs_ns", [0, 20])
@pytest.mark.parametrize("rate", RATES)
def test_other_operations(bench, rate, t_cs_ns):
    """PROGRAM, ERASE, RESET, each with its READ STATUS; READ STATUS alone; READ ID."""
    ops = [
        {"op": NandOp.ERASE, "row": 0},
        {"op": NandOp.PROGRAM, "row": 0, "words": WORDS},
        {"op": NandOp.RESET},
        {"op": NandOp.STATUS},
        {"op": NandOp.READ_ID},
    ]
    b, t, said = run(bench, rate, t_cs_ns, ops, range(WORDS))
    seen = Watched(b)

    def bus(first, last):
        return last - (first - t.wc - t.cs + 1) + 1

    (erase,), (erased,) = seen.ends(0x60), seen.ends(0xD0)
    assert bus(erase, erased) == t.cs + 5 * t.wc == said["erase"].bus
    assert seen.busy(erased) == t.wb + t.bers == said["erase"].busy
    (program,), (programmed,) = seen.ends(0x80), seen.ends(0x10)
    data = seen.words(program, BusCycle.WRITE)
    assert data[0] - program == 5 * t.wc + t.adl + t.words(1)
    assert data[-1] - data[0] == t.words(WORDS) - t.words(1)
    whole = t.cs + 6 * t.wc + t.adl + t.words(WORDS) + t.wc
    assert bus(program, programmed) == whole == said["program"].bus
    assert seen.busy(programmed) == t.wb + t.prog == said["program"].busy
    (reset,) = seen.ends(0xFF)
    assert (said["reset"].bus, said["reset"].busy) == (t.cs + t.wc, t.wb + t.rst)
    assert seen.busy(reset) == t.wb + t.rst
    statuses = seen.ends(0x70)
    assert len(statuses) == 4
    for status in statuses:
        (word,) = seen.words(status)
        assert bus(status, word) == t.cs + t.wc + t.whr + t.preamble + t.words(1)
        assert bus(status, word) == said["status"].bus
    (read_id,) = seen.ends(0x90)
    (word,) = seen.words(read_id)
    whole = t.cs + 2 * t.wc + t.whr + t.preamble + t.words(1)
    assert bus(read_id, word) == whole == said["read_id"].bus


@pytest.mark.parametrize("kib, us, mqsim_us", [(4, 87.63, 87.61), (8, 99.92, 99.90)])
def test_turnaround_of_a_single_read(kib, us, mqsim_us):
    """MQSim's NV-DDR2 set at 333 MT/s, tR 75 us, ready/busy pin; 6 command cycles are MQSim's."""
    flash = flash_profile("mqsim")
    size = 1024 * kib
    assert round(float(turnaround_ns(flash.timing, size)) / 1e3, 2) == us
    assert round(float(turnaround_ns(flash.timing, size, 6)) / 1e3, 2) == mqsim_us
    (read,) = (r for r in _alone() if r["bytes"] == size)
    # at 250 MHz: 20, 7 x 25 (28 clocks), 100, 75 000, 20, 30 (8 clocks) ns and two bytes in 6 ns
    clocks = 5 + 7 * 7 + 25 + 18_750 + 5 + 8 + size * 3 // 4
    assert clocks == read["closed_form_cycles"]
    assert read["cycles"] == clocks + OVERHEAD


def _alone():
    return measure_flash(FlashCase("mqsim", "single"), 2)["turnarounds"]


OTHERS = [f"tlc_onfi5@{rate}" for rate in RATES if rate not in (1400, 2400)]
SHARES = [
    ("paper", "sequential", None, None, 0.97),
    ("tlc_onfi5@1400", "sequential", None, None, 0.97),
    ("tlc_onfi5@1400", "quarter", None, 1024, 0.92),
    ("tlc_onfi5@2400", "sequential", 24, None, 0.97),
    *(
        pytest.param(name, "sequential", None, None, 0.97, marks=pytest.mark.soak)
        for name in OTHERS
    ),
]


@pytest.mark.parametrize("name, pattern, dies, size, goal", SHARES)
def test_share_of_the_bus_bound(name, pattern, dies, size, goal):
    """Data with spare bytes, command and address cycles; sensing hidden. No preamble, no tRHW."""
    row = measure_flash(FlashCase(name, pattern, dies, size), 160)
    assert row["senses"] == 160
    assert row["bound_cycles"] >= goal * row["cycles"]


@pytest.mark.parametrize("pattern", ["sequential", "random"])
def test_share_of_what_arrays_allow(pattern):
    """Four planes of one die: sensed together, the array has nothing else to wait for."""
    row = measure_flash(FlashCase("tlc_onfi5@1400", pattern, 1, planes=4), 160)
    assert row["senses"] == 40
    assert 0.99 * row["cycles"] <= row["arrays_cycles"] <= row["cycles"]


def test_quarters_beat_a_turn_for_each_column():
    """Commands given together: less than a tRHW for each data phase."""
    row = measure_flash(FlashCase("tlc_onfi5@1400", "quarter", codeword_bytes=512), 160)
    assert row["bound_cycles"] < row["cycles"] < row["paid_cycles"]
