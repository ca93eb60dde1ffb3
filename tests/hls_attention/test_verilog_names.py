"""Names in the Verilog: ports by the signature, instances by their names, equal modules once."""

import re

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hls_attention.streams import Queue, SkidBuffer
from hls_attention.verilog import to_verilog
from hls_attention.verilog_names import assemble, split_modules

PAIR = data.StructLayout({"key": 5, "value": 11})


class Adder(wiring.Component):
    """Adds a key to a value."""

    i: In(stream.Signature(PAIR, always_ready=True))
    table: In(4).array(2)
    sequence: In(3)
    o: Out(11)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.i.payload.key + self.i.payload.value + sum(self.table))
        with m.If(self.sequence == 5):
            m.d.sync += self.o.eq(0)
        return m


class Whole(wiring.Component):
    """Two adders behind a queue, some members of which are constant or joined."""

    i: In(stream.Signature(PAIR))
    adder: In(1)
    o: Out(11).array(2)

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(PAIR, depth=3)
        state = Signal(10)  # one register feeds two members
        m.d.sync += state.eq(state + 1)
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        m.d.comb += queue.o.ready.eq(self.adder)
        for index in range(2):
            adder = Adder()
            m.submodules["adder" if index == 0 else "second"] = adder
            m.d.comb += [
                adder.i.valid.eq(queue.o.valid),
                adder.i.payload.value.eq(queue.o.payload.value),
                adder.i.payload.key.eq(3),
                adder.table[0].eq(state[8:]),  # two bits of four: the others are constant
                adder.table[1].eq(state[:4]),
                adder.sequence.eq(state[4:7]),
                self.o[index].eq(adder.o),
            ]
        return m


def header(text):
    return re.findall(r"\w+", re.search(r"^module \w+\(([^)]*)\);", text, re.M)[1])


def test_ports_are_members_of_the_signature_in_its_order():
    modules = split_modules(to_verilog(Whole(), "whole"))
    assert header(modules["adder"]) == [
        "clk", "rst", "i__payload", "table__0__1_0", "table__1", "sequence_", "o",
    ]  # fmt: skip
    assert "input [1:0] table__0__1_0;" in modules["adder"]
    assert header(modules["whole"]) == [
        "clk", "rst", "i__payload", "i__valid", "i__ready", "adder", "o__0", "o__1",
    ]  # fmt: skip
    assert header(modules["whole_queue"]) == [
        "clk", "rst", "i__payload", "i__valid", "i__ready", "o__payload", "o__valid", "o__ready",
    ]  # fmt: skip


def test_instances_keep_their_names_and_equal_modules_are_written_once():
    text = to_verilog(Whole(), "whole")
    assert text.count("\nmodule adder(") == 1, "under the name of their class"
    assert "  adder second (" in text
    assert "  adder adder_2 (" in text, "a port of the module has this instance's name"
    assert "// Adder: Adds a key to a value.\nmodule adder(" in text
    assert "  whole_queue queue (" in text and "queue__o__valid" in text


def test_nothing_is_escaped_and_lines_are_short():
    text = to_verilog(Whole(), "whole")
    assert "\\" not in text and "enum_" not in text
    assert max(map(len, text.splitlines())) <= 120
    assert text == to_verilog(Whole(), "whole")


def test_every_case_has_a_default_and_every_signal_has_bits():
    class Choice(wiring.Component):
        i: In(stream.Signature(2))
        o: Out(stream.Signature(2))
        chosen: Out(4)

        def elaborate(self, platform):
            m = Module()
            m.submodules.queue = queue = Queue(2, depth=2)  # its memory of one row has no address
            wiring.connect(m, wiring.flipped(self.i), queue.i)
            wiring.connect(m, queue.o, wiring.flipped(self.o))
            with m.Switch(self.i.payload):
                with m.Case(1):
                    m.d.sync += self.chosen.eq(5)
                with m.Case(2):
                    with m.Switch(self.o.payload):
                        with m.Case(3):
                            m.d.sync += self.chosen.eq(7)
            return m

    text = to_verilog(Choice(), "choice")
    assert text.count("endcase") == len(re.findall(r"^ +default: ?;?$", text, re.M)) >= 2
    assert "[-1:0]" not in text


def test_the_names_change_nothing():
    """The design by its Verilog's names is simulated elsewhere; this is the same one in pysim."""
    dut = Whole()
    seen = []

    async def bench(ctx):
        ctx.set(dut.i.payload, {"key": 1, "value": 100})
        ctx.set(dut.i.valid, 1)
        for _ in range(30):
            await ctx.tick()
            seen.append((ctx.get(dut.o[0]), ctx.get(dut.o[1])))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    to_verilog(Whole(), "whole")
    sim.run()
    assert all(a == b for a, b in seen) and any(a >= 103 for a, _ in seen)


def test_modules_of_the_same_class_with_different_texts_are_told_apart():
    class Many(wiring.Component):
        i: In(stream.Signature(3)).array(4)
        o: Out(stream.Signature(3)).array(4)
        wide: In(stream.Signature(9)).array(2)
        narrow: Out(stream.Signature(9)).array(2)

        def elaborate(self, platform):
            m = Module()
            for name, i, o, shape in (("a", self.i, self.o, 3), ("b", self.wide, self.narrow, 9)):
                for index, (source, sink) in enumerate(zip(i, o)):
                    m.submodules[f"{name}_{index}"] = buffer = SkidBuffer(shape)
                    wiring.connect(m, wiring.flipped(source), buffer.i)
                    wiring.connect(m, buffer.o, wiring.flipped(sink))
            return m

    modules = split_modules(to_verilog(Many(), "many"))
    assert set(modules) == {"many", "skid_buffer", "skid_buffer_2"}
    assert modules["many"].count("  skid_buffer a_") == 4
    assert modules["many"].count("  skid_buffer_2 b_") == 2


def test_fixed_modules_are_not_merged_and_equal_names_are_refused():
    one, two = (f"// Box: It.\nmodule {name}(a);\n  input a;\nendmodule\n" for name in ("x", "y"))
    body = "  input a;\n  x first (\n  );\n  y second (\n  );\n"
    user = f"// Top: It.\nmodule top(a);\n{body}endmodule\n"
    merged = split_modules(assemble([one, two, user], fixed={"top"}))
    assert set(merged) == {"box", "top"}
    assert "  box first (" in merged["top"] and "  box second (" in merged["top"]
    assert set(split_modules(assemble([one, two, user], fixed={"top", "x"}))) == {"x", "y", "top"}
    with pytest.raises(ValueError, match="'x'"):
        split_modules(one + one)
