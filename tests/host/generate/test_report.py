"""The report says what the record holds, explains the bottleneck, and draws what the flash did."""

import io
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import torch
from rich.console import Console

from cosim.native_lane import TRACE_DTYPE, TRACE_KINDS
from host import DriveConfig
from host.generate.record import make_record
from host.generate.report import bytes_text, hint, show_report, time_text
from host.generate.run import Run, Step
from host.generate.timeline import Timeline, intervals, save_timeline
from host.generate.traffic import expected_traffic
from host.manifest import manifest
from host.stats import statistics
from rtl.registers import BREAKDOWN, CHANNEL_COUNTERS, COUNTERS

CONFIG = DriveConfig.preset("default", channels=4)
SHAPE = (30, 9, 3, 64)
TIMES = {"data": 140, "command": 30, "engine": 90, "arrays": 710, "dma": 10, "idle": 20}


def account(context, cycles=1000, wrong_pages=0, **times):
    """Statistics of one step, as `host.stats.difference` gives them."""
    pages = expected_traffic(CONFIG, context, SHAPE[0], SHAPE[2], SHAPE[3]).pages
    times = {**TIMES, **times}
    total = sum(times.values())
    counters = dict.fromkeys(COUNTERS, 0)
    counters |= {f"time_{name}": times[name] * cycles // total for name in BREAKDOWN}
    counters |= {"cycles": cycles, "pages_read": int(pages.sum()), "commands": 30, "jobs": 30,
                 "bytes_flash": int(pages.sum()) * 4096, "bytes_tail": 400_000,
                 "bytes_link_in": 60_000, "bytes_link_out": 40_000}  # fmt: skip
    channels = [dict.fromkeys(CHANNEL_COUNTERS, 0) for _ in range(4)]
    for number, channel in enumerate(channels):
        channel |= {"data": 200 + number, "command": 50, "waiting": 700 - number, "idle": 50}
        channel["pages_read"] = int(pages[number]) + wrong_pages
    own = {"saturated": 0, "nonfinite": 0, "simulated_clocks": cycles // 2}
    return statistics("rtl", CONFIG.clock_hz, counters, channels, own)


def make(accounts, comparison=None):
    run = Run("rtl", SHAPE, [1] * 320, text="An answer.")
    run.prefill = Step(5, 5, 320, 1.0, account(320))
    for n, stats in enumerate(accounts):
        run.steps.append(Step(6 + n, 6 + n, 321 + n, 0.5, stats, torch.zeros(3)))
    return make_record(
        run, SimpleNamespace(name="smollm2"), CONFIG, manifest(CONFIG, 0), comparison
    )


def shown(record, pictures=()):
    out = io.StringIO()
    show_report(Console(file=out, width=400, highlight=False), record, pictures)
    return out.getvalue()


def test_record_weighs_steps_by_their_cycles():
    record = make([account(321, 1000), account(322, 3000, arrays=0, idle=730)])
    assert record["cycles"] == 4000 and record["seconds_simulated"] == 4000 / 250e6
    assert record["seconds_per_token"] == 2000 / 250e6
    assert sum(record["breakdown"].values()) == pytest.approx(1)
    assert record["breakdown"]["arrays"] == pytest.approx(0.71 * 0.25)
    assert record["breakdown"]["idle"] == pytest.approx(0.02 * 0.25 + 0.73 * 0.75)
    assert record["channel_busy"] == pytest.approx([0.250, 0.251, 0.252, 0.253])
    assert record["pages_read"] == 2 * 2 * 10 * 90


def test_share_from_flash_is_measured_and_held_against_the_map():
    record = make([account(321), account(322)])
    share = record["flash_share"]
    assert share["pages_agree_with_map"] is True
    traffic = expected_traffic(CONFIG, 322, *SHAPE[:1], *SHAPE[2:])
    np.testing.assert_allclose(share["by_channel_least"], traffic.share)
    assert 0.98 < share["least"] <= 320 / 322 + 0.01
    assert make([account(321, wrong_pages=-2)])["flash_share"]["pages_agree_with_map"] is False
    assert "do NOT agree" in shown(make([account(321, wrong_pages=-2)]))
    # at a multiple of the group size the newest group may still be read from the tail
    assert make([account(321)] * 31 + [account(351)])["flash_share"]["pages_agree_with_map"]


def test_report_explains():
    text = shown(make([account(321, 460_000), account(322, 460_000)]), [("picture", "out/t.png")])
    parts = ("1.84 ms at 250 MHz", "waiting for arrays 71 %", "bus: data 14 %", "engine 9 %",
             "7.37 MB from flash (1,800 pages) + 400 kB tail", "100 kB", "(1 : 78)", "next: ",
             "920 k cycles/s", "bus busy 25 %", "agree with the map", "out/t.png")  # fmt: skip
    for part in parts:
        assert part in text, part
    assert text.index("waiting for arrays") < text.index("bus: data") < text.index("idle")


def test_report_shows_the_comparison():
    same = {"same_tokens": True, "first_difference": None, "max_logit_difference": 0.0,
            "rms_logit_difference": 0.0}  # fmt: skip
    far = {**same, "same_tokens": False, "first_difference": 7, "max_logit_difference": 0.031}
    text = shown(make([account(321)], {"twin": same, "golden": same, "float32": far}))
    assert "rtl = twin = golden" in text and "0 to golden" in text
    assert "0.031 to the unmodified float32 model (which prefers another token at 7)" in text
    text = shown(make([account(321)], {"twin": same, "golden": far}))
    assert "rtl = twin" in text and "golden prefers another token at 7" in text


@pytest.mark.parametrize(
    ("part", "advice"),
    [("arrays", "longer --prompt-file"), ("data", "--channels 8"), ("command", "larger pages"),
     ("engine", "clock_hz=300000000"), ("dma", "longer --prompt-file"),
     ("idle", "the host is late")],
)  # fmt: skip
def test_hint_names_the_bottleneck(part, advice):
    text = hint(make([account(321, **{part: 10_000})]))
    assert advice in text and "%" in text


def test_an_answer_of_one_token_has_no_decode_step():
    record = make([])
    assert record["cycles"] == 0 and record["breakdown"] is None
    assert "no decode step" in shown(record)


@pytest.mark.parametrize(
    ("value", "text"), [(12, "12 bytes"), (4096, "4.1 kB"), (27_300_000, "27.3 MB")]
)
def test_units_of_bytes(value, text):
    assert bytes_text(value) == text


def test_units_of_time():
    assert [time_text(t) for t in (2.5, 1.84e-3, 4.5e-5, 5e-9)] == [
        "2.5 s",
        "1.84 ms",
        "45 us",
        "5 ns",
    ]


def events():
    kinds = {name: number for number, name in TRACE_KINDS.items()}
    rows = []
    for channel in range(4):
        for die in range(16):
            rows.append((1000 + die, 0, channel, die, kinds["sense"]))
            rows.append((13_000 + 800 * die, 750, channel, die, kinds["data out"]))
    rows.append((5000, 700, 2, 3, kinds["data in"]))
    rows.append((5700, 0, 2, 3, kinds["program"]))
    return np.array(rows, TRACE_DTYPE)


def test_intervals_last_as_long_as_the_profile_says():
    begin, end, channel, die, kind = intervals(events(), CONFIG)
    length = end - begin
    assert set(length[kind == "sense"]) == {11_250}  # 45 us at 250 MHz
    assert set(length[kind == "program"]) == {112_500}  # 450 us
    assert set(length[kind == "data out"]) == {750}
    assert channel.max() == 3 and die.max() == 15


@pytest.mark.parametrize("layers", [[], [9_000, 18_000, 27_000]])
def test_timeline_is_drawn(tmp_path, layers):
    path = tmp_path / "timeline.png"
    timeline = Timeline(events(), 0, 27_000, layers, "One token", "of a test")
    save_timeline(path, timeline, CONFIG)
    image = matplotlib.image.imread(path)
    assert image.shape[0] > 1000 and image.shape[1] > 1500
    dark = np.all(np.abs(image[..., :3] - np.array([15, 94, 115]) / 255) < 0.02, axis=-1)
    assert dark.mean() > 0.005  # transfers are there to be seen
