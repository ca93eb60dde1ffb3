"""The map walker: order of passes, channels, null units, tails, against the rules of the beats."""

import dataclasses
import random

import pytest

from flash_model.profiles import profile
from hls_attention.beats import Kind
from rtl.page_requests import Source
from rtl.tables import MAP_ENTRY, group_channel
from rtl.walker import Walker
from tests.rtl.streams_bench import CROSS, Bench

SIZE = 1 << 15
GROUP_TOKENS = 4
K, V = Kind.K.value, Kind.V.value


def geometry(channels):
    return dataclasses.replace(profile("tiny").geometry, channels=channels, dies=4)


def job(rng, number, groups, tail_tokens, kv_heads=3):
    """A walk of head (layer, head), its map filled with random pages."""
    layer, head = rng.randrange(4), rng.randrange(kv_heads)
    entries = [
        {
            "k_row": rng.getrandbits(24),
            "k_die": rng.randrange(4),
            "v_row": rng.getrandbits(24),
            "v_die": rng.randrange(4),
        }
        for _ in range(groups)
    ]
    walk = {
        "tag": number % 16,
        "beats": 16,
        "index": layer * kv_heads + head,
        "map": 0x1000 * (number + 1) + 8 * rng.randrange(450),
        "tail": 512 * rng.randrange(100),
        "groups": groups,
        "group_tokens": GROUP_TOKENS,
        "tail_tokens": tail_tokens,
    }
    return walk, entries, (layer, kv_heads, head)


def units(walk, entries, place, kind, channels):
    """What each channel must get for one pass of a job."""
    dealt = [[] for _ in range(channels)]
    common = {"kind": kind, "format": 0, "job": walk["tag"], "beats": walk["beats"]}
    for group, entry in enumerate(entries):
        name = "kv"[kind]
        dealt[group_channel(group, *place, channels)].append(
            {
                **common,
                "source": Source.FLASH.value,
                "die": entry[f"{name}_die"],
                "row": entry[f"{name}_row"],
                "token": group * GROUP_TOKENS,
                "tokens": GROUP_TOKENS,
            }
        )
    if walk["tail_tokens"]:
        dealt[group_channel(walk["groups"], *place, channels)].append(
            {
                **common,
                "source": Source.TAIL.value,
                "token": walk["groups"] * GROUP_TOKENS,
                "tokens": walk["tail_tokens"],
            }
        )
    for channel in dealt:
        if not channel:
            channel.append({**common, "source": Source.NULL.value})
        for unit in channel:
            unit["last"] = int(unit is channel[-1])
    return dealt


def passes(count):
    """K(0) K(1) V(0) K(2) V(1) ... V(n-1)"""
    order = []
    for n in range(count):
        order.append((n, K))
        if n:
            order.append((n - 1, V))
    return [*order, (count - 1, V)] if count else []


def shown(unit, wanted):
    """Only what the wanted unit says: rows of tails and nulls mean nothing."""
    return {name: unit[name] for name in wanted}


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_every_pass_in_order_on_its_channel(channels, stall, backpressure):
    rng = random.Random(channels)
    dut = Walker(geometry(channels))
    bench = Bench(dut, timeout=8000, quiet=True, stall=stall, backpressure=backpressure)
    memory = bench.memory(dut.read, SIZE, latency=6)
    lists = [
        [(1, 0), (0, 3), (channels, 2)],
        [(0, 1)],
        [(2 * channels + 1, 0), (70 // channels, 4)],
    ]
    walks, wanted, tails = [], [[] for _ in range(channels)], []
    number = 0
    for shapes in lists:
        jobs = []
        for groups, tail_tokens in shapes:
            walk, entries, place = job(rng, number % 6, groups, tail_tokens)
            walk["tag"] = number % 16
            number += 1
            for n, entry in enumerate(entries):
                memory.put(walk["map"] + 8 * n, MAP_ENTRY.pack(**entry))
            jobs.append((walk, entries, place))
            walks.append(walk)
        walks.append({"end": 1})
        for n, kind in passes(len(jobs)):
            walk, entries, place = jobs[n]
            for channel, dealt in enumerate(units(walk, entries, place, kind, channels)):
                wanted[channel] += dealt
            if walk["tail_tokens"]:
                tails.append(
                    {
                        "address": walk["tail"] + 512 * kind,
                        "words": walk["tail_tokens"] * walk["beats"],
                        "channel": group_channel(walk["groups"], *place, channels),
                    }
                )
    walks.insert(4, {"end": 1})  # an empty list of jobs does nothing
    bench.source(dut.i, walks)
    sinks = [bench.sink(port, name=f"o[{n}]") for n, port in enumerate(dut.o)]
    tail = bench.sink(dut.o_tail)
    bench.run(lambda: all(len(s.items) >= len(w) for s, w in zip(sinks, wanted)), idle=40)
    for sink, units_wanted in zip(sinks, wanted):
        assert [shown(u, w) for u, w in zip(sink.items, units_wanted)] == units_wanted
        assert len(sink.items) == len(units_wanted)
        ends = [(u["job"], u["kind"]) for u in sink.items if u["last"]]
        assert len(ends) == len(set(ends)) == 2 * number, "one last unit for each job and pass"
    assert tail.items == tails


def test_pages_are_read_back_between_lists():
    rng = random.Random(4)
    dut = Walker(geometry(4))
    bench = Bench(dut, quiet=True)
    memory = bench.memory(dut.read, SIZE)
    walk, entries, place = job(rng, 1, 9, 0)
    for n, entry in enumerate(entries):
        memory.put(walk["map"] + 8 * n, MAP_ENTRY.pack(**entry))
    bench.source(
        dut.i,
        [
            {**walk, "readback": 1, "kind": kind, "groups": group}
            for group, kind in ((0, K), (5, V), (8, K))
        ],
    )
    got = []
    for channel, port in enumerate(dut.o):
        bench.sink(port, then=lambda unit, channel=channel: got.append((channel, unit)))
    bench.run(lambda: len(got) == 3, idle=40)
    for (channel, unit), (group, kind) in zip(got, ((0, K), (5, V), (8, K))):
        name = "kv"[kind]
        assert channel == group_channel(group, *place, 4)
        assert shown(unit, ("source", "die", "row", "tokens", "beats")) == {
            "source": Source.READBACK.value,
            "die": entries[group][f"{name}_die"],
            "row": entries[group][f"{name}_row"],
            "tokens": GROUP_TOKENS,
            "beats": 16,
        }


def test_quiet_while_a_channel_is_full():
    rng = random.Random(5)
    dut = Walker(geometry(2))
    bench = Bench(dut, quiet=True)
    bench.memory(dut.read, SIZE)
    walk, _, _ = job(rng, 0, 6, 0)
    bench.source(dut.i, [walk])
    for port in dut.o:
        bench.sink(port, gate=lambda: bench.clock > 250)
    bench.run(lambda: bench.clock == 200)
    assert bench.still > 100
