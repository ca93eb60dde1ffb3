"""The shared memory port, with as many readers and writers as the drive has on each of its two."""

import pytest

from rtl.memory import PortArbiter
from tests.formal.mutant import mutant
from tests.formal.prover import Counterexample, check
from tests.formal.shared_reads_contract import SharedReadsContract
from tests.formal.shared_writes_contract import SharedWritesContract

pytestmark = pytest.mark.formal


@pytest.mark.parametrize("readers", [1, 3, 5])
def test_reads(proved, readers):
    arbiter = PortArbiter(readers=readers, writers=1)
    proved(f"PortArbiter, {readers} readers", SharedReadsContract(arbiter, readers=readers))


@pytest.mark.parametrize("writers", [1, 3])
def test_writes(proved, writers):
    arbiter = PortArbiter(readers=1, writers=writers)
    proved(f"PortArbiter, {writers} writers", SharedWritesContract(arbiter, writers=writers))


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("order.i.valid.eq(held & port.ar.ready)", "order.i.valid.eq(held)"),
        ("port.r.valid & port.r.ready & port.r.payload.last", "port.r.valid & port.r.ready"),
        ("with m.If(~held & order.i.ready):", "with m.If(order.i.ready):"),
        ("~earlier.any() if index else 1", "1"),
        ("[asks.eq(ar.payload), who.eq(index), held.eq(1)]", "[asks.eq(ar.payload), held.eq(1)]"),
        ("self.quiet.eq(~held & ~order.o.valid)", "self.quiet.eq(~held)"),
    ],
    ids=[
        "remembers a burst twice",
        "turns to the next within a burst",
        "overwrites a burst",
        "takes two at a time",
        "answers the wrong reader",
        "quiet with a burst out",
    ],
)
def test_faults_of_reads_are_found(right, wrong):
    broken = mutant(PortArbiter, right, wrong)(readers=3, writers=1)
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(SharedReadsContract(broken, readers=3, inside=False))


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("port.w.valid & port.w.ready & port.w.payload.last", "port.w.valid & port.w.ready"),
        ("order.o.ready.eq(port.b.valid & port.b.ready)", "order.o.ready.eq(port.b.valid)"),
        ("[order.i.valid.eq(1), order.i.payload.eq(who)]", "[order.i.valid.eq(1)]"),
        ('m.next = "DATA"', 'm.next = "FREE"'),
        ("with m.If(port.aw.valid & port.aw.ready):", "with m.If(port.aw.valid):"),
    ],
    ids=[
        "leaves a burst open",
        "drops a response's place",
        "answers the wrong writer",
        "keeps the words",
        "forgets the address",
    ],
)
def test_faults_of_writes_are_found(right, wrong):
    broken = mutant(PortArbiter, right, wrong)(readers=1, writers=3)
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(SharedWritesContract(broken, writers=3, inside=False))
