"""Registers as one process each: what is folded, what must stay as it is."""

import textwrap

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hls_attention.verilog import to_verilog
from hls_attention.verilog_registers import fold_registers


class Parts(wiring.Component):
    """A register set in parts, one that counts, and one whose next value nobody else may lose."""

    load: In(1)
    which: In(1)
    value: In(4)
    parts: Out(8)
    count: Out(8)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.load):
            m.d.sync += self.parts.word_select(self.which, 4).eq(self.value)
        m.d.sync += self.count.eq(self.count + 1)
        return m


def test_registers_of_a_component_have_one_process_each():
    text = to_verilog(Parts(), "parts")
    assert "_next" not in text and "always @*" not in text and "always_start" not in text
    assert text.count("always @(posedge clk) begin") == 2
    assert "parts[3:0] <= value;" in text and "parts[7:4] <= value;" in text
    assert text.count("<= 8'h00;") == 2  # resets


MODULE = """\
module m(clk, en, d, q, other);
  reg always_start = 0;
  reg [7:0] q_next;
  reg [7:0] comb;
  always @(posedge clk)
    q <= q_next;
  always @* begin
    if (always_start) begin end
    q_next = q;
    if (en) begin
      q_next = d;
    end
  end
  always @* begin
    if (always_start) begin end
    comb = d;
  end
{more}endmodule
"""


def test_a_register_is_folded_and_other_processes_stay():
    text = fold_registers(MODULE.format(more=""))
    folded = """\
      always @(posedge clk) begin
        if (en) begin
          q <= d;
        end
      end
    """
    assert textwrap.indent(textwrap.dedent(folded), "  ").rstrip() in text
    assert "q_next" not in text and "  always @* begin\n" in text and "    comb = d;\n" in text
    assert "reg always_start" in text


def test_a_next_value_that_is_read_elsewhere_stays():
    text = MODULE.format(more="  assign other = q_next;\n")
    assert fold_registers(text) == text
