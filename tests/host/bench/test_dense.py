"""`instinfer bench dense`: bounds against figures by hand, rows of a real run, lanes that agree."""

import json

import pytest

from flash_model.timing import cycles
from host.bench.bound import dense_bound, first_page_clocks
from host.bench.dense import _scaling
from host.bench.dense_cases import BASE, Case, crossed, full_sweep, quick_sweep
from host.bench.dense_measure import PARTS
from host.cli import main

DATA, ADDRESSES = 772, 7 * 7
"""`paper` at 250 MHz: 4 codewords of 135 words at 5.6 bytes a clock; seven cycles of 25 ns."""


def test_bound_of_whole_pages_by_hand():
    bound = dense_bound(BASE.config, kv_heads=8, head_dim=128, tokens=8192)
    pages = 2 * 8 * 8192 // 16
    assert bound.pages == pages
    assert (bound.data, bound.command) == (pages // 8 * DATA, pages // 8 * ADDRESSES)
    assert bound.latency == 25 + 11_250 + 5 + 8  # tWB, tR, tRR, tRPRE + tDQSRE
    assert bound.user_bytes == 2 * 8 * 8192 * 128 * 2
    assert bound.peak == pytest.approx(bound.user_bytes / 5.6 / 8)


def test_bound_of_a_bus_that_brings_a_beat_a_clock():
    config = Case(profile="tlc_onfi5").config
    bound = dense_bound(config, kv_heads=8, head_dim=128, tokens=1024)
    pages = 2 * 8 * 1024 // 64 // 8
    words = 16 * (128 + 1 + -(-59 * 14 // 64))  # of codewords: data, check, parity for t = 59
    assert bound.data == pages * words
    assert bound.command == pages * 7 * cycles(25, 300_000_000)


def test_bound_counts_the_fullest_channel_and_no_tail():
    config = BASE.config
    one = dense_bound(config, kv_heads=1, head_dim=128, tokens=16)
    assert dense_bound(config, kv_heads=1, head_dim=128, tokens=31) == one
    assert (one.pages, one.data) == (2, 2 * DATA)
    nine = dense_bound(config, kv_heads=1, head_dim=128, tokens=9 * 16)
    assert (nine.pages, nine.data) == (18, 4 * DATA)
    assert dense_bound(config, kv_heads=1, head_dim=128, tokens=15).cycles == 0


def test_bound_reads_a_page_of_two_passes_twice():
    """head_dim 96: 21 tokens a page, 8192 = 390 * 21 + 2. Their parts are whole codewords."""
    config = Case(channels=1, head_dim=96).config
    bound = dense_bound(config, kv_heads=1, head_dim=96, tokens=391 * 21)
    assert bound.pages == 2 * 392
    whole, two, rest = (-(-codewords * 135 * 8 * 10 // 56) for codewords in (4, 1, 4))
    assert bound.data == 2 * (390 * whole + two + rest)


def test_sweeps_hold_what_they_promise():
    for cases in (full_sweep(), quick_sweep()):
        assert len(set(cases)) == len(cases) and BASE in cases
        kinds = [case.config for case in cases]
        assert sum(a != b for a, b in zip(kinds, kinds[1:])) == len(set(kinds)) - 1
    full = full_sweep()
    assert {case.tokens for case in full} >= {256, 131_072}
    assert {case.head_dim for case in full} == {64, 80, 96, 112, 128, 192, 256}
    assert {case.queries_per_kv for case in full} == set(range(1, 9))
    assert {case.channels for case in full} == {1, 2, 4, 8, 16}
    assert len(crossed({"tokens": [1, 2], "channels": [1, 2, 4]})) == 6


def test_scaling_compares_equal_shapes():
    def row(channels, tokens, cycles):
        return {**Case(channels=channels, tokens=tokens).as_dict(), "cycles": cycles}

    (found,) = _scaling([row(1, 256, 1000), row(4, 256, 300), row(4, 512, 1), row(2, 1024, 5)])
    assert (found["speedup"], found["efficiency"]) == (1000 / 300, 1000 / 1200)


def test_rows_of_a_run(tmp_path, capsys):
    arguments = ["--tokens", "256", "--kv-heads", "1", "2", "--out", str(tmp_path)]
    assert main(["bench", "dense", *arguments, "--json", "-"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["kv_heads"] for row in rows] == [1, 2]
    for row in rows:
        bound = dense_bound(BASE.config, kv_heads=row["kv_heads"], head_dim=128, tokens=256)
        assert row["bound_cycles"] == bound.cycles and row["pages_read"] == bound.pages
        assert row["bytes_flash"] == row["user_bytes"] == bound.user_bytes
        assert row["bound_cycles"] < row["cycles"] < 1.4 * row["bound_cycles"]
        assert row["bus_fraction"] == row["bound_cycles"] / row["cycles"]
        assert set(row["parts"]) == set(PARTS) and sum(row["parts"].values()) == row["cycles"]
        assert min(row["parts"].values()) >= 0
        assert row["parts"]["latency"] >= first_page_clocks(BASE.config)
        assert row["accuracy"]["error_over_ideal"] <= 1.01
    assert main(["bench", "dense", *arguments]) == 0
    text = capsys.readouterr().out
    assert "of bound" in text and "largest error" in text
    assert (tmp_path / "bench_dense.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "bench_dense.json").read_text())["rows"][0]["cycles"]


def test_rows_beyond_the_limit_are_left_out_and_named(tmp_path, capsys):
    arguments = ["--tokens", "131072", "--limit", "1", "--out", str(tmp_path)]
    assert main(["bench", "dense", *arguments]) == 0
    assert "left out" in capsys.readouterr().out
    assert json.loads((tmp_path / "bench_dense.json").read_text())["rows"] == []


def test_lanes_agree(capsys):
    arguments = ["--preset", "tiny", "--tokens", "8", "--long", "64"]
    assert main(["bench", "lanes", *arguments, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    skipping, every, cocotb = record["lanes"].values()
    assert skipping["cycles"] == every["cycles"] == cocotb["cycles"]
    assert skipping["digest"] == every["digest"] == cocotb["digest"]
    assert skipping["clocks"] < every["clocks"] == every["cycles"] == cocotb["clocks"]
    assert cocotb["over_cocotb"] == 1 and record["streaming"]["tokens"] == 64


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["dense", "--channels", "3"], "--channels 3 is not possible: choose of 1, 2, 4, 8, 16"),
        (["dense", "--profile", "x"], "--profile x is not possible: choose of paper"),
        (["dense", "--tokens", "0"], "--tokens 0 is not possible: give 1 or more"),
        (["dense", "--tokens", "200000"], "--tokens 200000 is not possible: give at most 131072"),
        (["dense", "--quick", "--tokens", "1"], "--quick has rows of its own"),
        (["dense", "--limit", "0"], "--limit 0 is not possible"),
        (["lanes", "--tokens", "0"], "--tokens 0 is not possible: choose 1..131072"),
        (["lanes", "--preset", "x"], "unknown preset 'x'"),
    ],
)
def test_bad_options(arguments, message, capsys):
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err
