"""Page reader on pages with known errors, and on dies whose read-retry levels matter."""

import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from rtl.ecc.code import BchCode
from rtl.ecc.decoder import Decoder
from rtl.ecc.decoder_front import DecoderFront, shared_ports
from rtl.ecc.shared_decoder import SharedDecoder
from rtl.nand.operations import Cause, NandOp
from rtl.pages.codec import encode_pages
from rtl.pages.reader import RETRY_LEVELS, RETRY_TAG, PageReader
from tests.rtl.streams_bench import CROSS, Bench

CODEWORDS = 3


class Dies:
    """Pages, with so many bit errors in each codeword at each read-retry level."""

    def __init__(self, bench, dut, code, rng):
        self.bench, self.code, self.rng = bench, code, rng
        self.data, self.raw, self.errors = {}, {}, {}
        self.levels, self.dead = {}, set()
        self.words = bench.source(dut.i_words)
        self.done = bench.source(dut.i_done)
        self.reads, self.retries = [], []
        bench.sink(dut.o_ops, then=self.operate)

    def fill(self, die, row):
        data = np.frombuffer(self.rng.randbytes(CODEWORDS * self.code.data_bytes), np.uint8)
        self.data[die, row] = data.view("<u8").tolist()
        self.raw[die, row] = encode_pages(self.code, [row], [bytes(8)], data[None])[0].view("<u8")
        return self.data[die, row]

    def operate(self, op):
        die, row = op["die"], op["row"]
        if op["op"] == NandOp.READ_RETRY.value:
            assert op["tag"] == RETRY_TAG
            self.levels[die] = row
            self.retries.append((die, row))
            self.done.items.append({"op": op["op"], "die": die, "tag": op["tag"]})
            return
        self.reads.append((die, row))
        first, rest = divmod(op["column"], self.code.words)
        count, more = divmod(op["words"], self.code.words)
        assert rest == more == 0 and 1 <= count <= CODEWORDS - first
        for number in range(first, first + count):
            for word in self.codeword(die, row, number):
                cause = Cause.DEAD.value if die in self.dead else 0
                self.words.items.append({"data": 0 if cause else word, "cause": cause})

    def codeword(self, die, row, number):
        code = self.code
        words = self.raw[die, row][number * code.words : (number + 1) * code.words].tolist()
        errors = self.errors.get((die, row, number), 0)
        if isinstance(errors, list):
            errors = errors[self.levels.get(die, 0)]
        for slot in self.rng.sample(range(code.bits), errors):
            words[slot // 64] ^= 1 << slot % 64
        return words


class SharedReader(wiring.Component):
    """A page reader and the other half of its decoder, shared with nobody."""

    def __init__(self, dies, code, **sizes):
        self._code = code
        self._reader = PageReader(dies, code, DecoderFront(code), **sizes)
        members = self._reader.signature.members.items()
        super().__init__({n: member for n, member in members if n not in shared_ports(code)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = self._reader
        m.submodules.shared = shared = SharedDecoder(self._code, lanes=1, positions=16, channels=1)
        connect(m, reader.o_differences, shared.i[0])
        connect(m, shared.o[0], reader.i_fixes)
        for name, member in self.signature.members.items():
            mine, theirs = getattr(self, name), getattr(reader, name)
            if member.is_port:
                m.d.comb += mine.eq(theirs & shared.quiet if name == "quiet" else theirs)
            elif name.startswith("i"):
                connect(m, flipped(mine), theirs)
            else:
                connect(m, theirs, flipped(mine))
        return m


def bench_of(code, *, depth=4, shared=False, quiet=True, **crossing):
    if shared:
        dut = SharedReader(2, code, codewords=CODEWORDS, depth=depth)
    else:
        decoder = Decoder(code, lanes=1, positions=16)
        dut = PageReader(2, code, decoder, codewords=CODEWORDS, depth=depth)
    bench = Bench(dut, timeout=40_000, quiet=quiet, **crossing)
    return dut, bench, Dies(bench, dut, code, random.Random(3))


def reads_of(rng, count):
    items = []
    for row in range(count):
        column = rng.choice([0, rng.randrange(64 * CODEWORDS)])
        words = rng.choice([64 * CODEWORDS - column, rng.randint(1, 64 * CODEWORDS - column)])
        items.append({"die": rng.randrange(2), "row": row, "column": column, "words": words})
    return items


def wanted_of(reads, dies):
    return [
        word
        for read in reads
        for word in dies.data[read["die"], read["row"]][read["column"] :][: read["words"]]
    ]


@pytest.mark.parametrize(
    "code, shared", [(BchCode(512, 3), False), (BchCode(512, 2, 2), False), (BchCode(512, 3), True)]
)
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_any_words_with_as_many_errors_as_the_code_corrects(code, shared, stall, backpressure):
    pauses = {"stall": stall, "backpressure": backpressure}  # tables fill when all is over
    dut, bench, dies = bench_of(code, shared=shared, quiet=not shared, **pauses)
    reads = reads_of(random.Random(8), 9)
    for read in reads:
        dies.fill(read["die"], read["row"])
        for number in range(CODEWORDS):
            dies.errors[read["die"], read["row"], number] = dies.rng.choice([0, 0, 1, code.t])
    bench.source(dut.i, reads)
    corrected = bench.watch(dut.corrected)
    out = bench.sink(dut.o)
    wanted = wanted_of(reads, dies)
    bench.run(lambda: len(out.items) >= len(wanted), idle=60)
    assert [item["data"] for item in out.items] == wanted
    assert not any(item["error"] for item in out.items)
    assert dies.retries == []
    touched = [
        dies.errors[read["die"], read["row"], number]
        for read in reads
        for number in range(read["column"] // 64, (read["column"] + read["words"] - 1) // 64 + 1)
    ]
    assert sum(count for (count,) in corrected) == sum(touched)


def errors_until(level, code):
    """Too many below a read-retry level, few enough from there on."""
    return [code.t + 20 if n < level else 1 for n in range(RETRY_LEVELS + 1)]


@pytest.mark.parametrize(
    "stall, backpressure, shared", [*((*pauses, False) for pauses in CROSS), (0.4, 0.4, True)]
)
def test_read_retry(stall, backpressure, shared):
    """A codeword comes right at level 2, another at level 1; what else was asked for is kept."""
    code = BchCode(512, 8)  # hardly ever miscorrects
    dut, bench, dies = bench_of(code, shared=shared, stall=stall, backpressure=backpressure)
    reads = [
        {"die": row % 2, "row": row, "column": 10, "words": 64 * CODEWORDS - 20} for row in range(6)
    ]
    for read in reads:
        dies.fill(read["die"], read["row"])
    dies.errors[1, 1, 1] = errors_until(2, code)
    dies.errors[0, 4, 0] = errors_until(1, code)
    bench.source(dut.i, reads)
    retried = bench.watch(dut.retried)
    out = bench.sink(dut.o)
    wanted = wanted_of(reads, dies)
    bench.run(lambda: len(out.items) >= len(wanted), idle=60)
    assert [item["data"] for item in out.items] == wanted
    assert not any(item["error"] for item in out.items)
    assert dies.retries == [(1, 1), (1, 2), (1, 0), (0, 1), (0, 0)]
    assert sum(pulse for (pulse,) in retried) == 3
    assert set(dies.levels.values()) == {0}


def test_what_no_level_brings_back_is_marked():
    code = BchCode(512, 8)
    dut, bench, dies = bench_of(code)
    reads = [{"die": 0, "row": row, "column": 0, "words": 64 * CODEWORDS} for row in range(3)]
    for read in reads:
        dies.fill(0, read["row"])
    dies.errors[0, 1, 1] = errors_until(RETRY_LEVELS + 1, code)
    bench.source(dut.i, reads)
    gone = bench.watch(dut.unrecovered)
    out = bench.sink(dut.o)
    wanted = wanted_of(reads, dies)
    bench.run(lambda: len(out.items) >= len(wanted), idle=60)
    bad = 64 * CODEWORDS + 64 * 2 - 1
    assert [n for n, item in enumerate(out.items) if item["error"]] == [bad]
    good = [n for n in range(len(wanted)) if not bad - 64 < n <= bad]
    assert [out.items[n]["data"] for n in good] == [wanted[n] for n in good]
    assert dies.retries == [(0, level) for level in [*range(1, RETRY_LEVELS + 1), 0]]
    assert sum(pulse for (pulse,) in gone) == 1


def test_a_dead_die_is_not_read_again():
    code = BchCode(512, 3)
    dut, bench, dies = bench_of(code)
    reads = [{"die": row % 2, "row": row, "column": 0, "words": 100} for row in range(4)]
    for read in reads:
        dies.fill(read["die"], read["row"])
    dies.dead.add(1)
    bench.source(dut.i, reads)
    out = bench.sink(dut.o)
    bench.run(lambda: len(out.items) >= 400, idle=60)
    marks = [n for n, item in enumerate(out.items) if item["error"]]
    assert marks == [163, 199, 363, 399] and dies.retries == []
    assert [item["data"] for item in out.items[:100]] == wanted_of(reads[:1], dies)


def test_a_miscorrected_codeword_does_not_pass():
    """Words of another row are a codeword, too; their CRC tells."""
    code = BchCode(512, 3)
    dut, bench, dies = bench_of(code)
    dies.fill(0, 1)
    dies.raw[0, 2] = dies.raw[0, 1]
    bench.source(dut.i, [{"die": 0, "row": 2, "column": 0, "words": 64}])
    out = bench.sink(dut.o)
    bench.run(lambda: len(out.items) >= 64, idle=60)
    assert [n for n, item in enumerate(out.items) if item["error"]] == [63]
