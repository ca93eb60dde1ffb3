"""``instinfer schedule``: the table of clocks, stages, JSON, and what is refused."""

import json
import re

import pytest

from hls_attention import kernels, selection_kernels
from hls_attention.hls import Kernel
from host.cli import main

KNOWN = {**vars(kernels), **vars(selection_kernels)}
NAMES = [k.name for k in KNOWN.values() if isinstance(k, Kernel)]


def run(capsys, *arguments):
    status = main(["schedule", *arguments])
    return status, *capsys.readouterr()


def test_the_table_has_every_kernel_at_every_clock(capsys):
    status, out, _ = run(capsys)
    assert status == 0
    table = out.split("\n\n")[1]
    assert "150 MHz" in table and "250 MHz *" in table and "350 MHz" in table
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line.split()}
    for name in NAMES:
        schedule = KNOWN[name].schedule(350e6)
        assert rows[name][:2] == [str(schedule.luts), str(schedule.dsps)]
        assert rows[name][-2:] == [str(schedule.latency), str(schedule.ffs)]
        assert f"{name} at 250 MHz: latency" in out


def test_one_kernel_at_several_clocks(capsys):
    _, out, _ = run(capsys, "--clock", "120", "300", "--kernel", "score")
    assert "120 MHz *" in out and "300 MHz *" in out and "normalise" not in out
    assert "score at 120 MHz: latency" in out and "score at 300 MHz: latency" in out
    assert out.count("stage     delay") == 2


def test_json(capsys, tmp_path):
    status, out, _ = run(capsys, "--json", "--kernel", "weight", "--clock", "200")
    assert status == 0
    record = json.loads(out)
    assert record["clocks_mhz"] == [150, 200, 250, 350] and list(record["kernels"]) == ["weight"]
    for figures in record["kernels"]["weight"]:
        schedule = kernels.weight.schedule(figures["clock_mhz"] * 1e6)
        assert figures["latency"] == len(figures["stages"]) == schedule.latency
        assert sum(stage["registers"] for stage in figures["stages"]) == figures["ff"]
        assert figures["ii"] == 1 and figures["lut"] == schedule.luts
    file = tmp_path / "new" / "figures.json"
    _, out, _ = run(capsys, "--json", str(file))
    assert set(json.loads(file.read_text())["kernels"]) == set(NAMES)
    assert "stages" in out


def test_a_clock_too_fast_for_some_kernel_beside_the_one_asked_for(capsys, monkeypatch):
    monkeypatch.setattr("host.schedule.BESIDE_MHZ", (450.0,))
    status, out, _ = run(capsys, "--clock", "100", "--kernel", "product")
    assert status == 0 and "450 MHz" in out and "too fast" not in out
    monkeypatch.setattr("host.schedule.BESIDE_MHZ", (900.0,))
    _, out, _ = run(capsys, "--clock", "100", "--kernel", "product")
    assert "too fast" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clock", "5"], "50..1000"),
        (["--clock", "250", "2000"], "2000 is not possible"),
        (["--kernel", "x"], "unknown kernel 'x': choose one of"),
        (["--clock", "900", "--kernel", "product"], "900 MHz.*lower the clock"),
        (["--json", "/dev/null/x"], "cannot be written.*--json"),
    ],
)
def test_refused(capsys, arguments, message):
    status, _, err = run(capsys, *arguments)
    assert status == 2 and err.count("\n") == 1
    assert re.search(message, err), err
