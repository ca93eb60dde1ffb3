"""`instinfer bench layouts`: selections as stated, layouts that hold all, counts by hand, runs."""

import json

import numpy as np
import pytest

from host.bench.layouts_cases import (
    ACCESSES,
    LAYOUTS,
    LayoutCase,
    codeword_of,
    full_sweep,
    quick_sweep,
)
from host.bench.layouts_measure import head_reads, planned_clocks, with_speedups
from host.bench.selection import TOUCHED, share_touched, touched
from host.cli import main

TOKENS = 8192


def of_units(units, unit, smallest=2):
    """Share of larger units that hold a touched one."""
    return units.reshape(-1, unit // smallest).any(axis=1).mean()


@pytest.mark.parametrize("seed", range(5))
def test_selection_has_every_share(seed):
    units = touched(TOKENS, seed)
    for unit, share in TOUCHED.items():
        assert of_units(units, unit) == pytest.approx(share, abs=unit / TOKENS)
    for unit in (8, 32):
        assert of_units(units, unit) == pytest.approx(share_touched(unit), abs=unit / TOKENS)
    assert not np.array_equal(units, touched(TOKENS, seed + 1))
    assert np.array_equal(units, touched(TOKENS, seed))


def test_selection_is_anywhere():
    """Over many draws each unit, at any place in its page, is touched as often."""
    counts = sum(touched(TOKENS, seed).astype(int) for seed in range(60))
    places = counts.reshape(-1, 32).sum(axis=0)  # 60 * 128 chances each
    assert places.sum() == 60 * round(TOUCHED[2] * TOKENS / 2)
    assert abs(places / places.mean() - 1).max() < 0.2  # 4 sigma: 0.15


def test_shares_between_by_hand():
    assert share_touched(8) == pytest.approx((0.151 * 0.348) ** 0.5)
    assert share_touched(32) == pytest.approx((0.348 * 0.61) ** 0.5)
    for unit in (1, 128):
        with pytest.raises(ValueError, match=f"units of {unit} tokens .* choose 2..64"):
            share_touched(unit)
    with pytest.raises(ValueError, match="100 tokens are not possible: choose a multiple of 64"):
        touched(100)


def test_layouts_by_hand():
    """16 tokens of 256 bytes in two pages of four codewords."""
    places = {
        "apart": {("K", 0): (0, 0), ("K", 15): (0, 3), ("V", 5): (1, 1)},
        "halves": {("K", 5): (0, 1), ("V", 0): (0, 2), ("K", 8): (1, 0), ("V", 15): (1, 3)},
        "pairs": {("K", 3): (0, 0), ("V", 3): (0, 1), ("K", 4): (0, 2), ("V", 12): (1, 3)},
        "mixed": {("K", 1): (0, 0), ("V", 1): (0, 0), ("K", 7): (0, 3), ("V", 8): (1, 0)},
    }
    for layout, found in places.items():
        case = LayoutCase(layout=layout)
        for (kind, token), place in found.items():
            assert codeword_of(case, kind, token) == place


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("profile, head_dim", [("paper", 64), ("tlc_onfi5", 128)])
def test_a_group_fills_its_codewords(profile, head_dim, layout):
    case = LayoutCase(profile, layout, head_dim=head_dim)
    vectors = {}
    for kind in "KV":
        for token in range(case.group_tokens):
            vectors.setdefault(codeword_of(case, kind, token), []).append((kind, token))
    each = case.geometry.page_bytes // 1024
    assert sorted(vectors) == [(page, codeword) for page in range(2) for codeword in range(each)]
    assert {len(mine) for mine in vectors.values()} == {case.codeword_tokens}


def sensed(case, reads):
    """Pages by what was read of them, reads of a die that follow each other one sense."""
    last, pages = {}, []
    for die, row, column, words in reads:
        assert column % case.code.words == words % case.code.words == 0
        if last.get(die, (None,))[0] != row:
            last[die] = row, set()
            pages.append((die, row, last[die][1]))
        chosen = range(column // case.code.words, (column + words) // case.code.words)
        assert not last[die][1] & set(chosen)
        last[die][1].update(chosen)
    return pages


@pytest.mark.parametrize("dies", [4, 16])
def test_dense_reads_everything_once_in_each_pass(dies):
    pages = 2 * TOKENS // 16
    for layout, senses, moved in (
        ("apart", pages, 4), ("halves", 2 * pages, 2), ("pairs", 2 * pages, 2),
        ("mixed", 2 * pages, 4),
    ):  # fmt: skip
        case = LayoutCase(layout=layout, dies=dies)
        todo = head_reads(case)
        found = sensed(case, todo.reads[todo.start : todo.end])
        assert len(found) == senses
        assert {len(codewords) for *_, codewords in found} == {moved}
        assert {die for die, *_ in found} == set(range(dies))


def test_sparse_asks_for_what_the_shares_say():
    wanted = 2 * round(TOUCHED[4] * TOKENS / 4)
    for layout, senses, moved in (
        ("apart", 2 * round(TOUCHED[16] * TOKENS / 16), wanted),
        ("halves", round(share_touched(8) * TOKENS / 8), wanted),
        ("pairs", round(share_touched(8) * TOKENS / 8), wanted),
        ("mixed", round(share_touched(8) * TOKENS / 8), round(TOUCHED[2] * TOKENS / 2)),
    ):
        case = LayoutCase(layout=layout, access="sparse")
        todo = head_reads(case, draws=2, seed=3)
        found = sensed(case, todo.reads[todo.start : todo.end])
        assert todo.layers == 2 and len(found) == 2 * senses
        assert sum(len(codewords) for *_, codewords in found) == 2 * moved


def test_a_pair_is_one_read():
    case = LayoutCase(layout="pairs", access="sparse")
    for _, _, column, words in head_reads(case).reads:
        assert column % (2 * case.code.words) == words % (2 * case.code.words) == 0


def test_sweeps():
    for cases in (full_sweep(), quick_sweep()):
        assert len(cases) == len(set(cases))
        assert {case.layout for case in cases} == set(LAYOUTS)
        assert {case.access for case in cases} == set(ACCESSES)
        assert {case.dies for case in cases} == {4, 8, 16}
    assert {case.profile for case in quick_sweep()} == {"paper"}
    assert not [c for c in full_sweep() if c.access == "passes" and c.layout == "apart"]
    assert planned_clocks(LayoutCase(access="sparse")) < planned_clocks(LayoutCase())


def test_speedups_are_over_the_fastest_dense():
    same = {"profile": "p", "dies": 4, "head_dim": 128, "codeword_bytes": 1024, "tokens": 512}
    rows = [
        same | {"access": access, "cycles": cycles}
        for access, cycles in (("dense", 300), ("dense", 200), ("sparse", 50))
    ]
    rows.append(same | {"dies": 8, "access": "sparse", "cycles": 50})
    assert [row["over_dense"] for row in with_speedups(rows)] == [2 / 3, 1, 4, None]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Real runs: rows by layout and access, and where they lie."""
    out = tmp_path_factory.mktemp("layouts")
    given = ["--layout", "apart", "pairs", "--access", "dense", "sparse", "--tokens", "2048"]
    assert main(["bench", "layouts", *given, "--profile", "paper", "--out", str(out)]) == 0
    rows = json.loads((out / "bench_layouts.json").read_text())["rows"]
    return {(row["layout"], row["access"]): row for row in rows}, out


def test_rows(measured):
    rows, out = measured
    assert len(rows) == 4
    for row in rows.values():
        assert row["run_senses"] == row["run_senses_planned"] > row["senses"]
        assert max(row["bus_cycles"], row["arrays_cycles"]) < 1.02 * row["cycles"]
        assert row["codewords"] * (1024 + 8) <= row["bytes"] <= row["codewords"] * (1024 + 56)
        assert row["cycles"] == 8 * row["cycles_of_channel"]
    dense, sparse = rows["apart", "dense"], rows["apart", "sparse"]
    assert dense["codewords"] == 2 * 2048 // 4 and dense["columns"] == 0
    assert dense["over_dense"] == 1 and dense["bus_cycles"] > 0.95 * dense["cycles"]
    assert rows["pairs", "sparse"]["senses"] < sparse["senses"]
    assert rows["pairs", "sparse"]["codewords"] == sparse["codewords"]
    assert rows["pairs", "sparse"]["cycles"] < sparse["cycles"] < dense["cycles"]
    assert (out / "bench_layouts.png").read_bytes().startswith(b"\x89PNG")


def test_table(measured, capsys):
    _, out = measured
    given = ["--layout", "apart", "--access", "sparse", "--tokens", "2048", "--out", str(out)]
    assert main(["bench", "layouts", *given]) == 0
    text = capsys.readouterr().out
    assert "a page of K, a page of V" in text and "gain" in text and "pairs" not in text
    assert main(["bench", "layouts", *given, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["over_dense"] is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--profile", "x"], "profile x is not possible: choose of paper"),
        (["--profile", "tiny"], "pages of profile tiny have 512 bytes"),
        (["--layout", "x"], "--layout x is not possible: choose of apart, halves"),
        (["--access", "x"], "--access x is not possible: choose of dense, sparse"),
        (["--access", "passes", "--layout", "apart"], "choose another layout or access"),
        (["--dies", "0"], "--dies 0 is not possible: choose 1..64"),
        (["--codeword-bytes", "100"], "--codeword-bytes 100 is not possible: choose of 512"),
        (["--layout", "mixed", "--codeword-bytes", "512"], "they hold 2 vectors, and it needs 4"),
        (["--head-dim", "96"], "half of it is a multiple of"),
        (["--tokens", "1000"], "tokens = 1000 is not possible: choose a multiple of 512"),
        (["--draws", "0"], "--draws 0 is not possible: choose 1..64"),
        (["--seed", "-1"], "--seed -1 is not possible"),
        (["--quick", "--dies", "4"], "--quick has rows of its own"),
    ],
)
def test_bad_options(arguments, message, capsys):
    assert main(["bench", "layouts", *arguments]) == 2
    assert message in capsys.readouterr().err
