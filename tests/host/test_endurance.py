"""Endurance: the paper's own figure, bytes by hand, the refresh form against its count."""

import json

import pytest

from host.cli import main
from host.endurance import (
    MODELS,
    endurance_record,
    refresh_amplification,
    refreshed,
    tokens_until_worn,
)


def test_the_papers_claim():
    """32,263,877K tokens: nothing is written twice, no block is ever refreshed."""
    assert round(tokens_until_worn(8 << 40, 3000, 0.78 * 2**20) / 1000) == 32_263_877


def test_bytes_per_token():
    """OPT-13B: 40 layers of 5120 elements of K and of V; Llama-3-8B: 32 layers of 8 heads."""
    assert MODELS["opt-13b"].token_bytes() == 40 * 2 * 5120 * 2 == 819_200
    assert MODELS["opt-13b"].token_bytes(2) == 1.5 * 819_200
    assert MODELS["llama-3-8b"].token_bytes() == 32 * 2 * 1024 * 2 == 131_072


@pytest.mark.parametrize("pages", [1, 3, 16, 100])
def test_refresh_form_against_its_count(pages):
    for limit in (0, *range(pages, 6 * pages, max(1, pages // 3))):
        for steps in (1, 2, 3, 7, 20, 61):
            assert refresh_amplification(steps, pages, limit) == refreshed(steps, pages, limit)


def test_limits_below_a_step_are_refused():
    with pytest.raises(ValueError, match="a step reads 512 pages"):
        refresh_amplification(10, 512, 511)


def test_record():
    record = endurance_record(1 << 40, 1000, 1.25, 50.0, 2000, 100, [0, 10_000])
    for row in record["rows"]:
        refresh = 1 if row["read_limit"] == 0 else 1 + 1999 // 100
        assert row["refresh_amplification"] == refresh
        bytes_written = row["tokens"] * row["token_bytes"] * 1.25 * refresh
        assert bytes_written == pytest.approx(1000 * 2**40)
        assert row["years"] * 31_536_000 * 50 == pytest.approx(row["tokens"])
    assert len(record["rows"]) == 2 * 2 * 2


def test_command(capsys, tmp_path):
    file = tmp_path / "endurance.json"
    picture = tmp_path / "endurance.png"
    options = ["--limits", "0", "100000", "--json", str(file), "--picture", str(picture)]
    assert main(["endurance", *options]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = capsys.readouterr().out
    assert "32.3 G tokens" in text and "llama-3-8b" in text
    assert len(json.loads(file.read_text())["rows"]) == 8
    for bad in (["--limits", "100"], ["--rate", "0"], ["--amplification", "0.5"]):
        assert main(["endurance", *bad]) == 2
