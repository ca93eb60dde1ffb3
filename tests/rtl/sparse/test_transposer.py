"""The transposer against numpy's transpose."""

import numpy as np
import pytest

from rtl.sparse.transposer import Transposer
from tests.rtl.streams_bench import CROSS, Bench

CODEWORD_BYTES = 512


def run(pages, stall=0.0, backpressure=0.0, quiet=False):
    """Transposes uint16 [tokens, channels] pages, one beside the other; clocks and the buffer."""
    words = max(page.size // 4 for page in pages)
    dut = Transposer(words, CODEWORD_BYTES)
    bench = Bench(dut, timeout=60_000, quiet=quiet, stall=stall, backpressure=backpressure)
    dram = bench.memory(dut.write, 1 << 17, latency=4)
    requests, at = [], 0
    for page in pages:
        tokens, channels = page.shape
        requests.append({"address": at, "beats": channels // 4, "quads": tokens // 4})
        at += 2 * tokens
    bench.source(dut.i, requests)
    source = bench.source(
        dut.i_words, np.concatenate([p.reshape(-1) for p in pages]).view("<u8").tolist()
    )
    seen = bench.watch(dut.settled)
    bench.run(lambda: not source.items and seen[-1:] == [(1,)], idle=20)
    clocks = max(n for n, (settled,) in enumerate(seen) if not settled)
    channels = pages[0].shape[1]
    buffer = np.frombuffer(dram.bytes, "<u2")[: channels * CODEWORD_BYTES // 2]
    return clocks, buffer.reshape(channels, -1)


@pytest.mark.parametrize("tokens, channels", [(4, 64), (8, 96), (16, 16), (32, 20)])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_pages_become_channels(tokens, channels, stall, backpressure):
    rng = np.random.default_rng([tokens, channels])
    pages = [rng.integers(0, 1 << 16, (tokens, channels), np.uint16) for _ in range(3)]
    _, buffer = run(pages, stall, backpressure, quiet=True)
    together = np.concatenate(pages)
    assert (buffer[:, : len(together)] == together.T).all()
    assert not buffer[:, len(together) :].any()


def test_a_page_is_filled_while_another_is_written():
    """A page more takes as long as its bursts, not as long as its words and its bursts."""
    page = np.arange(16 * 128, dtype=np.uint16).reshape(16, 128)
    clocks = [run([page] * count)[0] for count in (2, 6)]
    words, bursts = page.size // 4, page.shape[1]
    assert (clocks[1] - clocks[0]) / 4 < words + 6 * bursts
