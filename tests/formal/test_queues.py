"""The stream contract of every queue and register slice, at the depths that the drive uses."""

import pytest
from amaranth.lib import fifo

from hls_attention.streams import Queue, SkidBuffer
from rtl.nand.ring import Ring
from tests.formal import contents
from tests.formal.mutant import mutant
from tests.formal.prover import Counterexample, NotInductive, check, prove
from tests.formal.stream_contract import StreamContract

pytestmark = pytest.mark.formal

WIDTH = 1
"""Payloads are moved, never looked at: one bit tells the followed one from another."""

DEEPEST = pytest.param(512, marks=pytest.mark.soak)
"""Left to `make formal`."""


def test_skid_buffer(proved):
    proved(
        "SkidBuffer",
        StreamContract(SkidBuffer(WIDTH), capacity=2, latency=1, contents=contents.skid_buffer),
    )


@pytest.mark.parametrize("depth", [2, 3, 4, 8, 16, 32, 64, 128, DEEPEST])
def test_queue(proved, depth):
    contract = StreamContract(
        Queue(WIDTH, depth=depth), capacity=depth, latency=2, contents=contents.queue
    )
    proved(f"Queue, depth {depth}", contract)


@pytest.mark.parametrize("depth", [2, 3, 4, 8, 16])
def test_ring(proved, depth):
    contract = StreamContract(
        Ring(WIDTH, depth=depth), capacity=depth, latency=1, contents=contents.ring
    )
    proved(f"Ring, depth {depth}", contract)


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("self.i.ready.eq(~held)", "self.i.ready.eq(1)"),
        ("self.o.valid.eq(self.i.valid | held)", "self.o.valid.eq(self.i.valid)"),
        ("with m.If(held):", "with m.If(held & ~self.i.valid):"),
        ("held.eq(0)]", "held.eq(held)]"),
        ("[held.eq(1), kept.eq(self.i.payload)]", "kept.eq(self.i.payload)"),
        (
            "[held.eq(1), kept.eq(self.i.payload)]",
            "[held.eq(1), kept.eq(self.i.payload), self.o.payload.eq(self.i.payload)]",
        ),
        ("m.If(self.o.ready | ~self.o.valid)", "m.If(self.o.ready)"),
    ],
    ids=[
        "always ready",
        "drops the one kept",
        "overtakes",
        "doubles",
        "loses",
        "does not hold",
        "waits for ready",
    ],
)
def test_faults_of_a_skid_buffer_are_found(right, wrong):
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(StreamContract(mutant(SkidBuffer, right, wrong)(WIDTH), capacity=2, latency=1))


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("self.level != self._depth", "1"),
        ("self.level != 0", "(self.level != 0) & self.o.ready"),
        ("m.If(push & ~pop)", "m.If(push)"),
        ("Mux(r_row == last, 0, r_row + 1)", "r_row + 1"),
        ("Mux(w_row == last, 0, w_row + 1)", "Mux(pop, w_row, w_row + 1)"),
        ("write.en.eq(push)", "write.en.eq(self.i.valid)"),
    ],
    ids=[
        "overflows",
        "waits for ready",
        "miscounts",
        "reads on",
        "writes over",
        "writes when full",
    ],
)
def test_faults_of_a_ring_are_found(right, wrong):
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(StreamContract(mutant(Ring, right, wrong)(WIDTH, depth=3), capacity=3, latency=1))


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("inner_level != inner_depth", "1"),
        ("inner_r_rdy & (~self.r_rdy | self.r_en)", "inner_r_rdy"),
        ("with m.Elif(self.r_en):", "with m.Else():"),
        ("produce.eq(_incr(produce, inner_depth))", "produce.eq(produce + 1)"),
        ("inner_level + self.r_rdy", "inner_level"),
    ],
    ids=["overflows", "reads over the one shown", "does not hold", "leaves rows out", "miscounts"],
)
def test_faults_of_the_rows_of_a_queue_are_found(right, wrong, monkeypatch):
    monkeypatch.setattr(fifo, "SyncFIFOBuffered", mutant(fifo.SyncFIFOBuffered, right, wrong))
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(StreamContract(Queue(WIDTH, depth=4), capacity=4, latency=2))


def test_the_counterexample_is_shortest_and_shows_the_ports():
    broken = mutant(SkidBuffer, "[held.eq(1), kept.eq(self.i.payload)]", "held.eq(0)")
    with pytest.raises(Counterexample) as caught:
        check(StreamContract(broken(WIDTH), capacity=2, latency=1))
    first, *rows = str(caught.value).splitlines()
    # one to the output, one lost, the first leaves; then the second should show
    assert first.startswith("broken 3 clocks after reset: observers.py")
    trace = {name: values for name, *values in map(str.split, rows)}
    assert trace["i__valid"][:2] == ["1", "1"]
    assert set(trace) == {"choose"} | {
        f"{port}__{wire}" for port in "io" for wire in ("valid", "ready", "payload")
    }


def test_without_its_contents_a_queue_is_not_inductive():
    with pytest.raises(NotInductive, match="an invariant is missing"):
        prove(StreamContract(Queue(WIDTH, depth=2), capacity=2, latency=2), deepest=4)
