"""CRC-32 against zlib."""

import random
import zlib

import pytest

from rtl.ecc.crc import CrcAppend, CrcCheck
from tests.rtl.streams_bench import CROSS, Bench


def check_words(words, meta, number):
    octets = b"".join(word.to_bytes(8, "little") for word in words)
    raw = meta.to_bytes(8 * number - 4, "little")
    raw += zlib.crc32(octets + raw).to_bytes(4, "little")
    return [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]


def blocks(rng, count, size, number=1):
    data = [[rng.getrandbits(64) for _ in range(size)] for _ in range(count)]
    metas = [rng.getrandbits(64 * number - 32) for _ in range(count)]
    return data, metas, [[*d, *check_words(d, meta, number)] for d, meta in zip(data, metas)]


def flat(lists):
    return [item for items in lists for item in items]


@pytest.mark.parametrize("stall, backpressure", CROSS)
@pytest.mark.parametrize("size, number", [(1, 1), (64, 1), (16, 2)])
def test_check_words(size, number, stall, backpressure):
    data, metas, wanted = blocks(random.Random(size), 8, size, number)
    dut = CrcAppend(size, number)
    bench = Bench(dut, stall=stall, backpressure=backpressure)
    bench.source(dut.i, flat(data))
    bench.source(dut.i_meta, metas)
    out = bench.sink(dut.o)
    bench.run(lambda: len(out.items) >= len(flat(wanted)), idle=20)
    assert out.items == flat(wanted)
    if not stall and not backpressure:
        assert out.clocks[-1] - out.clocks[0] == len(out.items) - 1 + len(data)


@pytest.mark.parametrize("stall, backpressure", CROSS)
@pytest.mark.parametrize("number", [1, 2])
def test_verdicts(number, stall, backpressure):
    rng = random.Random(5)
    data, metas, sent = blocks(rng, 12, 16, number)
    broken = [rng.random() < 0.5 for _ in sent]
    for words, wrong in zip(sent, broken):
        if wrong:
            words[rng.randrange(16 + number)] ^= 1 << rng.randrange(64)
    dut = CrcCheck(16, number)
    bench = Bench(dut, stall=stall, backpressure=backpressure)
    bench.source(dut.i, flat(sent))
    out, checks = bench.sink(dut.o), bench.sink(dut.o_checks)
    bench.run(lambda: len(out.items) >= 12 * 16 and len(checks.items) >= 12, idle=20)
    assert out.items == flat(words[:16] for words in sent)
    assert [not check["ok"] for check in checks.items] == broken
    tails = [sum(word << 64 * n for n, word in enumerate(words[16:])) for words in sent]
    mask = 2 ** (64 * number - 32) - 1
    assert [check["meta"] for check in checks.items] == [tail & mask for tail in tails]
    if not stall and not backpressure:
        assert out.clocks[-1] - out.clocks[0] == 12 * (16 + number) - number - 1


def test_no_words_are_refused():
    for component in (CrcAppend, CrcCheck):
        with pytest.raises(ValueError, match="choose 1 or more"):
            component(0)
        with pytest.raises(ValueError, match="choose 1 or more"):
            component(4, 0)
