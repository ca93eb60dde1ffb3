"""Management operations: what goes to a die, what moves between it and device DRAM, what fails."""

import random

import pytest

from flash_model.profiles import profile
from rtl.flash_port import MANAGEMENT_TAG, FlashPort
from rtl.nand.operations import Cause, NandOp
from rtl.registers import FlashStatus
from tests.rtl.streams_bench import CROSS, Bench

GEOMETRY = profile("tiny").geometry
PLACE = {"channel": 1, "die": 1, "row": 0x123}
AT = 0x2F10
"""DRAM address; 21 words from there cross a boundary of 4096 bytes."""


def run(request, *, words=(), answers=(), bad=(), **changes):
    """One operation. Returns the status, what went to the die, and the bench's DRAM."""
    dut = FlashPort(GEOMETRY)
    bench = Bench(dut, timeout=3000, quiet=True, **changes)
    read = bench.memory(dut.read, 1 << 14, latency=4)
    write = bench.memory(dut.write, 1 << 14, latency=4)
    read.bytes = write.bytes
    read.bad = write.bad = set(bad)
    write.bytes[:] = bytes(random.Random(3).randbytes(1 << 14))
    bench.ops, bench.sent = bench.sink(dut.o_ops), bench.sink(dut.o_words)
    bench.source(dut.i_words, words)
    done = bench.source(dut.i_done)
    statuses = []

    def script(ctx):
        ctx.set(dut.request, request)
        ctx.set(dut.start, 1)
        yield
        ctx.set(dut.start, 0)
        ctx.set(dut.request, {"op": NandOp.RESET.value})  # it keeps what it was asked
        assert ctx.get(dut.status) == FlashStatus.BUSY
        told = list(answers)
        while ctx.get(dut.status) & FlashStatus.BUSY:
            if bench.ops.items and told:
                done.items.append(told.pop(0))
            yield
        assert ctx.get(dut.channel) == request.get("channel", 0) % GEOMETRY.channels
        statuses.append(ctx.get(dut.status))
        for _ in range(30):
            yield

    bench.script(script)
    bench.run()
    return statuses[0], bench, write.bytes


def operation(op, column=0, words=0):
    return {"op": op.value, "die": 1, "row": 0x123, "column": column, "words": words,
            "tag": MANAGEMENT_TAG}  # fmt: skip


@pytest.mark.parametrize("op", [NandOp.ERASE, NandOp.RESET, NandOp.STATUS, NandOp.READ_RETRY])
@pytest.mark.parametrize("cause", [Cause.NONE, Cause.CELLS, Cause.DEAD])
def test_operations_without_data(op, cause):
    answer = {"op": op.value, "status": 0xE0, "cause": cause.value, "tag": MANAGEMENT_TAG}
    status, bench, _ = run({"op": op.value, **PLACE}, answers=[answer])
    assert bench.ops.items == [operation(op)]
    failed = FlashStatus.FAILED * (cause != Cause.NONE)
    assert status == failed | 0xE0 << 8 | cause.value << FlashStatus.CAUSE_SHIFT


@pytest.mark.parametrize("stall, backpressure", CROSS)
@pytest.mark.parametrize("cause", [Cause.NONE, Cause.DEAD])
def test_read_to_dram(stall, backpressure, cause):
    rng = random.Random(1)
    data = [rng.getrandbits(64) for _ in range(21)]
    words = [{"data": word, "last": n == 20, "cause": cause.value} for n, word in enumerate(data)]
    before = random.Random(3).randbytes(1 << 14)
    request = {"op": NandOp.READ.value, **PLACE, "column": 40, "words": 21, "address": AT}
    status, bench, dram = run(request, words=words, stall=stall, backpressure=backpressure)
    assert bench.ops.items == [operation(NandOp.READ, 40, 21)]
    assert bool(status & FlashStatus.FAILED) == (cause != Cause.NONE)
    assert bytes(dram[AT : AT + 168]) == b"".join(word.to_bytes(8, "little") for word in data)
    assert dram[:AT] == before[:AT] and dram[AT + 168 :] == before[AT + 168 :]


def test_an_id_is_one_word_whatever_the_registers_say():
    request = {"op": NandOp.READ_ID.value, **PLACE, "row": 0x20, "column": 4095, "address": AT}
    word = {"data": 0x0123456789ABCDEF, "last": 1, "cause": 0}
    for words in (0, 1, 4095):
        status, bench, dram = run({**request, "words": words}, words=[word])
        assert status == 0 and dram[AT : AT + 8] == bytes.fromhex("efcdab8967452301")
        assert bench.ops.items == [{**operation(NandOp.READ_ID, 0, 1), "row": 0x20}]


@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_program_from_dram(stall, backpressure):
    answer = {"op": NandOp.PROGRAM.value, "status": 0xE1, "cause": Cause.CELLS.value}
    request = {"op": NandOp.PROGRAM.value, **PLACE, "words": 21, "address": AT}
    status, bench, dram = run(request, answers=[answer], stall=stall, backpressure=backpressure)
    assert bench.ops.items == [operation(NandOp.PROGRAM, 0, 21)]
    sent = b"".join(word.to_bytes(8, "little") for word in bench.sent.items)
    assert sent == bytes(dram[AT : AT + 168])
    assert status == FlashStatus.FAILED | 0xE1 << 8 | Cause.CELLS.value << 16


@pytest.mark.parametrize("die, cause", [(Cause.NONE, Cause.MEMORY), (Cause.CELLS, Cause.CELLS)])
def test_a_program_that_device_dram_does_not_give(die, cause):
    """It fails, whatever the die says; the next one does not."""
    answer = {"op": NandOp.PROGRAM.value, "status": 0xE0, "cause": die.value}
    request = {"op": NandOp.PROGRAM.value, **PLACE, "words": 21, "address": AT}
    status, bench, _ = run(request, answers=[answer], bad=[AT + 8 * 7])
    assert status == FlashStatus.FAILED | 0xE0 << 8 | cause.value << FlashStatus.CAUSE_SHIFT
    assert len(bench.sent.items) == 21


def test_a_read_that_device_dram_does_not_take():
    words = [{"data": n, "last": n == 20} for n in range(21)]
    request = {"op": NandOp.READ.value, **PLACE, "words": 21, "address": AT}
    status, _, _ = run(request, words=words, bad=[AT + 8 * 20])
    assert status == FlashStatus.FAILED | Cause.MEMORY.value << FlashStatus.CAUSE_SHIFT


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"op": 7}, Cause.NOT_ALLOWED),
        ({"op": NandOp.ERASE.value | 0x40}, Cause.NOT_ALLOWED),
        ({"channel": GEOMETRY.channels}, Cause.BAD_DIE),
        ({"channel": 255}, Cause.BAD_DIE),
        ({"die": GEOMETRY.dies}, Cause.BAD_DIE),
        ({"op": NandOp.READ.value}, Cause.NO_WORDS),
        ({"op": NandOp.PROGRAM.value}, Cause.NO_WORDS),
        (
            {"op": NandOp.READ.value, "column": 1, "words": GEOMETRY.page_words},
            Cause.BEYOND_PAGE,
        ),
    ],
)
def test_what_cannot_be_done_goes_to_no_die(change, cause):
    status, bench, dram = run({"op": NandOp.ERASE.value, **PLACE, **change})
    assert status == FlashStatus.FAILED | cause.value << FlashStatus.CAUSE_SHIFT
    assert not bench.ops.items and not bench.sent.items
    assert dram == random.Random(3).randbytes(1 << 14)
