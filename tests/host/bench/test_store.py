"""The space model: its books, what it moves where that can be counted, its load and its command."""

import json

import numpy as np
import pytest

from host.bench.store_cases import Case
from host.bench.store_drive import SpaceModel
from host.bench.store_load import MODELS, Lengths
from host.bench.store_measure import measure_store
from host.cli import main
from host.firmware.space import KEPT_ERASED

PAGES = 100


@pytest.fixture
def drive():
    return SpaceModel(22, PAGES)  # 20 and two of spares


def test_sequences_that_fill_groups_are_never_moved(drive):
    """First in, first out: no page is moved, and every group is erased as often."""
    for number in range(400):
        drive.append(number, PAGES)
        if number >= 15:
            drive.close(number - 15)
    assert drive.appended == 400 * PAGES and drive.moved == drive.levelled == 0
    assert drive.live == 15 * PAGES
    erases = drive.books.usable_erases
    assert sum(erases) == 400 - 20 + drive.books.erased and np.ptp(erases) <= 1


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_what_a_group_costs_is_what_lives_in_it(drive, share):
    """Groups of one live part each: to gain a group costs its live pages over its dead ones."""
    lives = round(share * PAGES)
    for number in range(17):
        drive.append(f"stays {number}", lives)
        drive.append(f"goes {number}", PAGES - lives)
    for number in range(17):
        drive.close(f"goes {number}")
    before = drive.books.erased
    assert before == 20 - 17 and drive.promise((before + 1) * PAGES)
    # One is emptied into a new group; others follow until as many are erased as are wanted.
    emptied = next(n for n in range(1, 18) if n - -(-n * lives // PAGES) >= 1 + KEPT_ERASED)
    assert drive.moved == emptied * lives
    assert drive.live == 17 * lives == drive.where()["live"]
    assert sum(drive.where().values()) == 20 * PAGES


def test_no_room_is_said(drive):
    drive.append("one", 17 * PAGES)
    assert drive.promise(3 * PAGES) and not drive.promise(4 * PAGES)
    assert drive.moved == 0  # nothing is gained by moving what is all live


def test_lengths_have_the_means_stated():
    lengths = Lengths(np.random.default_rng(1), prompt=300, answer=100, sigma=0.8, context=10**6)
    drawn = np.array([lengths.draw() for _ in range(20_000)])
    assert np.allclose(drawn.mean(axis=0), (300, 100), rtol=0.03)
    assert np.allclose(np.log(drawn).std(axis=0), 0.8, rtol=0.03)
    short = Lengths(np.random.default_rng(1), prompt=300, answer=100, sigma=0.8, context=400)
    assert all(sum(short.draw()) <= 400 for _ in range(2000))


def test_shapes_of_models():
    """Bytes of K and V of a token, as the models' configurations give them."""
    sizes = {"smollm2": 30 * 3 * 64 * 4, "llama3-8b": 131_072, "opt-13b": 819_200}
    for name, size in sizes.items():
        model = MODELS[name]
        assert model.token_bytes == size
        assert model.group_pages * 4096 == size * model.group_tokens(4096)


def test_k_by_channel_is_half_as_much_again():
    """Of whole units: those of Llama-3-8B with pages of 4 KiB are 32 groups of 16 tokens."""
    model, case = MODELS["llama3-8b"], Case(index="channel")
    assert case.unit_groups == 32 and Case().unit_groups == 0
    assert [model.pages(n) for n in (1, 31, 64)] == [512, 31 * 512, 64 * 512]
    assert [model.pages(n, 32) for n in (1, 31, 32, 64)] == [512, 31 * 512, 32 * 768, 64 * 768]
    row = measure_store(Case(sequences=16, index="channel", writes=2))
    assert row["amplification"] - row["levelling"] == pytest.approx(1, abs=1e-2)


def test_a_group_for_each_sequence_moves_nothing_and_one_stream_does():
    rows = {
        design: measure_store(Case(sequences=24, design=design, parts=parts, writes=4))
        for design, parts in (("one", 1), ("drive", 16))
    }
    drive = rows["drive"]
    assert drive["amplification"] - drive["levelling"] == pytest.approx(1, abs=1e-3)
    assert rows["one"]["amplification"] > 1.02
    for row in rows.values():
        parts = sum(row[name] for name in ("live", "dead", "left", "filling", "erased"))
        assert parts == pytest.approx(1)
        assert row["live"] <= row["fill"] and 16 < row["sequences_open"] < 40
        assert len(row["erases"]) == row["groups"]


def test_command(tmp_path, capsys):
    given = ["bench", "store", "--sequences", "16", "--writes", "2", "--design", "drive"]
    assert main([*given, "--parts", "16", "--out", str(tmp_path)]) == 0
    assert "drive" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "bench_store.json").read_text())["rows"]
    assert row["amplification"] == 1 and not row["full"]
    assert (tmp_path / "bench_store.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "wrong",
    [
        ["--fill", "2"],
        ["--model", "gpt"],
        ["--parts", "3"],
        ["--index", "row"],
        ["--quick", "--fill"],
    ],
)
def test_bad_options(wrong, capsys):
    given = [*wrong, "0.5"] if wrong[-1] == "--fill" else wrong
    assert main(["bench", "store", *given]) != 0
    assert wrong[-2] in capsys.readouterr().err
