"""The map walker: order of passes, channels, null units, tails, against the rules of the beats."""

import dataclasses
import random

import pytest

from flash_model.profiles import profile
from hls_attention.beats import Kind
from rtl.pages.requests import Source
from rtl.tables import MAP_ENTRY, group_channel
from rtl.walker import Walker
from tests.rtl.streams_bench import CROSS, Bench

SIZE = 1 << 15
GROUP_TOKENS = 5
K, V = Kind.K.value, Kind.V.value


def geometry(channels):
    return dataclasses.replace(profile("tiny").geometry, channels=channels, dies=4)


def job(rng, number, first, groups, tail_tokens, *, skip=0, stop=None, kv_heads=3):
    """A walk of a pass: ``groups`` on flash from group ``first`` on, then maybe the tail.

    The pass begins after ``skip`` tokens of its first group, and ends with token ``stop`` of its
    last. Returns the walk, its map entries from group ``first`` on, and its place.
    """
    layer, head = rng.randrange(4), rng.randrange(kv_heads)
    first_channel = rng.randrange(16)
    entries = [
        {
            "k_row": rng.getrandbits(24),
            "k_die": rng.randrange(4),
            "v_row": rng.getrandbits(24),
            "v_die": rng.randrange(4),
        }
        for _ in range(groups)
    ]
    end = stop or (tail_tokens or GROUP_TOKENS)
    walk = {
        "tag": number % 16,
        "beats": 16,
        "channel": (3 * (layer * kv_heads + head) + first_channel) % 256,
        "map": 0x1000 * (number + 1) + 8 * rng.randrange(400),
        "tail": 512 * rng.randrange(100),
        # with a tail the pass goes on beyond the flash; without, more may lie on flash behind it
        "flash_groups": first + groups + (0 if tail_tokens else rng.randrange(3)),
        "group_tokens": GROUP_TOKENS,
        "first": first,
        "skip": skip,
        "last": first + groups - (tail_tokens == 0),
        "end_tokens": end,
    }
    return walk, entries, (layer, kv_heads, head, first_channel)


def channel_of(group, place, channels):
    *head, first_channel = place
    return group_channel(group, *head, channels, first_channel)


def units(walk, entries, place, kind, channels, bad=()):
    """What each channel must get for one pass; entries at addresses ``bad`` cannot be read."""
    dealt = [[] for _ in range(channels)]
    common = {"kind": kind, "format": 0, "job": walk["tag"], "beats": walk["beats"]}
    token = 0
    for group in range(walk["first"], walk["last"] + 1):
        start = walk["skip"] if group == walk["first"] else 0
        stop = walk["end_tokens"] if group == walk["last"] else GROUP_TOKENS
        unit = {**common, "token": token, "skip": start, "tokens": stop - start}
        if group < walk["flash_groups"]:
            entry, name = entries[group - walk["first"]], "kv"[kind]
            unit |= {
                "source": Source.FLASH.value,
                "die": entry[f"{name}_die"],
                "row": entry[f"{name}_row"],
                "error": int(walk["map"] + 8 * group in bad),
            }
        else:
            unit |= {"source": Source.TAIL.value, "error": 0}
        dealt[channel_of(group, place, channels)].append(unit)
        token += stop - start
    for channel in dealt:
        if not channel:
            channel.append({**common, "source": Source.NULL.value, "error": 0})
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
        [dict(first=0, groups=1, tail_tokens=0), dict(first=0, groups=0, tail_tokens=3)]
        + [dict(first=0, groups=channels, tail_tokens=2)],
        [dict(first=0, groups=0, tail_tokens=1)],
        [
            dict(first=3, groups=2 * channels + 1, tail_tokens=0, skip=2, stop=4),
            dict(first=7, groups=70 // channels, tail_tokens=5, skip=4),
            dict(first=9, groups=1, tail_tokens=0, skip=1, stop=3),
            dict(first=2, groups=0, tail_tokens=4, skip=1, stop=3),
        ],
    ]
    walks, wanted, tails = [], [[] for _ in range(channels)], []
    number = 0
    for shapes in lists:
        jobs = []
        for shape in shapes:
            walk, entries, place = job(rng, number % 6, **shape)
            walk["tag"] = number % 16
            number += 1
            for n, entry in enumerate(entries):
                memory.put(walk["map"] + 8 * (walk["first"] + n), MAP_ENTRY.pack(**entry))
                if rng.random() < 0.2:
                    memory.bad.add(walk["map"] + 8 * (walk["first"] + n))
            jobs.append((walk, entries, place))
            walks.append(walk)
        walks.append({"end": 1})
        for n, kind in passes(len(jobs)):
            walk, entries, place = jobs[n]
            dealt_to = units(walk, entries, place, kind, channels, memory.bad)
            for channel, dealt in enumerate(dealt_to):
                wanted[channel] += dealt
                for unit in dealt:
                    if unit["source"] == Source.TAIL.value:
                        begin = walk["tail"] + 512 * kind + 8 * unit["skip"] * walk["beats"]
                        words = unit["tokens"] * walk["beats"]
                        tails.append({"address": begin, "words": words, "channel": channel})
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
    walk, entries, place = job(rng, 1, 0, 9, 0)
    for n, entry in enumerate(entries):
        memory.put(walk["map"] + 8 * n, MAP_ENTRY.pack(**entry))
    memory.bad.add(walk["map"] + 8 * 5)
    ranges = [(0, 0, K), (5, 5, V), (2, 8, K), (8, 8, K)]
    bench.source(
        dut.i,
        [
            {**walk, "readback": 1, "kind": kind, "first": first, "last": last, "end_tokens": 5}
            for first, last, kind in ranges
        ],
    )
    wanted = [(group, kind) for first, last, kind in ranges for group in range(first, last + 1)]
    got = []
    for channel, port in enumerate(dut.o):
        bench.sink(port, then=lambda unit, channel=channel: got.append((channel, unit)))
    bench.run(lambda: len(got) == len(wanted), idle=40)
    for (channel, unit), (group, kind) in zip(got, wanted, strict=True):
        name = "kv"[kind]
        assert channel == channel_of(group, place, 4)
        assert shown(unit, ("source", "die", "row", "tokens", "beats", "error")) == {
            "source": Source.READBACK.value,
            "die": entries[group][f"{name}_die"],
            "row": entries[group][f"{name}_row"],
            "tokens": GROUP_TOKENS,
            "beats": 16,
            "error": int(group == 5),
        }


def test_quiet_while_a_channel_is_full():
    rng = random.Random(5)
    dut = Walker(geometry(2))
    bench = Bench(dut, quiet=True)
    bench.memory(dut.read, SIZE)
    walk, _, _ = job(rng, 0, 0, 6, 0)
    bench.source(dut.i, [walk])
    for port in dut.o:
        bench.sink(port, gate=lambda: bench.clock > 250)
    bench.run(lambda: bench.clock == 200)
    assert bench.still > 100
