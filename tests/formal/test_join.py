"""The adder tree of the merge: a transfer of every channel makes one sum."""

from math import ceil

import pytest
from amaranth.utils import ceil_log2

from hls_attention.adder_tree import AdderTree
from tests.formal.join_contract import BITS, JoinContract
from tests.formal.mutant import mutant
from tests.formal.prover import Counterexample, check

pytestmark = pytest.mark.formal


def contents(inputs, levels):
    """Every level's registers, and their sum."""

    def ranks(probe):
        numbers = [ceil(inputs / 2 ** (level + 1)) for level in range(levels)]
        sums = [
            sum(probe[f"sum_{level}_{n}"] for n in range(count))[:BITS]
            for level, count in enumerate(numbers)
        ]
        return [(probe[f"valid_{level}"], sums[level]) for level in reversed(range(levels))]

    return ranks


@pytest.mark.parametrize("inputs", [1, 2, 3, 4, 8, 16])
def test_adder_tree(proved, inputs):
    levels = max(1, ceil_log2(inputs))
    proved(
        f"AdderTree, {inputs} inputs",
        JoinContract(
            AdderTree(inputs), inputs=inputs, latency=levels, contents=contents(inputs, levels)
        ),
    )


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("port.ready.eq(complete & advance)", "port.ready.eq(advance)"),
        ("port.ready.eq(complete & advance)", "port.ready.eq(complete)"),
        ("Cat(port.valid for port in self.i).all()", "Cat(port.valid for port in self.i).any()"),
        ("advance.eq(self.o.ready | ~self.o.valid)", "advance.eq(1)"),
        ("advance.eq(self.o.ready | ~self.o.valid)", "advance.eq(self.o.ready)"),
        ("next_valid.eq(valid)", "next_valid.eq(complete)"),
        ("numbers[2 * n + 1 : 2 * n + 2]", "numbers[2 * n + 1 : 2 * n + 1]"),
    ],
    ids=[
        "takes a part of a set",
        "takes without room",
        "starts with a part of a set",
        "overwrites",
        "waits for ready",
        "shows early",
        "leaves a number out",
    ],
)
def test_faults_are_found(right, wrong):
    broken = mutant(AdderTree, right, wrong)(3)
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(JoinContract(broken, inputs=3, latency=2))
