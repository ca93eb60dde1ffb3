"""Pipelines of the engine's own kernels, cut for its clock: metadata through every rank."""

import pytest

from hls_attention import kernels
from hls_attention.config import EngineConfig
from hls_attention.hls import Pipeline
from tests.formal.mutant import mutant
from tests.formal.pipeline_contract import PipelineContract
from tests.formal.prover import Counterexample, check

pytestmark = pytest.mark.formal


def contents(latency):
    """Every rank's valid bit and metadata."""

    def ranks(probe):
        return [(probe["valid"][n - 1], probe[f"meta_r{n}"]) for n in range(latency, 0, -1)]

    return ranks


@pytest.mark.parametrize("kernel", ["quantise_query", "product", "score", "weight", "normalise"])
def test_pipeline(proved, kernel):
    pipeline = Pipeline(getattr(kernels, kernel), clock_hz=EngineConfig.clock_hz, meta=1)
    latency = pipeline.latency
    proved(
        f"Pipeline, {kernel}, latency {latency}",
        PipelineContract(pipeline, contents=contents(latency)),
        deepest=latency + 2,
    )


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("advance.eq(self.o.ready | ~self.o.valid)", "advance.eq(1)"),
        ("advance.eq(self.o.ready | ~self.o.valid)", "advance.eq(self.o.ready)"),
        ("self.i.ready.eq(advance)", "self.i.ready.eq(1)"),
        ("valid.eq(Cat(self.i.valid, valid[:-1]))", "valid.eq(Cat(self.i.valid, valid[:-2], 0))"),
        ("valid[rank - 1] if rank else self.i.valid", "valid[rank]"),
        ("source = meta", "source = source if rank == 1 else meta"),
        ("self.busy.eq(valid.any())", "self.busy.eq(valid[0])"),
    ],
    ids=[
        "overwrites",
        "waits for ready",
        "takes without room",
        "loses",
        "loads the wrong rank",
        "metadata come early",
        "rests too soon",
    ],
)
def test_faults_are_found(right, wrong):
    broken = mutant(Pipeline, right, wrong)
    with pytest.raises(Counterexample, match="clocks after reset"):
        check(PipelineContract(broken(kernels.quantise_query, clock_hz=250e6, meta=1)))
