"""The control bus: every register of the table, doorbells, mailbox, what the firmware does."""

import random

import pytest

from flash_model.profiles import profile
from rtl.control import Control
from rtl.health import event_layout
from rtl.read_counts import most_reads
from rtl.registers import DRIVE_ID, REGISTERS, FlashEvent
from tests.rtl.streams_bench import Bench

GEOMETRY = profile("tiny").geometry

WRITTEN = {
    ("CONTROL", "enable"): "enable",
    ("MAILBOX_DONE", "status"): "mailbox_status",
    ("STRIPE_PUSH", "columns"): "push_columns",
    ("FLASH_ROW", "row"): "flash_request.row",
    ("FLASH_ROW", "die"): "flash_request.die",
    ("FLASH_OP", "op"): "flash_request.op",
    ("FLASH_OP", "channel"): "flash_request.channel",
    ("FLASH_WORDS", "first"): "flash_request.column",
    ("FLASH_WORDS", "words"): "flash_request.words",
    ("PROGRAM_HOLD", "hold"): "program_hold",
    ("PROGRAM_RELEASE", "slot"): "program_released",
    ("STRIPE_BLOCK", "slot"): "block_place.slot",
    ("STRIPE_BLOCK", "channel"): "block_place.channel",
    ("STRIPE_BLOCK", "column"): "block_place.column",
    ("READ_ONLY", "read_only"): "read_only",
    ("READ_COUNT_OF", "block"): "count_place.block",
    ("READ_COUNT_OF", "die"): "count_place.die",
    ("READ_COUNT_OF", "channel"): "count_channel",
    ("READ_LIMIT", "reads"): "read_limit",
    ("STREAM", "stream"): "stream",
    ("STREAM", "channel"): "look_channel",
    ("STREAM_END", "stream"): "end_stream",
    ("PHY_OF", "die"): "report_die",
    ("PHY_OF", "channel"): "report_channel",
}
"""Fields that are written -> the port that has them."""

READ = {
    ("STATUS", "mailbox"): "mailbox",
    ("STATUS", "executing"): "executing",
    ("STATUS", "stopped"): "fault",
    ("MAILBOX_STATUS", "command"): "mailbox",
    ("MAILBOX_STATUS", "starved"): "starved",
    ("MAILBOX_STATUS", "stream"): "starved_stream",
    ("READ_COUNT", "reads"): "count_value",
    ("READ_COUNT", "busy"): "count_busy",
    **{
        ("PHY_STATE", name): f"report.{name}"
        for name in ("tells", "answers", "usable", "offset", "first", "width")
    },
}
"""Fields that are read -> the port that they are of."""


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


PAGE_BASE = 0x12_3456_7000


def run(script, count_bits=24, **changes):
    dut = Control(GEOMETRY, streams=64, slots=4, page_base=PAGE_BASE, count_bits=count_bits)
    bench = Bench(dut, **changes)
    bench.script(lambda ctx: script(ctx, dut, bench))
    return dut, bench


def test_what_is_written_is_read_back():
    rng = random.Random(1)

    def script(ctx, dut, bench):
        names = [name for name, register in REGISTERS.items() if register.access == "rw"]
        names.remove("STREAM_END")  # reads something else
        values = {name: rng.getrandbits(32) for name in names}
        assert ctx.get(dut.page_base) == PAGE_BASE
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
        assert ctx.get(dut.read_only) == values["READ_ONLY"] & 1
        assert ctx.get(dut.page_base) == wide("PAGE_BASE")
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
        for bit, signal in enumerate((None, dut.mailbox, dut.executing, dut.fault)):
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
            ("STRIPE_PUSH", 2, dut.push, dut.push_columns),
            ("STREAM_END", 61, dut.end, dut.end_stream),
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

    run(script)[1].run()


def test_mailbox():
    sqe = random.Random(2).getrandbits(512)

    def script(ctx, dut, bench):
        ctx.set(dut.mailbox_sqe, sqe)
        ctx.set(dut.mailbox, 1)
        assert (yield from read(ctx, dut, address("MAILBOX_STATUS"))) == 1
        ctx.set(dut.starved_stream, 61)
        assert (yield from read(ctx, dut, address("MAILBOX_STATUS"))) == 1
        ctx.set(dut.starved, 1)
        assert (yield from read(ctx, dut, address("MAILBOX_STATUS"))) == 61 << 8 | 3
        words = []
        for word in range(16):
            words.append((yield from read(ctx, dut, address("MAILBOX_SQE", word))))
        assert words == [sqe >> 32 * n & 0xFFFFFFFF for n in range(16)]
        yield from write(ctx, dut, address("MAILBOX_RESULT"), 0xABCD1234)
        assert ctx.get(dut.mailbox_result) == 0xABCD1234

    run(script)[1].run()


def test_management_operations():
    def script(ctx, dut, bench):
        for name, value in (
            ("FLASH_ROW", 1 << 24 | 0x123456),
            ("FLASH_WORDS", 0xABC << 16 | 0x345),
            ("FLASH_ADDRESS", 0x89ABCDE8),
        ):
            yield from write(ctx, dut, address(name), value)
        assert not ctx.get(dut.flash_start)
        ctx.set(dut.csr.addr, address("FLASH_OP"))
        ctx.set(dut.csr.w_data, 5 << 8 | 2)
        ctx.set(dut.csr.w_en, 1)
        assert ctx.get(dut.flash_start)
        request = ctx.get(dut.flash_request)
        wanted = {"op": 2, "channel": 5, "die": 1, "row": 0x123456, "column": 0x345,
                  "words": 0xABC, "address": 0x89ABCDE8}  # fmt: skip
        assert {name: getattr(request, name) for name in wanted} == wanted
        yield
        ctx.set(dut.csr.w_en, 0)
        assert not ctx.get(dut.flash_start)
        ctx.set(dut.flash_status, 0x3E003)
        assert (yield from read(ctx, dut, address("FLASH_STATUS"))) == 0x3E003

    run(script)[1].run()


def test_program_slots():
    def script(ctx, dut, bench):
        ctx.set(dut.program_used, 77)
        assert (yield from read(ctx, dut, address("PROGRAM_USED"))) == 77
        yield from write(ctx, dut, address("PROGRAM_BUFFER"), 0x4440)
        yield from write(ctx, dut, address("PROGRAM_HOLD"), 1)
        assert ctx.get(dut.program_buffer) == 0x4440 and ctx.get(dut.program_hold)
        ctx.set(dut.csr.addr, address("PROGRAM_RELEASE"))
        ctx.set(dut.csr.w_data, 99)
        ctx.set(dut.csr.w_en, 1)
        assert ctx.get(dut.program_release) and ctx.get(dut.program_released) == 99
        yield

    run(script)[1].run()


def test_streams():
    """Their blocks, pushes and ends, and what is seen of them."""

    def script(ctx, dut, bench):
        yield from write(ctx, dut, address("STREAM"), 1 << 8 | 45)
        assert (ctx.get(dut.stream), ctx.get(dut.look_channel)) == (45, 1)
        yield from write(ctx, dut, address("FLASH_ROW"), 1 << 24 | 61)
        ctx.set(dut.csr.addr, address("STRIPE_BLOCK"))
        ctx.set(dut.csr.w_data, 0 << 16 | 1 << 8 | 3)
        assert not ctx.get(dut.block_write)
        ctx.set(dut.csr.w_en, 1)
        assert ctx.get(dut.block_write) and not ctx.get(dut.push) and not ctx.get(dut.end)
        wanted = {"stream": 45, "slot": 3, "channel": 1, "column": 0, "die": 1, "block": 61}
        got = ctx.get(dut.block_place)
        assert {name: getattr(got, name) for name in wanted} == wanted
        ctx.set(dut.csr.w_data, 1 << 16 | 0 << 8 | 2)
        got = ctx.get(dut.block_place)
        assert (got.slot, got.channel, got.column) == (2, 0, 1)
        yield
        ctx.set(dut.csr.w_en, 0)
        assert not ctx.get(dut.block_write)
        ctx.set(dut.filled, 7)
        assert (yield from read(ctx, dut, address("STREAM_FILLED"))) == 7
        for ending in (1, 0):
            ctx.set(dut.ending, ending)
            assert (yield from read(ctx, dut, address("STREAM_END"))) == ending

    run(script)[1].run()


def test_events():
    def script(ctx, dut, bench):
        for valid, again in ((0, 0), (1, 0), (1, 1)):
            ctx.set(
                dut.event,
                {
                    "valid": valid,
                    "again": again,
                    "number": 7,
                    "level": 5,
                    "lost": 1,
                    "row": 0x123456,
                    "die": 3,
                },  # fmt: skip
            )
            wanted = 7 | 5 << FlashEvent.LEVEL_SHIFT | FlashEvent.LOST
            wanted |= valid * FlashEvent.VALID | again * FlashEvent.AGAIN
            assert (yield from read(ctx, dut, address("EVENT"))) == wanted
            assert (yield from read(ctx, dut, address("EVENT_ROW"))) == 3 << 24 | 0x123456
            assert (yield from read(ctx, dut, address("MAILBOX_STATUS"))) == valid << 2
        ctx.set(dut.csr.addr, address("EVENT_TAKEN"))
        assert not ctx.get(dut.event_taken)
        ctx.set(dut.csr.w_en, 1)
        assert ctx.get(dut.event_taken)
        yield

    run(script)[1].run()


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


@pytest.mark.parametrize("bits, most", [(12, 4032), (18, 262_080)])
def test_a_limit_of_reads_is_at_most_what_is_counted(bits, most):
    def script(ctx, dut, bench):
        for limit in (0, most - 1, most, most + 1, 0xABCDEF):
            yield from write(ctx, dut, address("READ_LIMIT"), limit)
            assert ctx.get(dut.read_limit) == min(limit, most)
            assert (yield from read(ctx, dut, address("READ_LIMIT"))) == limit

    run(script, count_bits=bits)[1].run()


def test_read_counts():
    def script(ctx, dut, bench):
        yield from write(ctx, dut, address("READ_LIMIT"), 0xABCDEF)
        assert ctx.get(dut.read_limit) == 0xABCDEF
        yield from write(ctx, dut, address("READ_COUNT_OF"), 1 << 24 | 1 << 16 | 63)
        ctx.set(dut.csr.r_en, 0)
        assert not ctx.get(dut.count_ask) or ctx.get(dut.count_channel) == 1
        ctx.set(dut.count_value, 0x123456)
        assert (yield from read(ctx, dut, address("READ_COUNT"))) == 1 << 31 | 0x123456
        assert ctx.get(dut.count_channel) == 1
        assert (ctx.get(dut.count_place.die), ctx.get(dut.count_place.block)) == (1, 63)
        assert (yield from read(ctx, dut, address("READ_COUNT"))) == 0x123456
        ctx.set(dut.count_busy, 1)
        assert (yield from read(ctx, dut, address("READ_COUNT"))) == 1 << 31 | 0x123456
        ctx.set(dut.csr.addr, address("READ_COUNT_CLEAR"))
        ctx.set(dut.csr.w_en, 1)
        assert ctx.get(dut.count_clear)
        yield
        ctx.set(dut.csr.w_en, 0)
        assert not ctx.get(dut.count_clear)

    run(script)[1].run()


def port(dut, name):
    for part in name.split("."):
        dut = getattr(dut, part)
    return dut


def test_every_bit_of_every_field_is_where_the_table_says():
    fields = {(name, f.name): f for name, r in REGISTERS.items() for f in r.fields}

    def script(ctx, dut, bench):
        for (name, part), field in fields.items():
            if (name, part) not in WRITTEN:
                continue
            ones = (1 << field.width) - 1 << field.offset
            signal = port(dut, WRITTEN[name, part])
            most = (1 << min(len(signal), field.width)) - 1
            if name == "READ_LIMIT":
                most = most_reads(24)
            for value, wanted in ((ones, most), (ones ^ 0xFFFFFFFF, 0)):
                ctx.set(dut.csr.addr, address(name))
                ctx.set(dut.csr.w_data, value)
                ctx.set(dut.csr.w_en, 1)
                if REGISTERS[name].access == "rw" and name != "STREAM_END":
                    yield
                    ctx.set(dut.csr.w_en, 0)
                assert ctx.get(signal) == wanted, (name, part)
                ctx.set(dut.csr.w_en, 0)
        ctx.set(dut.starved, 1)  # `starved_stream` means something
        base = {}
        for name, _ in READ:
            base[name] = yield from read(ctx, dut, address(name))
        for (name, part), of in READ.items():
            signal = port(dut, of)
            was = ctx.get(signal)
            ctx.set(signal, (1 << len(signal)) - 1 - was)
            changed = base[name] ^ (yield from read(ctx, dut, address(name)))
            ctx.set(signal, was)
            field = fields[name, part]
            assert changed == (1 << min(len(signal), field.width)) - 1 << field.offset, (name, part)

    run(script)[1].run()
    event = {(n, f.offset, f.width) for n, f in event_layout() if n not in ("row", "die")}
    told = {(f.name, f.offset, f.width) for f in REGISTERS["EVENT"].fields}
    assert event - told == {("reserved", 12, 17)}
    elsewhere = {"STATUS": {"ready"}, "MAILBOX_STATUS": {"event"}}  # tested above, and EVENT_ROW
    for name, part in fields.keys() - WRITTEN.keys() - READ.keys():
        if name not in ("EVENT", "EVENT_ROW", "FLASH_STATUS"):
            assert part in elsewhere.get(name, ()), (name, part)
