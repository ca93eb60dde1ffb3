"""What the native lane is made from: the wrapper, kept Verilog, designs that do not fit."""

import pytest
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from cosim import native_build, top
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


def test_a_design_with_other_ports_is_refused():
    with pytest.raises(ValueError, match="no port csr__addr"):
        glue(wiring.Component({"skip": In(32)}))
