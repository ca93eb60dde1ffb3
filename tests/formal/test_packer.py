"""The width converter: every item in its place of its word, once."""

import pytest
from amaranth.hdl import Value

from hls_attention.streams import Packer
from tests.formal.mutant import mutant
from tests.formal.packer_contract import PackerContract
from tests.formal.prover import Counterexample, check

pytestmark = pytest.mark.formal


def shifts(count):
    """Items come in at the top of a shift register, and move down with each that follows."""

    def invariants(probe, place, followed, slot, payload):
        shifted = (slot + count - 1 - place)[: len(place) + 1]
        item = Value.cast(probe["packed"]).word_select(shifted, len(payload))
        return [probe["place"] == place, ~followed | (item == payload)]

    return invariants


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_packer(proved, count):
    packer = Packer(1, count=count, meta=1)
    contract = PackerContract(packer, count=count, invariants=shifts(count))
    proved(f"Packer, {count} items a word", contract)


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("self.i.ready.eq(~completes | ~self.o.valid)", "self.i.ready.eq(1)"),
        ("self.i.ready.eq(~completes | ~self.o.valid)", "self.i.ready.eq(~self.o.valid)"),
        ("with m.If(self.o.ready):", "with m.If(1):"),
        ("[place.eq(0), self.o.valid.eq(1)", "[place.eq(1), self.o.valid.eq(1)"),
        ("Cat(packed, self.i.payload.item)", "Cat(self.i.payload.item, packed)"),
        ("place.eq(place + 1),", "place.eq(place + 1), self.o.payload.meta.eq(place),"),
        ("with m.If(completes):", "with m.If(completes | (self.o.ready & place[1])):"),
    ],
    ids=[
        "overwrites",
        "stops while a word waits",
        "does not hold",
        "forgets an item",
        "turns the word round",
        "takes the wrong meta",
        "leaves before it is full",
    ],
)
def test_faults_are_found(right, wrong):
    broken = mutant(Packer, right, wrong)(1, count=4, meta=1)
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(PackerContract(broken, count=4))
