"""Burst reader and writer: bursts add up to their requests, words pass once, ends are marked."""

import pytest

from rtl import memory
from rtl.memory import BurstReader, BurstWriter
from tests.formal.burst_reader_contract import BurstReaderContract
from tests.formal.burst_writer_contract import BurstWriterContract
from tests.formal.mutant import mutant
from tests.formal.prover import Counterexample, check

pytestmark = pytest.mark.formal


@pytest.mark.parametrize(
    "depth, burst",
    [
        (4, 2),
        (8, 8),
        (32, 32),
        (64, 32),
        pytest.param(128, 64, marks=pytest.mark.soak),
        pytest.param(512, 256, marks=pytest.mark.soak),
    ],
)
def test_reader(proved, depth, burst):
    reader = BurstReader(depth=depth, burst=burst)
    proved(
        f"BurstReader, depth {depth}, bursts of {burst}",
        BurstReaderContract(reader, depth=depth, burst=burst),
    )


@pytest.mark.parametrize("burst", [2, 64])
def test_writer(proved, burst):
    contract = BurstWriterContract(BurstWriter(burst=burst), burst=burst)
    proved(f"BurstWriter, bursts of {burst}", contract)


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("(left <= free) | (bounded <= free)", "free != 0"),
        ("self.port.r.payload.last & ends.o.payload", "self.port.r.payload.last"),
        ("address.eq(address + (chunk << 3)), left", "address.eq(address + chunk), left"),
        ("Mux(issued, chunk, 0) - taken", "Mux(issued, chunk, 0)"),
        ("ends.i.payload.eq(left == chunk)", "ends.i.payload.eq(left <= 2)"),
        ("self.i.ready.eq(left == 0)", "self.i.ready.eq(left <= 1)"),
    ],
    ids=[
        "asks for more than it can hold",
        "ends with every burst",
        "leaves words out",
        "loses its room",
        "ends too early",
        "cuts a request short",
    ],
)
def test_faults_of_a_reader_are_found(right, wrong):
    broken = mutant(BurstReader, right, wrong)(depth=4, burst=2)
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(BurstReaderContract(broken, depth=4, burst=2, inside=False))


def test_a_burst_across_4096_bytes_is_found(monkeypatch):
    broken = mutant(memory._chunk, "limit - place[:bits]", "limit")
    monkeypatch.setattr(memory, "_chunk", broken)
    with pytest.raises(Counterexample, match="bursts.py"):
        check(BurstReaderContract(BurstReader(depth=4, burst=2), depth=4, burst=2, inside=False))


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("port.w.payload.last.eq(beats == 1)", "port.w.payload.last.eq(beats <= 2)"),
        ("with m.If(left == 0):", "with m.If(left <= 1):"),
        ("with m.If(pending == 0):", "with m.If(1):"),
        ("error.eq(0),", "error.eq(error),"),
        ("port.aw.valid.eq(self.i_data.valid)", "port.aw.valid.eq(port.aw.ready)"),
    ],
    ids=["ends too early", "leaves a word", "done too early", "keeps an error", "waits for ready"],
)
def test_faults_of_a_writer_are_found(right, wrong):
    broken = mutant(BurstWriter, right, wrong)(burst=2)
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(BurstWriterContract(broken, burst=2, inside=False))
