"""Program slots: who has which, what a failure holds back, and what the firmware gives back."""

import random

import pytest

from flash_model.profiles import profile
from rtl.nand.operations import Cause
from rtl.program_slots import PROGRAM_TAG, ProgramSlots
from rtl.tables import program_slots
from tests.rtl.streams_bench import Bench

GEOMETRY = profile("tiny").geometry


@pytest.mark.parametrize("fails", [0.0, 0.2])
def test_a_slot_has_one_owner(fails):
    rng = random.Random(5)
    dut = ProgramSlots(GEOMETRY)
    bench = Bench(dut, timeout=20_000)
    done, failed = bench.source(dut.i_done), bench.sink(dut.failed)
    count = program_slots(GEOMETRY)
    held, broken, handed = [], set(), []

    def script(ctx):
        seen = 0
        ctx.set(dut.o.ready, 1)
        for _ in range(4000):
            ask = rng.random() < 0.5
            ctx.set(dut.ask, ask)
            if ctx.get(dut.o.valid):
                assert ask
                slot = ctx.get(dut.o.payload)
                assert slot not in held and slot not in broken
                held.append(slot)
                handed.append(slot)
            yield
            if held and rng.random() < 0.4:
                slot = held.pop(rng.randrange(len(held)))
                bad = rng.random() < fails
                done.items.append({"tag": PROGRAM_TAG | slot, "failed": bad,
                                   "cause": Cause.CELLS.value * bad})  # fmt: skip
                if bad:
                    broken.add(slot)
            if len(failed.items) > seen and rng.random() < 0.3:
                ctx.set(dut.ask, 0)
                ctx.set(dut.release, 1)
                ctx.set(dut.released, failed.items[seen])
                broken.remove(failed.items[seen])
                seen += 1
                yield
                ctx.set(dut.release, 0)
        ctx.set(dut.ask, 0)
        while seen < len(failed.items) or broken:
            if seen < len(failed.items):
                ctx.set(dut.release, 1)
                ctx.set(dut.released, failed.items[seen])
                broken.discard(failed.items[seen])
                seen += 1
            yield
            ctx.set(dut.release, 0)
        for _ in range(20):
            yield
        assert ctx.get(dut.used) == len(held)

    bench.script(script)
    bench.run()
    assert len(handed) > 300 and set(handed) == set(range(count))
    assert bool(fails) == bool(failed.items)


@pytest.mark.parametrize("cause", ["hold", "failure"])
def test_hold_and_failures_hold_slots_back(cause):
    dut = ProgramSlots(GEOMETRY)
    bench = Bench(dut)
    done = bench.source(dut.i_done)

    def script(ctx):
        for _ in range(12):
            yield
        ctx.set(dut.ask, 1)
        ctx.set(dut.o.ready, 1)
        assert ctx.get(dut.o.valid)
        slot = ctx.get(dut.o.payload)
        yield
        ctx.set(dut.ask, 0)
        if cause == "hold":
            ctx.set(dut.hold, 1)
        else:
            done.items.append({"tag": PROGRAM_TAG | slot, "failed": 1})
        for _ in range(6):
            yield
        ctx.set(dut.ask, 1)
        for _ in range(10):
            assert not ctx.get(dut.o.valid) and ctx.get(dut.used) == 1
            yield
        if cause == "hold":
            ctx.set(dut.hold, 0)
        else:
            assert ctx.get(dut.failed.valid) and ctx.get(dut.failed.payload) == slot
            ctx.set(dut.failed.ready, 1)
            yield
            ctx.set(dut.failed.ready, 0)
        assert ctx.get(dut.o.valid)
        yield

    bench.script(script)
    bench.run()
