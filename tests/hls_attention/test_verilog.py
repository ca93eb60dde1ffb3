"""Verilog output: shared modules once, RAM by hand, the same text every time."""

import re

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hls_attention.streams import Queue, SkidBuffer
from hls_attention.verilog import Ram, Shared, port_names, to_verilog

PAIR = data.StructLayout({"key": 5, "value": 11})


class Lane(wiring.Component):
    i: In(stream.Signature(PAIR, always_ready=True))
    o: Out(stream.Signature(PAIR))
    table: In(PAIR).array(2)

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = Ram(width=16, depth=600)
        m.submodules.inner = inner = Shared("inner", lambda: SkidBuffer(PAIR))
        m.d.comb += [
            inner.i.valid.eq(self.i.valid),
            inner.i.payload.key.eq(self.i.payload.key + self.table[1].key),
            inner.i.payload.value.eq(self.i.payload.value),
            ram.w_en.eq(self.i.valid),
            ram.w_addr.eq(self.i.payload.value),
            ram.w_data.eq(self.i.payload),
        ]
        wiring.connect(m, inner.o, wiring.flipped(self.o))
        return m


class Pair(wiring.Component):
    i: In(stream.Signature(PAIR, always_ready=True)).array(2)
    o: Out(stream.Signature(PAIR)).array(2)

    def elaborate(self, platform):
        m = Module()
        for index in range(2):
            lane = Shared("lane", Lane)
            m.submodules[f"lane_{index}"] = lane
            wiring.connect(m, wiring.flipped(self.i[index]), lane.i)
            wiring.connect(m, lane.o, wiring.flipped(self.o[index]))
            m.d.comb += lane.table[1].key.eq(index)
        return m


def test_each_shared_module_is_written_once():
    text = to_verilog(Pair(), name="pair")
    assert text == to_verilog(Pair(), name="pair")
    for module in ("lane", "inner", "ram_16x512", "ram_16x88", "pair"):
        assert len(re.findall(rf"^module {module}\(", text, re.MULTILINE)) == 1, module
    assert "  lane lane_0 (" in text and "  lane lane_1 (" in text
    assert "o__1__payload" in text and "i__0__ready" not in text
    assert ("i__1__payload", "i", 16) in port_names(Pair())


def test_apart_hides_the_surroundings_from_verilator():
    class Single(wiring.Component):
        i: In(stream.Signature(3))

        def elaborate(self, platform):
            m = Module()
            m.submodules.buffer = buffer = Shared("buffer", lambda: Queue(3, depth=3), apart=True)
            wiring.connect(m, wiring.flipped(self.i), buffer.i)
            return m

    text = to_verilog(Single())
    assert text.count("verilator no_inline_module") == 1
    marked = {line.split()[-5].rstrip(";") for line in text.splitlines() if "public_flat" in line}
    assert marked == {"i__payload", "i__valid", "o__ready"}


def test_two_components_under_one_name_are_refused():
    class Confused(wiring.Component):
        i: In(1)

        def elaborate(self, platform):
            m = Module()
            m.submodules.a = Shared("same", lambda: SkidBuffer(3))
            m.submodules.b = Shared("same", lambda: SkidBuffer(4))
            return m

    with pytest.raises(ValueError, match="same"):
        to_verilog(Confused())
    with pytest.raises(ValueError, match="Ram"):
        Shared("Ram", lambda: SkidBuffer(1))


def test_shared_is_the_component_in_pysim():
    dut = Shared("queue", lambda: Queue(8, depth=4))
    seen = []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        for value in (7, 9):
            ctx.set(dut.i.payload, value)
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for _ in range(6):
            _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                seen.append(payload)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert seen[-1] == 9 and len(seen) >= 1


def test_ram_reads_old_data_one_clock_later():
    dut = Ram(width=12, depth=5)

    async def bench(ctx):
        ctx.set(dut.w_en, 1)
        for row in range(5):
            ctx.set(dut.w_addr, row)
            ctx.set(dut.w_data, 100 + row)
            await ctx.tick()
        ctx.set(dut.w_addr, 3)
        ctx.set(dut.w_data, 999)
        ctx.set(dut.r_en, 1)
        ctx.set(dut.r_addr, 3)
        await ctx.tick()
        assert ctx.get(dut.r_data) == 103
        ctx.set(dut.w_en, 0)
        await ctx.tick()
        assert ctx.get(dut.r_data) == 999
        ctx.set(dut.r_en, 0)
        ctx.set(dut.r_addr, 1)
        await ctx.tick()
        assert ctx.get(dut.r_data) == 999

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    with pytest.raises(ValueError, match="1 rows"):
        Ram(width=1, depth=1)
