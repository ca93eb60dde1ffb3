"""CRC-32 against zlib."""

import random
import zlib

import pytest

from rtl.ecc.crc import CrcAppend, CrcCheck
from tests.rtl.streams_bench import CROSS, Bench


def check_word(words, meta):
    octets = b"".join(word.to_bytes(8, "little") for word in words) + meta.to_bytes(4, "little")
    return meta | zlib.crc32(octets) << 32


def blocks(rng, count, size):
    data = [[rng.getrandbits(64) for _ in range(size)] for _ in range(count)]
    metas = [rng.getrandbits(32) for _ in range(count)]
    return data, metas, [[*d, check_word(d, meta)] for d, meta in zip(data, metas)]


def flat(lists):
    return [item for items in lists for item in items]


@pytest.mark.parametrize("stall, backpressure", CROSS)
@pytest.mark.parametrize("size", [1, 64])
def test_check_words(size, stall, backpressure):
    data, metas, wanted = blocks(random.Random(size), 8, size)
    dut = CrcAppend(size)
    bench = Bench(dut, stall=stall, backpressure=backpressure)
    bench.source(dut.i, flat(data))
    bench.source(dut.i_meta, metas)
    out = bench.sink(dut.o)
    bench.run(lambda: len(out.items) >= len(flat(wanted)), idle=20)
    assert out.items == flat(wanted)
    if not stall and not backpressure:
        assert out.clocks[-1] - out.clocks[0] == len(out.items) - 1


@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_verdicts(stall, backpressure):
    rng = random.Random(5)
    data, metas, sent = blocks(rng, 12, 16)
    broken = [rng.random() < 0.5 for _ in sent]
    for words, wrong in zip(sent, broken):
        if wrong:
            words[rng.randrange(17)] ^= 1 << rng.randrange(64)
    dut = CrcCheck(16)
    bench = Bench(dut, stall=stall, backpressure=backpressure)
    bench.source(dut.i, flat(sent))
    out, checks = bench.sink(dut.o), bench.sink(dut.o_checks)
    bench.run(lambda: len(out.items) >= 12 * 16 and len(checks.items) >= 12, idle=20)
    assert out.items == flat(words[:-1] for words in sent)
    assert [not check["ok"] for check in checks.items] == broken
    assert [check["meta"] for check in checks.items] == [words[-1] & 2**32 - 1 for words in sent]


def test_no_words_are_refused():
    for component in (CrcAppend, CrcCheck):
        with pytest.raises(ValueError, match="choose 1 or more"):
            component(0)
