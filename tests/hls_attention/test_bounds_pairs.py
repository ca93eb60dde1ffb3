"""Bounds of units, from bytes and from tokens, against their definition; order; errors."""

import ml_dtypes
import numpy as np
import pytest

from hls_attention import bounds_code
from hls_attention.beats import Format, Kind
from hls_attention.bounds_pairs import BoundsPairs
from hls_attention.config import EngineConfig
from tests.hls_attention.engine_bench import element_format, words
from tests.rtl.streams_bench import CROSS, Bench

BF16 = ml_dtypes.bfloat16
CONFIG = EngineConfig(
    channels=1, max_heads=2, max_head_dim=128, sparse_tokens=256, bounds=True, unit_tokens=64
)


def vector(x, **tags):
    """Beats of a row of words."""
    for n, word in enumerate(x):
        edges = {"first_of_unit": int(n == 0), "last_of_unit": int(n == len(x) - 1)}
        yield {"lanes": 15, "data": int(word), **edges, **tags}


def rows(low, high, **tags):
    """What must come out for units with these bounds."""
    tags = {"kind": Kind.ESTIMATE.value, "last_of_page": 0, "last_of_pass": 0, **tags}
    for x, y in zip(low, high):
        for beat, word in zip(vector(words(x), **tags), words(y)):
            yield {**beat, "high": word}


class Case:
    """Beats in, beats out."""

    def __init__(self, head_dim, dtype, seed=3):
        self.head_dim, self.dtype = head_dim, np.dtype(dtype)
        self.format = element_format(np.empty(0, dtype)).value
        self.rng = np.random.default_rng(seed)
        self.sent, self.wanted = [], []

    def page(self, blocks, errors=()):
        """Blocks of bytes that mean anything or nothing; errors: the beats that have one."""
        codes = self.rng.integers(0, 256, (8 * blocks, self.head_dim), dtype=np.uint8)
        job = int(self.rng.integers(16))
        tags = {"job": job, "format": self.format}
        beats = [
            beat
            for row in codes.view("<u8")
            for beat in vector(row, kind=Kind.BOUNDS.value, token=77, **tags)
        ]
        for n in errors:
            beats[n]["error"] = 1
        beats[-1]["last_of_page"] = 1
        self.sent += beats
        low, high = bounds_code.decode(codes, self.dtype)
        for block in range(blocks):
            part = slice(8 * block, 8 * block + 8)
            error = int(any(n // self.head_dim == block for n in errors))
            self.wanted += rows(low[part], high[part], more=3, error=error, **tags)

    def tokens(self, count, error=None):
        """A page of K: any words; error: a token that has one."""
        k = self.rng.integers(0, 1 << 16, (count, self.head_dim), dtype=np.uint16)
        k[self.rng.random(k.shape) < 0.2] &= 0x8000
        k = k.view(self.dtype)
        tags = {"job": int(self.rng.integers(16)), "format": self.format}
        for n, row in enumerate(k):
            beats = list(vector(words(row), kind=Kind.ESTIMATE.value, token=n, **tags))
            beats[-1]["last_of_page"] = int(n == count - 1)
            beats[self.head_dim // 8]["error"] = int(n == error)
            self.sent += beats
        for unit, (low, high) in enumerate(zip(*bounds_code.extremes(k))):
            size = min(4, count - 4 * unit)
            bad = int(error is not None and error // 4 == unit)
            self.wanted += rows([low], [high], more=size - 1, error=bad, **tags)

    def others(self):
        """A token of each pass, a null beat, the end of an estimate."""
        for kind in (Kind.K, Kind.V):
            row = self.rng.integers(0, 1 << 63, self.head_dim // 4)
            beats = list(vector(row, kind=kind.value, token=9, job=3, format=self.format))
            beats[-1]["last_of_page"] = beats[-1]["last_of_pass"] = 1
            self._pass(beats)
        names = "first_of_unit", "last_of_unit", "last_of_page", "last_of_pass"
        edges = dict.fromkeys(names, 1)
        self._pass([{"kind": Kind.COLUMN.value, "lanes": 0, **edges}])

    def _pass(self, beats):
        self.sent += beats
        self.wanted += [{**beat, "high": beat.get("data", 0), "more": 0} for beat in beats]

    def run(self, stall=0.0, backpressure=0.0, bounds=1):
        dut = BoundsPairs(CONFIG)
        bench = Bench(dut, timeout=30000, stall=stall, backpressure=backpressure)
        bench.source(dut.i, self.sent)
        sink = bench.sink(dut.o)

        def estimate(ctx):
            ctx.set(dut.estimate.channels, self.head_dim)
            ctx.set(dut.estimate.bounds, bounds)
            yield

        bench.script(estimate)
        bench.run(lambda: len(sink.items) >= len(self.wanted), idle=40)
        assert len(sink.items) == len(self.wanted)
        for got, want in zip(sink.items, self.wanted):
            assert {name: got[name] for name in want} == want
            assert got["error"] == want.get("error", 0)
        return sink.clocks


@pytest.mark.parametrize("head_dim, dtype", [(64, np.float16), (128, BF16)])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_bytes_tokens_and_passes_in_order(head_dim, dtype, stall, backpressure):
    case = Case(head_dim, dtype)
    case.others()
    case.page(1)
    case.others()
    case.tokens(8)
    case.page(2)
    case.tokens(3)
    case.tokens(6)
    case.others()
    case.run(stall, backpressure)


def test_each_byte_means_what_its_definition_says():
    """All codes with all exponents, those beyond the format's largest number, too."""
    for dtype in (np.float16, BF16):
        case = Case(64, dtype, seed=8)
        case.page(4)
        case.run()


def test_errors_stay_with_their_block_or_unit():
    case = Case(64, np.float16)
    case.page(3, errors=[70, 100])
    case.tokens(8, error=5)
    case.tokens(5, error=4)
    case.page(1, errors=[63])
    case.tokens(4)
    case.page(1)
    case.run()


def test_tokens_of_an_estimate_from_channels_pass():
    case = Case(64, np.float16)
    case.tokens(2)
    case.others()
    case.wanted = []
    case._pass([dict(beat) for beat in case.sent])
    case.sent = case.sent[: len(case.wanted)]
    case.run(bounds=0)


def test_a_block_in_twice_the_clocks_of_its_beats():
    case = Case(128, BF16)
    assert case.format == Format.BF16.value
    case.page(5)
    clocks = case.run()
    assert clocks[-1] - clocks[0] == 5 * 256 - 1
    assert clocks[0] <= 128 + 6
