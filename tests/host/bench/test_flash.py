"""`instinfer bench flash`: closed forms by hand, streams that are as described, real runs."""

import json
from fractions import Fraction

import pytest

from host.bench.channel import CompiledChannel
from host.bench.flash_bound import ChannelClocks, turnaround_ns
from host.bench.flash_cases import (
    CODEWORDS,
    PATTERNS,
    RATES,
    FlashCase,
    crossed,
    flash_profile,
    full_sweep,
    quick_sweep,
)
from host.bench.flash_measure import stream
from host.bench.parts import INTERLEAVED
from host.cli import main
from rtl.ecc.placement import spare_left, strongest

PAPER = ChannelClocks(flash_profile("paper"), 250_000_000)
"""tWC 7 clocks, preamble 8, tRHW 25; a word 10/7."""


def test_bus_bound_by_hand():
    whole = [(die, 3, 0, 540) for die in range(3)]
    assert PAPER.bus(whole) == 3 * (7 * 7 + 772)  # 540 * 10 / 7 = 771.4
    assert PAPER.paid(whole) == PAPER.bus(whole) + 3 * (8 + 25)
    parts = [(0, 3, 0, 7), (1, 3, 70, 7), (0, 3, 140, 14), (0, 4, 0, 7)]
    assert PAPER.bus(parts) == 3 * 7 * 7 + 2 * 4 * 7 + 3 * 10 + 20
    back = [(0, 3, 0, 7), (0, 4, 0, 7), (0, 3, 0, 7)]
    assert PAPER.bus(back) == 3 * (7 * 7 + 10)  # sensed three times


def test_arrays_and_turnaround_by_hand():
    page = 11_250 + 125 + 25  # tR, tRCBSY, tWB
    assert PAPER.arrays(32, 16) == 2 * page
    assert PAPER.turnaround(512) == 7 * 7 + 25 + 11_250 + 5 + 8 + 732
    exact = 7 * 25 + 100 + 45_000 + 20 + 30 + Fraction(4096 * 1000, 1400)
    assert turnaround_ns(flash_profile("paper").timing, 4096) == exact
    assert turnaround_ns(flash_profile("mqsim").timing, 4096) == 87_633
    assert turnaround_ns(flash_profile("mqsim").timing, 8192, 6) == 99_896


def test_planes_by_hand():
    """tWC 7 clocks, tWB 25, tDBSY 125, tRR 5, tR 12,500, tCCS 75, preamble 8, tRHW 25."""
    clocks = ChannelClocks(flash_profile("tlc_onfi5@1400"), 250_000_000)
    sensed = 4 * 49 + 3 * (25 + 125 + 5) + 25 + 12_500 + 5
    shown = 4 * (49 + 75 + 8 + 1000) + 3 * 25  # 700 words of 10/7 clocks
    assert clocks.reads_together(4, 700) == sensed + shown
    assert clocks.arrays(80, 2, 4, 700) == 10 * (sensed + shown + 25)
    reads = [(0, plane << 9, 0, 7) for plane in range(4)]
    assert clocks.bus(reads, 4) == 4 * (2 * 49 + 10)
    assert clocks.paid(reads, 4) == clocks.bus(reads, 4) + 4 * (8 + 25)
    # With tCS, which passes during tRHW: 5 clocks of the 25; a word is 6 clocks there.
    mqsim = ChannelClocks(flash_profile("mqsim"), 250_000_000)
    sensed = 2 * (5 + 49) + 25 + 125 + 5 + 25 + 18_750 + 5
    assert mqsim.reads_together(2, 50) == sensed + 2 * (5 + 49 + 75 + 8 + 300) + 20


def test_profiles_by_rate():
    fast, base = flash_profile("tlc_onfi5@800"), flash_profile("tlc_onfi5")
    assert (fast.name, fast.timing.rate_mts) == ("tlc_onfi5@800", 800)
    assert fast.geometry == base.geometry and fast.timing.t_r_ns == base.timing.t_r_ns
    assert {row[0]: row[2] for row in fast.table()}["rate_mts"].startswith("assumed")
    mqsim = flash_profile("mqsim")
    assert (mqsim.geometry.page_bytes, mqsim.geometry.spare_bytes) == (8192, 448)
    assert mqsim.timing.rate_mts == Fraction(1000, 3)


@pytest.mark.parametrize("rate, clock_hz", [(200, 250e6), (1400, 250e6), (2400, 300e6)])
def test_the_bus_brings_eight_bytes_a_clock_at_most(rate, clock_hz):
    case = FlashCase(f"tlc_onfi5@{rate}")
    assert case.clock_hz == clock_hz and 1e6 * rate <= 8 * case.clock_hz


def test_more_dies_than_the_profile_has():
    case = FlashCase("tlc_onfi5", dies=24)
    assert case.flash.geometry.dies == 24
    assert FlashCase("tlc_onfi5", dies=4).flash.geometry.dies == 16


@pytest.mark.parametrize("size", CODEWORDS)
@pytest.mark.parametrize("pattern, share", [("codeword", None), ("quarter", 4)])
@pytest.mark.parametrize("dies", [1, 3, 16])
def test_codewords_of_each_page(size, pattern, share, dies):
    case = FlashCase("tlc_onfi5", pattern, dies, size)
    geometry = case.flash.geometry
    code, pages = strongest(geometry, size), 50
    assert spare_left(geometry, code) >= 0
    todo = stream(case, pages, seed=2)
    found = {}
    for die, row, column, words in todo.reads:
        assert column % code.words == words % code.words == 0
        assert column + words <= geometry.page_words
        mine = found.setdefault((die, row), set())
        chosen = set(range(column // code.words, (column + words) // code.words))
        edges = {min(chosen) - 1, max(chosen) + 1}
        assert chosen and not mine & (chosen | edges)  # neighbours go together
        mine |= chosen
    each = geometry.page_bytes // size // share if share else 1
    assert list(found) == [(n % dies, n // dies) for n in range(pages)]
    assert {len(mine) for mine in found.values()} == {each}
    assert len({frozenset(mine) for mine in found.values()}) > pages / 4
    assert int(todo.wanted.sum()) == pages * each * size
    assert todo.reads == stream(case, pages, seed=2).reads != stream(case, pages, seed=3).reads


def test_codewords_of_some_pages_take_turns():
    """Reads of a die are of one page until that is done; those of other dies come between."""
    reads = stream(FlashCase("tlc_onfi5", "quarter", 16, 512), 200).reads
    last, turns = {}, []
    for place, (die, row, *_) in enumerate(reads):
        before_row, before = last.get(die, (row, None))
        assert row >= before_row
        if before is not None and row == before_row:
            turns.append(place - before)
        last[die] = row, place
    assert turns.count(INTERLEAVED) > 0.95 * len(turns)


@pytest.mark.parametrize("pattern, rows", [("sequential", 1), ("random", 9)])
def test_whole_pages_with_their_spare(pattern, rows):
    case = FlashCase("paper", pattern)
    todo = stream(case, 64)
    assert all(read[2:] == (0, (4096 + 224) // 8) for read in todo.reads)
    assert int(todo.wanted.sum()) == 64 * 4096
    assert {read[0] for read in todo.reads} <= set(range(16))
    assert len({read[1] for read in todo.reads}) >= rows


@pytest.mark.parametrize("planes", [2, 4])
@pytest.mark.parametrize("dies", [1, 3])
@pytest.mark.parametrize("pattern", ["sequential", "random"])
def test_planes_of_a_die_have_pages_of_one_number(pattern, dies, planes):
    """Reads of a die, its own in their order: a stripe after another."""
    case = FlashCase("tlc_onfi5", pattern, dies, planes=planes)
    geometry, own = case.flash.geometry, {}
    todo = stream(case, 12 * dies * planes)
    for die, row, column, words in todo.reads:
        assert row < geometry.rows and (column, words) == (0, geometry.page_words)
        own.setdefault(die, []).append(row)
    assert sorted(own) == list(range(dies))
    assert len(set(sum(own.values(), []))) > 10 * planes
    for rows in own.values():
        for n in range(0, len(rows), planes):
            stripe = rows[n : n + planes]
            assert [row // geometry.pages % geometry.planes for row in stripe] == [*range(planes)]
            assert len({row % geometry.pages for row in stripe}) == 1
    if pattern == "sequential":
        assert [die for die, *_ in todo.reads[::planes]] == [*range(dies)] * 12
        assert max(own[0]) == geometry.pages * (planes - 1) + 11


def test_sweeps_hold_what_they_promise():
    for cases in (full_sweep(), quick_sweep()):
        assert len(set(cases)) == len(cases)
        kinds = [case.profile for case in cases]
        assert sum(a != b for a, b in zip(kinds, kinds[1:])) == len(set(kinds)) - 1
        by_codeword = {
            (case.profile, case.codeword_bytes) for case in cases if case.pattern == "quarter"
        }
        assert by_codeword >= {(f"tlc_onfi5@{rate}", n) for rate in RATES for n in CODEWORDS}
        assert len({case.dies for case in cases if case.profile == "tlc_onfi5@1400"}) > 3
        for pattern in ("sequential", "random"):
            planes = {(case.planes, case.dies) for case in cases
                      if (case.profile, case.pattern) == ("tlc_onfi5@1400", pattern)}  # fmt: skip
            assert planes >= {(n, dies) for n in (1, 2, 4) for dies in (1, 2)}
    assert {case.pattern for case in full_sweep()} == set(PATTERNS)
    given = {"profile": ["paper", "znand"], "pattern": ["random", "single"], "dies": [1, 2]}
    assert len(crossed(given)) == 6  # a read alone has one die


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Rows of a run of both kinds on a small part, and its folder."""
    out = tmp_path_factory.mktemp("flash")
    arguments = ["bench", "flash", "--profile", "tiny@333", "--out", str(out)]
    file = out / "rows.json"
    patterns = ["single", "sequential", "codeword"]
    arguments += ["--pattern", *patterns, "--codeword-bytes", "512", "--json", str(file)]
    assert main(arguments) == 0
    return json.loads(file.read_text())["rows"], out


def test_rows_of_a_run(tiny):
    rows, out = tiny
    assert [row["pattern"] for row in rows] == ["single", "sequential", "codeword"]
    for row in rows:
        assert (row["profile"], row["rate_mts"], row["planes"]) == ("tiny@333", 333, 1)
        assert row["bus_fraction"] == row["bound_cycles"] / row["cycles"] <= 1
        assert row["senses"] == row["pages"] and row["reads"] == row["pages"]
        assert row["latency_p50_ns"] <= row["latency_p99_ns"]
        hz, rate = row["clock_hz"], row["rate_mts"] * 1e6
        peak = rate * row["cycles"] / hz
        assert row["wanted_fraction_of_peak"] == pytest.approx(row["wanted_bytes"] / peak)
        assert len(row["latencies"]["edges_ns"]) == len(row["latencies"]["reads"]) + 1
    single, sequential, codeword = rows
    assert [read["bytes"] for read in single["turnarounds"]] == [256, 512]
    assert sequential["codeword_bytes"] is None and codeword["codeword_bytes"] == 512
    assert sequential["bus_fraction"] > 0.9  # a page takes longer than tR / 2
    assert (out / "bench_flash.png").read_bytes().startswith(b"\x89PNG")


def test_a_reader_that_waits_is_not_hurried(tiny):
    """With one read in flight each starts when the one before has ended."""
    case = FlashCase("tiny@333", "sequential")
    channel = CompiledChannel(case.flash, case.clock_hz, 256)
    takes, lasts = channel.timed(stream(case, 6).reads, in_flight=1)
    assert all(takes[1:] > lasts[:-1]) and channel.senses == 6
    assert channel.cycle == lasts[-1] + 1
    with pytest.raises(TimeoutError, match="0 of 6 reads.*100 clocks"):
        channel.timed(stream(case, 6).reads, limit=100)


def test_table(tiny, capsys):
    _, out = tiny
    arguments = ["--profile", "tiny@333", "--pattern", "single", "--out", str(out)]
    assert main(["bench", "flash", *arguments]) == 0
    text = capsys.readouterr().out
    assert "tiny@333" in text and "closed form" in text and "wanted" in text
    assert json.loads((out / "bench_flash.json").read_text())["rows"][0]["cycles"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--profile", "x"], "--profile x is not possible: choose of paper, tlc_onfi5"),
        (["--profile", "paper@5"], "write paper@RATE with a rate of 10..4800 MT/s"),
        (["--profile", "paper@fast"], "write paper@RATE with a rate of 10..4800 MT/s"),
        (["--pattern", "x"], "--pattern x is not possible: choose of single, sequential"),
        (["--dies", "0"], "--dies 0 is not possible: choose 1..64"),
        (["--dies", "65"], "--dies 65 is not possible: choose 1..64"),
        (["--planes", "3"], "planes = 3 is not possible: of profile tlc_onfi5 choose 1 or 2 or 4"),
        (["--profile", "znand", "--planes", "2"], "of profile znand choose 1"),
        (["--pattern", "quarter", "--planes", "2"], "choose sequential or random"),
        (["--codeword-bytes", "4096"], "--codeword-bytes 4096 is not possible: choose of 512"),
        (["--quick", "--dies", "2"], "--quick has rows of its own"),
        (["--profile", "tiny", "--pattern", "codeword"], "pages of profile tiny have 512 bytes"),
        (["--profile", "tiny", "--pattern", "quarter", "--codeword-bytes", "512"], "needs 4"),
    ],
)
def test_bad_options(arguments, message, capsys):
    assert main(["bench", "flash", *arguments]) == 2
    assert message in capsys.readouterr().err
