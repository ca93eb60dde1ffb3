"""What the native lane is made from: the wrapper, kept Verilog, designs that do not fit."""

import pytest
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from cosim import native_build, top
from cosim.bus_record import taps
from cosim.native_build import config_verilog
from cosim.native_glue import glue, wrapper
from rtl.config import DriveConfig


def test_verilog_is_kept_until_something_changes(monkeypatch, tmp_path):
    monkeypatch.setenv("INSTINFER_CACHE", str(tmp_path / "cache"))
    made = []

    def fake(config):
        made.append(config)
        return f"// {config.channels}\n"

    monkeypatch.setattr(top, "top_verilog", fake)
    two, one = DriveConfig.preset("tiny"), DriveConfig.preset("tiny", channels=1)
    for config in (two, one, two, one):
        assert config_verilog(config, lambda line: None) == f"// {config.channels}\n"
    assert made == [two, one]
    source = tmp_path / "rtl.py"
    source.write_text("")
    monkeypatch.setattr(native_build, "ROOT", tmp_path)
    monkeypatch.setattr(native_build, "HARDWARE", ("rtl.py",))
    for text in ("a", "a", "b"):
        source.write_text(text)
        config_verilog(two, lambda line: None)
    assert made == [two, one, two, two]


def test_wrapper_registers_every_input_and_ties_the_reset(toy_top):
    text = wrapper(toy_top, "toy")
    assert "rst(1'b0)" in text and "input rst" not in text
    for name, vector in (("skip", "[31:0] "), ("csr__w_en", ""), ("host__r__payload", "[65:0] ")):
        assert f"input {vector}{name}" in text
        assert f"reg {vector}{name}_r = 0;" in text and f"{name}_r <= {name};" in text
    assert "#define CHANNELS 2\n" in glue(toy_top)[0] and glue(toy_top)[1] == 2


def test_a_watched_wrapper_is_the_same_with_the_buses_besides(toy_top):
    plain = wrapper(toy_top, "toy").splitlines()
    seen = taps(["dies_0", "dies_1"], 3)
    text = wrapper(toy_top, "toy", seen).splitlines()
    kept = iter(text)
    assert all(any(line.rstrip(",") == other.rstrip(",") for other in kept) for line in plain)
    assert "  output [2:0] bus__1__ready" in text
    assert "  assign bus__1__byte = top.dies_1.phy__w_data[7:0];" in text
    assert len(text) == len(plain) + 2 * len(seen) == len(plain) + 20
    assert "WATCHED" in glue(toy_top, watched=True)[0] and "WATCHED" not in glue(toy_top)[0]


def test_another_design_cannot_be_watched(toy_lane):
    with pytest.raises(ValueError, match="the buses of ToyTop cannot be watched"):
        toy_lane(watch=print)


def test_a_design_with_other_ports_is_refused():
    with pytest.raises(ValueError, match="no port csr__addr"):
        glue(wiring.Component({"skip": In(32)}))
