"""`instinfer bench sparse`: its constructions by their stated shares, its rows, its report."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from host import KvDrive
from host.bench import sparse_measure
from host.bench.selection import TOUCHED, touched
from host.bench.sparse import _measured
from host.bench.sparse_cases import BASE, CONSTRUCTED, SparseCase, full_sweep, quick_sweep
from host.bench.sparse_inputs import layers_of, wanted_channels, wanted_tokens, wanted_units
from host.bench.sparse_measure import SHARES, _plans, _twin, attention_of, with_dense
from host.bench.sparse_picture import save_sparse
from host.bench.sparse_report import findings, show_sparse
from host.cli import main

SMALL = SparseCase(tokens=4096)
BY_BOUNDS = replace(SMALL, attention="bounds", ratios=())


def units(mask, size):
    return mask.reshape(-1, size).any(axis=1).mean()


def test_wanted_tokens_touch_what_is_stated():
    """The stated shares, which are of ratio 1/8; within a token or two of rounding."""
    keep = wanted_tokens(1 / 8, 8192, np.random.default_rng(1))
    assert keep.sum() == 8192 // 16
    for size, share in TOUCHED.items():
        assert units(keep, size) == pytest.approx(share, abs=2 * size / 8192)


@pytest.mark.parametrize(("ratio", "selections"), [(1 / 4, 2), (1 / 16, 0.5)])
def test_other_ratios_touch_like_several_selections(ratio, selections):
    keep = wanted_tokens(ratio, 8192, np.random.default_rng(2))
    assert keep.sum() == ratio * 8192 / 2
    for size, share in TOUCHED.items():
        assert units(keep, size) == pytest.approx(
            1 - (1 - share) ** selections, abs=2 * size / 8192
        )


def test_touched_by_two_selections():
    once, twice = touched(8192, 3), touched(8192, 3, selections=2)
    assert once.mean() == pytest.approx(0.096, abs=1e-3)
    assert twice.mean() == pytest.approx(1 - 0.904**2, abs=1e-3)


def test_wanted_units_lie_together_as_touched_ones_do():
    """At 0.184: an eighth of the tokens, less 0.35 %; fewer than one selection touches."""
    keep = wanted_units(0.184, 8192, np.random.default_rng(1))
    assert keep.sum() == 4 * int(0.1215 * 8192 / 4) and units(keep, 4) == keep.mean()
    selections = np.log(1 - keep.mean()) / np.log(1 - TOUCHED[4])
    for size in (16, 64):
        share = 1 - (1 - TOUCHED[size]) ** selections
        assert units(keep, size) == pytest.approx(share, abs=3 * size / 8192)


def test_wanted_channels_lie_in_as_many_pages_as_stated():
    rng, taken = np.random.default_rng(4), np.zeros(128, bool)
    for ratio, pages in ((1 / 4, 20), (1 / 8, 13), (1 / 16, 7)):
        channels = wanted_channels(ratio, 128, rng, taken)
        assert channels.sum() == 128 * ratio and not (channels & taken).any()
        assert channels.reshape(32, 4).any(axis=1).sum() == pages
        taken |= channels
    with pytest.raises(ValueError, match="16 channels of 128 are not to be had"):
        wanted_channels(1 / 8, 128, rng, np.arange(128) > 7)


@pytest.mark.parametrize("case", [SMALL, BY_BOUNDS], ids=["sparf", "bounds"])
def test_the_selection_is_the_one_wanted(case):
    """By the twin: the bytes it counts are those of the channels and tokens that were wanted."""
    layer = layers_of(case, 1)[0]
    plans = _plans(case, layer)
    with KvDrive(case.config, backend="twin") as drive:
        sequence = sparse_measure._filled(drive, case, [layer])
        for ratio in case.ratios:
            before = drive.stats()
            drive.attend(sequence, 0, layer.q[ratio], attention=attention_of(case, ratio))
            after = drive.stats()
            found = tuple(after[name] - before[name] for name in ("pages_read", "bytes_flash"))
            assert found == plans[ratio]


def test_bytes_by_hand():
    """Of one KV head: r columns in each unit; K and V of the codewords of four tokens touched."""
    plans = _plans(SMALL, layers_of(SMALL, 1)[0])
    units_of_k, touched_codewords = 1024 // 512, round(0.151 * 1024 / 4)
    _, moved = plans[1 / 8]
    assert moved == 4 * 1024 * (16 * units_of_k + 2 * touched_codewords)


def test_a_case_is_a_part_of_a_whole_drive():
    case = SparseCase(tokens=8192)
    config = case.config
    assert case.held == 2048 and config.channels == 2 and config.clock_hz == 285_000_000
    whole = replace(case, channels=8).config
    assert whole.pass_tokens == 8192 and config.pass_tokens / 2 == whole.pass_tokens / 8
    assert SparseCase(profile="tlc_onfi5@800").config.flash.timing.rate_mts == 800
    with pytest.raises(
        ValueError, match="tokens = 5000 is not possible: choose a multiple of 4096"
    ):
        SparseCase(tokens=5000)


def test_sweeps():
    full, quick = full_sweep(), quick_sweep()
    assert len(full) == len(set(full)) and len({case.config for case in quick}) == 1
    for profile in ("paper", "tlc_onfi5@800"):
        mine = [case for case in full if case.profile == profile]
        assert {case.dies for case in mine} == {4, 8, 16, 32, 64}
    drives = [case.config for case in full]
    assert sum(a != b for a, b in zip(drives, drives[1:], strict=False)) == len(set(drives)) - 1


def rows_of(case, ok=True):
    """Rows as a drive might give them."""
    shares = dict.fromkeys(SHARES, 0.25)
    rows = [
        {
            **case.as_dict(),
            "head_dim": case.head_dim,
            "ratio": ratio,
            "kept": 7,
            "cycles": 1000 if ratio is None else 500,
            "pages_sensed": 10,
            "bytes_sensed": 100 if ratio is None else 60,
            "bytes_moved": 100 if ratio is None else 20,
            "bytes_planned": None if ratio is None else 20 if ok else 21,
            "as_twin": ok,
            "shares": shares,
        }
        for ratio in case.modes
    ]
    return with_dense(rows)


def test_rows_against_dense():
    dense, *sparse = rows_of(BASE)
    assert dense["speedup_vs_dense"] == dense["moved_share"] == 1
    assert {row["speedup_vs_dense"] for row in sparse} == {2.0}
    assert {(row["moved_share"], row["sensed_share"]) for row in sparse} == {(0.2, 0.6)}


def test_report_and_picture(tmp_path):
    rows = (
        rows_of(BASE)
        + rows_of(replace(BASE, dies=64))
        + rows_of(BY_BOUNDS)
        + rows_of(SparseCase(source="smollm2"))
    )
    save_sparse(tmp_path / "picture.png", rows)
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    console = Console(record=True, width=140)
    show_sparse(console, rows, "picture.png")
    text = console.export_text()
    assert "1/8" in text and "2.00" in text and "bit for bit the twin's" in text
    assert all(style is None for _, style in findings(rows))
    assert [style for _, style in findings(rows_of(BASE, ok=False))] == ["red", "red"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quick", "--dies", "4"], "--quick has rows of its own"),
        (["--dies", "65"], "--dies 65 is not possible: choose of 1..64"),
        (["--codeword-bytes", "256"], "--codeword-bytes 256 is not possible: choose of 512, 1024"),
        (["--ratio", "0.3"], "ratio 0.3 of sparf is not possible: choose of 0.25, 0.125, 0.0625"),
        (["--attention", "bounds", "--ratio", "0.0625"], "ratio 0.0625 of bounds is not possible"),
        (["--source", "gpt"], "--source gpt is not possible: choose of constructed, smollm2"),
        (["--tokens", "100"], "tokens = 100 is not possible"),
        (["--profile", "floppy"], "profile floppy is not possible"),
        (["--text", "/nowhere"], "--text /nowhere: cannot be read"),
    ],
)
def test_bad_options(options, message, capsys):
    assert main(["bench", "sparse", *options]) != 0
    assert message in capsys.readouterr().err


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sparse_measure, "measure_sparse", lambda case, *_: rows_of(case))
    arguments = ["bench", "sparse", "--dies", "4", "16", "--out", str(tmp_path)]
    assert main(arguments) == 0
    record = json.loads((tmp_path / "bench_sparse.json").read_text())
    assert [row["dies"] for row in record["rows"][:: len(BASE.modes)]] == [4, 16]
    assert (tmp_path / "bench_sparse.png").exists()
    assert "gain" in capsys.readouterr().out
    assert len(_measured([BASE], None, False)) == len(BASE.modes)


def test_results_of_the_twin_differ_by_ratio():
    """What results are compared with is sparse attention, not dense attention again."""
    found = _twin(SMALL, layers_of(SMALL, 2))
    assert all(np.isfinite(x.astype(np.float32)).all() for x in found)
    assert not any(np.array_equal(found[0], other) for other in found[1:])
    assert SMALL.source == CONSTRUCTED
