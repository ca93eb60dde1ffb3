"""Why a bit or two of payload are enough: control is blind to payloads, and all bits move alike."""

import pytest

from hls_attention import kernels
from hls_attention.adder_tree import AdderTree
from hls_attention.config import EngineConfig
from hls_attention.hls import Pipeline
from hls_attention.streams import Arbiter, Packer, Queue, SkidBuffer
from rtl.nand.ring import Ring
from tests.formal import contents
from tests.formal.arbiter_contract import ends_burst
from tests.formal.blind_contract import BlindContract
from tests.formal.mutant import mutant
from tests.formal.prover import Counterexample, check
from tests.formal.stream_contract import StreamContract

pytestmark = pytest.mark.formal

QUEUE = ["rows.produce", "rows.consume", "rows.inner_level", "rows.r_rdy"]


@pytest.mark.parametrize(
    "name, make, control, seen",
    [
        ("SkidBuffer", lambda: SkidBuffer(8), ["held"], None),
        ("Queue, depth 16", lambda: Queue(8, depth=16), QUEUE, None),
        ("Ring, depth 16", lambda: Ring(8, depth=16), ["w_row", "r_row"], None),
        (
            "Arbiter, 3 inputs, bursts",
            lambda: Arbiter(8, inputs=3, last=ends_burst),
            ["recent", "locked"],
            ends_burst,
        ),
        ("AdderTree, 4 inputs", lambda: AdderTree(4), ["valid_0", "valid_1"], None),
        ("Packer, 4 items a word", lambda: Packer(16, count=4, meta=8), ["place"], None),
        (
            "Pipeline, quantise_query",
            lambda: Pipeline(kernels.quantise_query, clock_hz=EngineConfig.clock_hz, meta=8),
            ["valid"],
            None,
        ),
    ],
)
def test_control_is_blind(proved, name, make, control, seen):
    proved(f"{name}: control is blind", BlindContract(make, control=control, seen=seen))


@pytest.mark.parametrize(
    "name, make, capacity, latency, inside",
    [
        ("SkidBuffer", lambda: SkidBuffer(72), 2, 1, contents.skid_buffer),
        ("Queue, depth 4", lambda: Queue(72, depth=4), 4, 2, contents.queue),
        ("Ring, depth 4", lambda: Ring(72, depth=4), 4, 1, contents.ring),
    ],
)
def test_wide_payloads(proved, name, make, capacity, latency, inside):
    contract = StreamContract(make(), capacity=capacity, latency=latency, contents=inside)
    proved(f"{name}, 72 bits", contract)


def test_control_that_sees_payloads_is_found():
    broken = mutant(Ring, "self.level != 0", "(self.level != 0) & (self.o.payload != 3)")
    with pytest.raises(Counterexample, match="blind_contract.py"):
        check(BlindContract(lambda: broken(8, depth=4), control=[]))
