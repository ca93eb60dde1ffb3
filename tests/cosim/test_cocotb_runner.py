"""The cocotb path: flags, streams with stalls, surroundings equal to those of the native lane."""

import json
from hashlib import sha256

import numpy as np
import pytest
from cocotb_tools.runner import Verilator

from cosim.cocotb_runner import FastVerilator, SimulationFailed, run
from cosim.environment import HOST_BASE, EnvironmentTiming
from hls_attention.streams import Queue
from hls_attention.verilog import to_verilog
from rtl.config import DriveConfig
from tests.cosim.toy import ToyTop


def test_nothing_but_ports_is_public(monkeypatch, tmp_path):
    """`_build_command` is private to cocotb: this tells when an update changes it."""
    commands = []
    monkeypatch.setattr(FastVerilator, "_execute", lambda self, cmds, cwd: commands.extend(cmds))
    FastVerilator().build(sources=[tmp_path / "x.v"], hdl_toplevel="x", build_dir=tmp_path)
    assert "-cc" in commands[0] and "--public-flat-rw" not in commands[0]
    monkeypatch.setattr(Verilator, "_execute", lambda self, cmds, cwd: commands.extend(cmds))
    monkeypatch.setattr("shutil.which", lambda name: name)
    Verilator().build(sources=[tmp_path / "x.v"], hdl_toplevel="x", build_dir=tmp_path)
    assert "--public-flat-rw" in commands[2]


@pytest.fixture(scope="module")
def queue():
    return to_verilog(Queue(70, depth=5), name="queue70")


def test_queue(queue):
    assert run("tests.cosim.cocotb_queue", queue, "queue70", test_filter="passes") == 4


def test_a_failure_is_one(queue):
    with pytest.raises(SimulationFailed, match="on purpose"):
        run("tests.cosim.cocotb_queue", queue, "queue70", test_filter="fails")


def test_a_module_without_tests_is_one(queue):
    with pytest.raises(SimulationFailed):
        run("tests.cosim.cocotb_queue", queue, "queue70", test_filter="no such test")


def test_surroundings_equal_those_of_the_native_lane(toy_lane):
    lane = toy_lane()
    lane.dram[:] = np.arange(65536).astype(np.uint8)
    copies = [
        (0, HOST_BASE + 8, 1),
        (4096, HOST_BASE + 4096, 256),
        (70000, HOST_BASE, 3),
        (0, 0, 5),
        (808, HOST_BASE + 16, 17),
    ]
    for source, target, words in copies:
        for address, value in ((0x00, source), (0x04, target), (0x08, words)):
            lane.csr_write(address, value)
        assert lane.run(max_cycles=5000).irqs == 1
    timing, clock = EnvironmentTiming(), lane.config.clock_hz
    want = {
        name: {
            f"{kind}_latency": timing.clocks(f"{name}_{kind}", clock) for kind in ("read", "write")
        }
        for name in ("host", "dram")
    }
    want |= {
        "copies": copies,
        "host_sha": sha256(lane.host).hexdigest(),
        "clocks": lane.csr_read(0x30),
        "errors": lane.csr_read(0x0C),
    }
    config = DriveConfig.preset("tiny")
    verilog = to_verilog(ToyTop(channels=config.channels, dies=config.dies), name="toy_top")
    run("tests.cosim.cocotb_toy", verilog, "toy_top", environment={"TOY_WANT": json.dumps(want)})
