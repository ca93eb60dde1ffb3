"""A design without initial values: registers and memories lose theirs, tables keep theirs."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from cosim.uninitialised import uninitialised
from hls_attention.verilog import Ram, to_verilog

TABLE = [3, 1, 4, 1]


class Everything(wiring.Component):
    """A register, a memory, a RAM and a table."""

    at: In(2)
    write: In(1)
    o: Out(8).array(4)

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = memory.Memory(shape=8, depth=4, init=[])
        m.submodules.table = table = memory.Memory(shape=8, depth=4, init=TABLE)
        m.submodules.ram = ram = Ram(width=8, depth=4)
        write, read, look = rows.write_port(), rows.read_port(), table.read_port(domain="comb")
        count = Signal(8, init=5)
        m.d.sync += count.eq(count + 1)
        m.d.comb += [
            *(port.addr.eq(self.at) for port in (write, read, look)),
            write.en.eq(self.write),
            write.data.eq(count),
            read.en.eq(1),
            *(ram.w_en.eq(self.write), ram.w_addr.eq(self.at), ram.w_data.eq(count)),
            *(ram.r_en.eq(1), ram.r_addr.eq(self.at)),
            *(o.eq(value) for o, value in zip(self.o, (count, read.data, look.data, ram.r_data))),
        ]
        return m


def test_only_tables_keep_their_contents():
    before = to_verilog(Everything(), "everything")
    after = uninitialised(before)
    assert "] = 8'h00;" in before and "] = 8'h00;" not in after
    assert "r_data = 8'd0;" in before and "r_data = 8'd0;" not in after
    assert "] o__0 = 8'h05;" in before and "] o__0 = 8'h05;" not in after
    for row, value in enumerate(TABLE):
        assert f"[{row}] = 8'h{value:02x};" in after
    assert after.count("<= 8'h05;") == before.count("<= 8'h05;") == 1  # the reset stays


def test_other_verilog_is_refused():
    with pytest.raises(ValueError, match="was it made by something else"):
        uninitialised("module m(); endmodule\n")
