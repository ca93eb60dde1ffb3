"""The stream contract, proved for the blocks every stream is built from; broken ones are caught."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hls_attention.streams import Queue, SkidBuffer
from tests.formal.prover import Counterexample, prove
from tests.formal.stream_contract import StreamContract

pytestmark = pytest.mark.formal

WIDTH = 1
"""Payloads are moved, never looked at: one bit tells the followed one from another."""


@pytest.mark.parametrize(
    "make, capacity, latency",
    [
        (lambda: SkidBuffer(WIDTH), 2, 1),
        (lambda: Queue(WIDTH, depth=2), 2, 2),
        (lambda: Queue(WIDTH, depth=3), 3, 2),
    ],
    ids=["skid-buffer", "queue-2", "queue-3"],
)
def test_contract_holds_for_ever(make, capacity, latency):
    component = make()
    level = getattr(component, "level", None)
    prove(StreamContract(component, width=WIDTH, capacity=capacity, latency=latency, level=level))


class Broken(wiring.Component):
    """A skid buffer with one thing wrong."""

    def __init__(self, fault):
        self._fault = fault
        super().__init__({"i": In(stream.Signature(WIDTH)), "o": Out(stream.Signature(WIDTH))})

    def elaborate(self, platform):
        m = Module()
        fault = self._fault
        held = Signal()
        kept = Signal(WIDTH)
        valid = Signal()
        m.d.comb += [
            self.i.ready.eq(1 if fault == "always ready" else ~held),
            self.o.valid.eq(valid & self.o.ready if fault == "valid waits for ready" else valid),
        ]
        with m.If(self.o.ready | ~valid):
            m.d.sync += valid.eq(self.i.valid | held)
            if fault != "doubles":
                m.d.sync += held.eq(0)
            with m.If(held if fault != "overtakes" else held & ~self.i.valid):
                m.d.sync += self.o.payload.eq(kept)
            with m.Elif(self.i.valid):
                m.d.sync += self.o.payload.eq(self.i.payload)
        with m.Elif(self.i.valid & ~held):
            m.d.sync += [held.eq(fault != "loses"), kept.eq(self.i.payload)]
            if fault == "does not hold":
                m.d.sync += self.o.payload.eq(self.i.payload)
        return m


@pytest.mark.parametrize(
    "fault, caught",
    [
        ("none", False),
        ("always ready", True),
        ("valid waits for ready", True),
        ("doubles", True),
        ("overtakes", True),
        ("loses", True),
        ("does not hold", True),
    ],
)
def test_faults_are_found(fault, caught):
    contract = StreamContract(Broken(fault), width=WIDTH, capacity=2, latency=1)
    if not caught:
        prove(contract)
        return
    with pytest.raises(Counterexample, match="clocks after reset"):
        prove(contract)
