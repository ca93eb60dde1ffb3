"""The arbiter: nothing lost, bursts whole, every port served; two to five inputs."""

import pytest
from amaranth.hdl import Const, Mux

from hls_attention.streams import Arbiter
from tests.formal.arbiter_contract import PAYLOAD_BITS, ArbiterContract, ends_burst
from tests.formal.mutant import mutant
from tests.formal.prover import Counterexample, check

pytestmark = pytest.mark.formal


def turns(inputs):
    """What is left of its turns when a port waits: the nearer it is to the last granted, the less.

    A port at distance ``d`` behind the last granted (1..inputs) waits for ``d - 1`` more bursts,
    and for the one that is under way.
    """

    def invariants(probe, watched):
        recent, locked = probe["recent"], probe["locked"]
        yield recent < inputs
        yield locked == watched.open
        yield ~locked | (watched.owner == recent)
        for port, passed in enumerate(watched.passed):
            distance = Const(inputs)
            for granted in range(inputs):
                distance = Mux(recent == granted, (port - granted - 1) % inputs + 1, distance)
            waits = passed + distance <= Mux(locked, inputs - 1, inputs)
            yield waits | (locked & (recent == port))

    return invariants


@pytest.mark.parametrize("bursts", [False, True], ids=["transfers", "bursts"])
@pytest.mark.parametrize("inputs", [1, 2, 3, 4, 5])
def test_arbiter(proved, inputs, bursts):
    arbiter = Arbiter(PAYLOAD_BITS, inputs=inputs, last=ends_burst if bursts else None)
    proved(
        f"Arbiter, {inputs} inputs{', bursts' if bursts else ''}",
        ArbiterContract(arbiter, inputs=inputs, bursts=bursts, invariants=turns(inputs)),
    )


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("range(inputs, 0, -1)", "range(1, inputs + 1)"),
        ("with m.If(~locked):", "with m.If(1):"),
        ("locked.eq(Mux(ends, 0, 1))", "locked.eq(ends)"),
        ("self.source.eq(index)", "self.source.eq(recent)"),
        ("free.eq(self.o.ready | ~self.o.valid)", "free.eq(1)"),
        ("free.eq(self.o.ready | ~self.o.valid)", "free.eq(self.o.ready)"),
        ("port.ready.eq(free)", "port.ready.eq(1)"),
    ],
    ids=[
        "farthest port first",
        "breaks bursts",
        "ends bursts at the wrong place",
        "marks the wrong port",
        "overwrites",
        "waits for ready",
        "takes without room",
    ],
)
def test_faults_are_found(right, wrong):
    broken = mutant(Arbiter, right, wrong)(PAYLOAD_BITS, inputs=3, last=ends_burst)
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(ArbiterContract(broken, inputs=3, bursts=True))


@pytest.mark.parametrize("inputs", [2, 3, 4])
def test_an_arbiter_that_is_not_fair_is_found(inputs):
    """The port that waits longest sees one burst too many: so many transfers and a clock more."""
    broken = mutant(Arbiter, "recent.eq(index)", "recent.eq(0)")(PAYLOAD_BITS, inputs=inputs)
    with pytest.raises(Counterexample, match=f"broken {inputs} clocks after reset"):
        check(ArbiterContract(broken, inputs=inputs, bursts=False))
