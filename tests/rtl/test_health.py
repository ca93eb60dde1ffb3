"""Events for the firmware: each failed program is told, pages read again one at a time."""

import random

from flash_model.profiles import profile
from rtl.health import Health
from tests.rtl.streams_bench import Bench

GEOMETRY = profile("tiny").geometry


def test_events_come_one_at_a_time():
    rng = random.Random(2)
    dut = Health(GEOMETRY)
    bench = Bench(dut, quiet=True, timeout=10_000)
    slots = [rng.randrange(8) for _ in range(30)]
    agains = [
        [
            {
                "die": rng.randrange(2),
                "row": rng.randrange(1 << 24),
                "level": rng.randrange(8),
                "lost": rng.randrange(2),
            }  # fmt: skip
            for _ in range(20)
        ]
        for _ in range(GEOMETRY.channels)
    ]
    bench.source(dut.i_failed, slots)
    for port, items in zip(dut.i_again, agains):
        bench.source(port, items)
    oftens = [
        [{"die": rng.randrange(2), "block": rng.randrange(64)} for _ in range(9)]
        for _ in range(GEOMETRY.channels)
    ]
    for port, items in zip(dut.i_often, oftens):
        bench.source(port, items)
    told, seen, often = [], *([[] for _ in range(GEOMETRY.channels)] for _ in range(2))
    total = len(slots) + sum(map(len, agains)) + sum(map(len, oftens))

    def script(ctx):
        while len(told) + sum(map(len, seen)) + sum(map(len, often)) < total:
            yield
            event = ctx.get(dut.event)
            if event.valid and rng.random() < 0.5:
                if event.again:
                    names = ("die", "row", "level", "lost")
                    seen[event.number].append({name: getattr(event, name) for name in names})
                elif event.often:
                    block, page = divmod(event.row, GEOMETRY.pages)
                    assert page == 0
                    often[event.number].append({"die": event.die, "block": block})
                else:
                    told.append(event.number)
                ctx.set(dut.taken, 1)
                yield
                ctx.set(dut.taken, 0)

    bench.script(script)
    bench.run()
    assert told == slots and seen == agains and often == oftens
