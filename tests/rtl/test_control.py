"""The control bus: every register of the table, doorbells, mailbox, management operations."""

import random

import pytest

from flash_model.profiles import profile
from rtl.control import MANAGEMENT_TAG, Control
from rtl.nand.operations import NandOp
from rtl.registers import DRIVE_ID, REGISTERS, FlashStatus
from tests.rtl.streams_bench import Bench

GEOMETRY = profile("tiny").geometry


def address(name, word=0):
    return REGISTERS[name].address + 4 * word


def write(ctx, dut, at, value):
    ctx.set(dut.csr.addr, at)
    ctx.set(dut.csr.w_data, value)
    ctx.set(dut.csr.w_en, 1)
    yield
    ctx.set(dut.csr.w_en, 0)


def read(ctx, dut, at):
    ctx.set(dut.csr.addr, at)
    ctx.set(dut.csr.r_en, 1)
    yield
    ctx.set(dut.csr.r_en, 0)
    return ctx.get(dut.csr.r_data)


def run(script, **changes):
    dut = Control(GEOMETRY)
    bench = Bench(dut, **changes)
    bench.script(lambda ctx: script(ctx, dut, bench))
    return dut, bench


def test_what_is_written_is_read_back():
    rng = random.Random(1)

    def script(ctx, dut, bench):
        names = [name for name, register in REGISTERS.items() if register.access == "rw"]
        values = {name: rng.getrandbits(32) for name in names}
        for name in rng.sample(names, len(names)):
            yield from write(ctx, dut, address(name), values[name])
        for name in names:
            value = yield from read(ctx, dut, address(name))
            assert value == values[name], name
        yield

        def wide(name):
            return (values[f"{name}_HI"] << 32 | values[f"{name}_LO"]) & (1 << 48) - 1

        assert ctx.get(dut.enable) == values["CONTROL"] & 1
        assert ctx.get(dut.sq_base) == wide("SQ_BASE") and ctx.get(dut.cq_base) == wide("CQ_BASE")
        assert ctx.get(dut.sq_size) == values["SQ_SIZE"] & 0xFFFF
        assert ctx.get(dut.cq_size) == values["CQ_SIZE"] & 0xFFFF
        assert ctx.get(dut.sequence_table) == values["SEQUENCE_TABLE"]
        assert ctx.get(dut.window_base) == wide("WINDOW_BASE")
        end = (wide("WINDOW_BASE") + wide("WINDOW_BYTES")) & (1 << 48) - 1
        assert ctx.get(dut.window_end) == end
        for at in (0x0004, 0x0040, 0x2FFC):
            value = yield from read(ctx, dut, at)
            assert value == 0, "what is no register reads as 0"

    run(script)[1].run()


def test_identity_and_status():
    def script(ctx, dut, bench):
        assert (yield from read(ctx, dut, address("ID"))) == DRIVE_ID
        for bit, signal in enumerate((None, dut.mailbox, dut.executing)):
            if signal is not None:
                ctx.set(signal, 1)
                assert (yield from read(ctx, dut, address("STATUS"))) == 1 << bit
                ctx.set(signal, 0)
        yield from write(ctx, dut, address("CONTROL"), 1)
        assert (yield from read(ctx, dut, address("STATUS"))) == 1

    run(script)[1].run()


def test_doorbells_and_pushes_last_one_clock():
    def script(ctx, dut, bench):
        for name, value, strobe, port in (
            ("SQ_TAIL", 7, dut.sq_tail_write, dut.sq_tail),
            ("CQ_HEAD", 9, dut.cq_head_write, dut.cq_head),
            ("GROUP_PUSH", 33, dut.group_push, dut.group),
            ("MAILBOX_DONE", 0x702, dut.mailbox_done, dut.mailbox_status),
        ):
            ctx.set(dut.csr.addr, address(name))
            ctx.set(dut.csr.w_data, value)
            assert not ctx.get(strobe)
            ctx.set(dut.csr.w_en, 1)
            assert ctx.get(strobe) and ctx.get(port) == value
            yield
            ctx.set(dut.csr.w_en, 0)
            assert not ctx.get(strobe)
        ctx.set(dut.group_free, 13)
        assert (yield from read(ctx, dut, address("GROUP_FREE"))) == 13

    run(script)[1].run()


def test_mailbox():
    sqe = random.Random(2).getrandbits(512)

    def script(ctx, dut, bench):
        ctx.set(dut.mailbox_sqe, sqe)
        ctx.set(dut.mailbox, 1)
        assert (yield from read(ctx, dut, address("MAILBOX_STATUS"))) == 1
        ctx.set(dut.starved, 1)
        assert (yield from read(ctx, dut, address("MAILBOX_STATUS"))) == 3
        words = []
        for word in range(16):
            words.append((yield from read(ctx, dut, address("MAILBOX_SQE", word))))
        assert words == [sqe >> 32 * n & 0xFFFFFFFF for n in range(16)]
        yield from write(ctx, dut, address("MAILBOX_RESULT"), 0xABCD1234)
        assert ctx.get(dut.mailbox_result) == 0xABCD1234

    run(script)[1].run()


@pytest.mark.parametrize("backpressure", [0.0, 0.7])
@pytest.mark.parametrize("op", [NandOp.ERASE, NandOp.RESET, NandOp.STATUS])
@pytest.mark.parametrize("failed", [0, 1])
def test_management_operations(op, failed, backpressure):
    def script(ctx, dut, bench):
        yield from write(ctx, dut, address("FLASH_ROW"), 1 << 24 | 0x123456)
        yield from write(ctx, dut, address("FLASH_OP"), op.value | 1 << 8)
        assert (yield from read(ctx, dut, address("FLASH_STATUS"))) & FlashStatus.BUSY
        yield from write(ctx, dut, address("FLASH_OP"), NandOp.RESET.value)  # busy: ignored
        while not bench.ops.items:
            yield
        bench.done.items.append({"tag": MANAGEMENT_TAG + 1, "failed": 1, "status": 0xFF})
        for _ in range(20):
            yield
        assert (yield from read(ctx, dut, address("FLASH_STATUS"))) & FlashStatus.BUSY
        bench.done.items.append({"tag": MANAGEMENT_TAG, "failed": failed, "status": 0xE0 | failed})
        for _ in range(5):
            yield
        status = yield from read(ctx, dut, address("FLASH_STATUS"))
        assert status == (FlashStatus.FAILED if failed else 0) | (0xE0 | failed) << 8

    dut, bench = run(script, backpressure=backpressure)
    bench.ops = bench.sink(dut.o_ops)
    bench.done = bench.source(dut.i_done)
    bench.run()
    (got,) = bench.ops.items
    assert got == {
        "channel": 1,
        "op": {
            "op": op.value,
            "die": 1,
            "row": 0x123456,
            "column": 0,
            "words": 0,
            "tag": MANAGEMENT_TAG,
        },
    }


@pytest.mark.parametrize(
    "code, channel, die",
    [
        (NandOp.READ.value, 0, 0),
        (NandOp.PROGRAM.value, 0, 0),
        (NandOp.READ_ID.value, 0, 0),
        (7, 0, 0),
        (NandOp.ERASE.value | 0x40, 0, 0),
        (NandOp.ERASE.value, GEOMETRY.channels, 0),
        (NandOp.ERASE.value, 255, 0),
        (NandOp.ERASE.value, 0, GEOMETRY.dies),
        (NandOp.ERASE.value, 0, 255),
    ],
)
def test_what_no_operation_is_fails_at_once(code, channel, die):
    def script(ctx, dut, bench):
        yield from write(ctx, dut, address("FLASH_ROW"), die << 24)
        yield from write(ctx, dut, address("FLASH_OP"), code | channel << 8)
        status = yield from read(ctx, dut, address("FLASH_STATUS"))
        assert status & 3 == FlashStatus.FAILED
        for _ in range(5):
            yield

    dut, bench = run(script)
    ops = bench.sink(dut.o_ops)
    bench.run()
    assert not ops.items


def test_counters_are_reached_through_their_port():
    def script(ctx, dut, bench):
        for at in (0x2FFC, 0x3000, 0x30A4, 0x4000, 0x43FC, 0x5000):
            hit = 0x3000 <= at < 0x5000
            ctx.set(dut.counter_value, at ^ 0x5A5A5A5A)
            ctx.set(dut.csr.addr, at)
            ctx.set(dut.csr.r_en, 1)
            assert ctx.get(dut.counter_read) == hit
            if hit:
                assert ctx.get(dut.counter_address) == at - 0x3000
            yield
            ctx.set(dut.csr.r_en, 0)
            assert not hit or ctx.get(dut.csr.r_data) == at ^ 0x5A5A5A5A

    run(script)[1].run()
