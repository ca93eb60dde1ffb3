"""Sequence lookups: the entry as the firmware packed it, and what is wrong with it."""

import random

import pytest

from rtl.commands import Status
from rtl.sequence_reader import SequenceReader
from rtl.tables import SEQUENCE, SequenceState
from tests.rtl.streams_bench import CROSS, Bench

TABLE = 0x2040


@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_entries_and_statuses(stall, backpressure):
    rng = random.Random(1)
    dut = SequenceReader(max_sequences=6)
    bench = Bench(dut, quiet=True, stall=stall, backpressure=backpressure)
    memory = bench.memory(dut.read, 1 << 14)
    entries = []
    for number in range(8):
        entry = {name: rng.getrandbits(field.width) for name, field in SEQUENCE.fields.items()}
        entry["layers"] = 5
        entry["state"] = [
            SequenceState.OPEN,
            SequenceState.CLOSED,
            SequenceState.FREE,
            SequenceState.OPEN,
            SequenceState.OPEN,
            SequenceState.OPEN,
            SequenceState.OPEN,
            SequenceState.OPEN,
        ][number]
        entries.append(entry)
        memory.put(TABLE + 64 * number, SEQUENCE.pack(**entry))
    asked = [
        (0, 0),
        (1, 0),
        (2, 0),
        (3, 4),
        (3, 5),
        (4, 0xFFFF),
        (5, 1),
        (6, 0),
        (0xFFFF, 0),
        (0, 4),
        (4, 0),
        (0, 4),
    ]
    memory.bad = {TABLE + 64 * 4 + 24, TABLE + 64 * 4 + 40, TABLE + 64 * 6}
    wanted = []
    for sequence, layer in asked:
        if sequence == 4:
            wanted.append(Status.INTERNAL_ERROR)
        elif sequence >= 6 or entries[sequence]["state"] == SequenceState.FREE:
            wanted.append(Status.UNKNOWN_SEQUENCE)
        elif entries[sequence]["state"] == SequenceState.CLOSED:
            wanted.append(Status.CLOSED_SEQUENCE)
        else:
            wanted.append(Status.SUCCESS if layer < 5 else Status.LAYER_OUT_OF_RANGE)
    source = bench.source(dut.i, [{"sequence": s, "layer": n} for s, n in asked[:1]])
    held = bench.watch(dut.sequence.as_value(), dut.layer)
    seen = []

    def answered(_):
        seen.append(len(bench.watched[0][1]))
        if len(seen) < len(asked):
            source.items.append({"sequence": asked[len(seen)][0], "layer": asked[len(seen)][1]})

    bench.script(lambda ctx: iter([ctx.set(dut.table, TABLE)]))
    sink = bench.sink(dut.o, then=answered)
    bench.run(lambda: len(sink.items) == len(asked), idle=30)
    assert sink.items == wanted
    for clock, (sequence, layer), status in zip(seen, asked, wanted):
        raw, layer_held = held[clock]
        if status == Status.SUCCESS:
            assert raw.to_bytes(64, "little") == SEQUENCE.pack(**entries[sequence])
            assert layer_held == layer
