"""The queue of page reads against lists: by die, in order, some entries on; several of a page, or
of several planes."""

import random

import pytest
from amaranth.sim import Simulator

from rtl.nand.planes import Planes
from rtl.nand.read_queues import ReadQueues

LOOKAHEAD = 3
PLANES = Planes(page_bits=1, plane_bits=2, before_ahead=True)


def entry(rng, dies, number, planes):
    row = rng.randrange(16) if planes and rng.random() < 0.7 else rng.choice((5, 5, 6 << 20))
    return {"die": rng.randrange(dies), "row": row, "column": number % 7, "words": 1 + number}


def joined_by(read, row):
    return row & 1 == read["row"] & 1 and row >> 1 & 3 not in read["planes"]


def same(got, expected):
    fields = {name: value for name, value in expected.items() if name not in ("joins", "planes")}
    return all(getattr(got, name) == value for name, value in fields.items())


@pytest.mark.parametrize("dies, depth", [(1, 1), (1, 5), (3, 4), (4, 16), (2, 7)])
@pytest.mark.parametrize("busy", [0.3, 0.9])
@pytest.mark.parametrize("planes", [None, PLANES])
def test_random_traffic(dies, depth, busy, planes):
    """Arrivals, starts and moves in any combination of a clock.

    A read is further if the one before it on its die is of the same row and still waits. It joins
    the one before it that was not started, if their pages agree and its plane is not among those
    that this one, and what it joins, are of.
    """
    dut = ReadQueues(dies, depth, LOOKAHEAD, planes)
    rng = random.Random(100 * dies + depth)
    moved, stays, paired = [], [], []

    async def bench(ctx):
        order, waiting, number = [], {die: [] for die in range(dies)}, 0
        for _ in range(600):
            assert ctx.get(dut.waiting) == sum(1 << die for die, own in waiting.items() if own)
            if planes:
                wanted = {die: own[1:] and own[1]["joins"] for die, own in waiting.items()}
                assert ctx.get(dut.pairs) == sum(1 << die for die, joins in wanted.items() if joins)
                paired.append(any(wanted.values()))
            assert ctx.get(dut.valid) == bool(order)
            assert ctx.get(dut.i.ready) == (len(order) < depth)
            if order:
                assert same(ctx.get(dut.first), order[0])
                own = [read for read in order if read["die"] == order[0]["die"]]
                stays.append(len(own) > 1 and own[1]["further"])
                assert ctx.get(dut.stays) == stays[-1]
            ahead = rng.randrange(LOOKAHEAD)
            ctx.set(dut.ahead, ahead)
            assert ctx.get(dut.look_valid) == (len(order) > ahead)
            if len(order) > ahead:
                assert same(ctx.get(dut.look), order[ahead])
            arrives = rng.random() < busy
            new = entry(rng, dies, number, planes)
            ctx.set(dut.i.valid, arrives)
            ctx.set(dut.i.payload, new)
            startable = [die for die, own in waiting.items() if own]
            starts = bool(startable) and rng.random() < 0.6
            ctx.set(dut.start, starts)
            if starts:
                die = rng.choice(startable)
                ctx.set(dut.die, die)
                assert same(ctx.get(dut.next), waiting[die][0])
            moves = bool(order) and order[0] not in waiting[order[0]["die"]] and rng.random() < 0.5
            ctx.set(dut.move, moves)
            takes = arrives and len(order) < depth
            if starts:
                waiting[die].pop(0)
            if moves:
                moved.append(order.pop(0))
            if takes:
                before = [read["row"] for read in order if read["die"] == new["die"]]
                new["further"] = before[-1:] == [new["row"]]
                order.append(new)
                if not new["further"]:
                    own = waiting[new["die"]]
                    new["joins"] = bool(own) and joined_by(own[-1], new["row"])
                    new["planes"] = {new["row"] >> 1 & 3}
                    if new["joins"]:
                        new["planes"] |= own[-1]["planes"]
                    own.append(new)
                number += 1
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert len(moved) > 50
    assert [read["words"] for read in moved] == list(range(1, len(moved) + 1))
    assert {True, False} == set(stays) or depth == 1
    assert any(paired) or not planes or depth == 1
