"""`instinfer bench prefill`: what must hold of its clocks, and its bound by hand."""

import json

import numpy as np
import pytest

from host import DriveConfig
from host.bench.prefill_measure import hidden, measure, pages_of_layer, program_clocks
from host.cli import main
from host.time_models import MODELS, Decoder

TOKENS, LAYERS = 90, 4
TOY = Decoder("toy", LAYERS, hidden=128, q_heads=2, kv_heads=2, head_dim=64, feed_forward=128)


@pytest.fixture(scope="module")
def runs():
    """By host ("none", "fast": half of the drive's time, "slow": twice) and overlap."""
    config = DriveConfig.preset("tiny")

    def run(seconds, overlap):
        return measure(
            config, TOY, layers=LAYERS, tokens=TOKENS, host_seconds=seconds, overlap=overlap
        )

    found = {("none", overlap): run(0.0, overlap) for overlap in (False, True)}
    layer = found["none", True]["programmed"] / LAYERS / config.clock_hz
    for name, share in (("fast", 0.5), ("slow", 2)):
        found |= {(name, overlap): run(share * layer, overlap) for overlap in (False, True)}
    return config, found


def test_bound_of_the_default_drive_by_hand():
    config = DriveConfig.preset("default")
    pages = pages_of_layer(MODELS["smollm2"], 2048, config)
    assert pages == 2 * 3 * 2048 * 64 * 2 // 4096
    assert pages_of_layer(MODELS["smollm2"], 2047, config) == 2 * 3 * 63
    assert program_clocks(pages, config) == 384 / 128 * 450e-6 * 250e6


def test_hidden_is_of_the_shorter_one():
    assert hidden(100, 30, 130) == 0 and hidden(100, 30, 100) == 1
    assert hidden(30, 100, 115) == 0.5
    assert hidden(0, 100, 100) is None


def test_rows_are_in_order_and_long_enough(runs):
    config, found = runs
    words = TOKENS * TOY.kv_heads * TOY.head_dim * 2 * 2 // 8
    t_prog = config.flash.timing.t_prog_ns * config.clock_hz / 1e9
    for (_, overlap), run in found.items():
        seconds = run["host_seconds"]
        assert [row["layer"] for row in run["rows"]] == list(range(LAYERS))
        before = None
        for row in run["rows"]:
            assert row["host_end"] - row["host_start"] == round(seconds * config.clock_hz)
            assert row["link_start"] >= row["host_end"]
            assert row["link_end"] - row["link_start"] > words
            assert row["programs_start"] > row["link_start"]
            assert row["programs_end"] >= row["programs_start"] + round(t_prog)
            if before is not None:
                assert row["link_start"] >= before["link_end"]
                assert row["host_start"] >= before["host_end" if overlap else "link_end"]
            before = row
        assert run["programmed"] == before["programs_end"]
        assert run["answered"] >= before["link_end"]
        assert run["pages"] == LAYERS * 2 * TOY.kv_heads * (TOKENS // 4) == len(run["programs"])


def test_dies_program_one_page_at_a_time(runs):
    config, found = runs
    for run in found.values():
        begin, end = np.array(run["programs"]).T
        # those that end in the clock in which others begin are over
        busy = [((begin <= at) & (end > at)).sum() for at in begin]
        assert max(busy) <= config.channels * config.dies
        assert 0 < run["of_dies"] <= 1 and 0 < run["steady"] <= 1


def test_a_slow_host_hides_the_drive_but_for_the_last_layer(runs):
    """What is left is what the drive takes for a layer that comes to it alone."""
    config, found = runs
    slow = found["slow", True]
    alone = measure(config, TOY, layers=1, tokens=TOKENS, host_seconds=0.0, overlap=True)
    last = slow["rows"][-1]
    assert last["host_end"] - slow["host"] < 10 * LAYERS  # doorbells, nothing else
    assert slow["programmed"] - last["host_end"] == pytest.approx(alone["programmed"], rel=0.02)
    for row, behind in zip(slow["rows"], slow["rows"][1:]):
        assert row["programs_end"] < behind["host_end"]


def test_a_fast_host_is_hidden_but_for_its_first_layer(runs):
    _, found = runs
    alone, fast = found["none", True], found["fast", True]
    first = fast["rows"][0]["host_end"]
    assert abs(fast["programmed"] - first - alone["programmed"]) < 0.01 * alone["programmed"]


@pytest.mark.parametrize("host", ["fast", "slow"])
def test_waiting_costs_the_host_what_the_drive_takes_to_answer(runs, host):
    _, found = runs
    waited, under_way = found[host, False], found[host, True]
    lost = waited["rows"][-1]["host_start"] - under_way["rows"][-1]["host_start"]
    spent = sum(row["link_end"] - row["host_end"] for row in waited["rows"][:-1])
    assert lost == pytest.approx(spent, rel=0.01) and waited["answered"] > under_way["answered"]


def test_command_line(tmp_path, capsys):
    args = ["bench", "prefill", "--preset", "tiny", "--layers", "2", "--tokens", "70"]
    assert main([*args, "--host", "t4", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "t4" in text and "bench_prefill.png" in text
    record = json.loads((tmp_path / "bench_prefill.json").read_text())
    assert [(run["host_name"], run["overlap"]) for run in record["runs"]] == [
        ("none", True), ("none", False), ("t4", True), ("t4", False),
    ]  # fmt: skip
    assert record["runs"][0]["hidden"] is None and record["runs"][2]["hidden"] <= 1
    assert (tmp_path / "bench_prefill.png").stat().st_size > 10_000
    assert main([*args, "--host", "none", "--out", str(tmp_path), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "31"], "1..30"),
        (["--layers", "0"], "1..30"),
        (["--tokens", "0"], "--tokens 0"),
        (["--tokens", "999999"], "give 1.."),
        (["--quick", "--tokens", "64"], "--quick"),
        (["--quick", "--layers", "0"], "--quick"),
    ],
)
def test_bad_options(arguments, message, capsys):
    assert main(["bench", "prefill", *arguments]) == 2
    assert message in capsys.readouterr().err
