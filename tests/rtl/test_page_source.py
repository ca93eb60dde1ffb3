"""Page source and tail reader: requests in, tagged beats out, words from where they belong."""

import dataclasses
import random

import pytest

from flash_model.profiles import profile
from rtl.nand.operations import NandOp
from rtl.page_requests import Source
from rtl.page_source import PageSource
from rtl.tail_reader import TailReader
from tests.rtl.streams_bench import CROSS, Bench

PAGE_WORDS = 16
GEOMETRY = dataclasses.replace(profile("tiny").geometry, page_bytes=8 * PAGE_WORDS)
FLASH, TAIL = Source.FLASH.value, Source.TAIL.value
NULL, READBACK = Source.NULL.value, Source.READBACK.value


def requests(rng, count):
    """Random units of 4-beat tokens: pages of 4, parts of pages, tails, nulls, pages read back."""
    items = []
    for _ in range(count):
        source = rng.choice([FLASH, FLASH, TAIL, NULL, READBACK])
        skip = rng.choice([0, 0, rng.randrange(4)]) if source in (FLASH, TAIL) else 0
        tokens = rng.choice([4 - skip, rng.randint(1, 4 - skip)])
        items.append(
            {
                "source": source,
                "die": rng.randrange(2),
                "row": rng.getrandbits(24),
                "kind": rng.randrange(2),
                "format": 0,
                "job": rng.randrange(16),
                "token": 4 * rng.randrange(1000),
                "skip": skip,
                "tokens": tokens,
                "beats": 4,
                "last": 1 if source == NULL else rng.randrange(2),
            }
        )
    return items


def beats(unit, words, errors):
    """The definition: a beat for each word, tags from its place in the unit."""
    if unit["source"] == NULL:
        yield {"lanes": 0, "kind": unit["kind"], "job": unit["job"], "last_of_pass": 1, "error": 0}
        return
    for token in range(unit["tokens"]):
        for beat in range(unit["beats"]):
            page_end = token == unit["tokens"] - 1 and beat == unit["beats"] - 1
            yield {
                "data": words.pop(0),
                "lanes": 15,
                "kind": unit["kind"],
                "format": 0,
                "job": unit["job"],
                "token": unit["token"] + token,
                "first_of_unit": int(beat == 0),
                "last_of_unit": int(beat == unit["beats"] - 1),
                "last_of_page": int(page_end),
                "last_of_pass": int(page_end and unit["last"]),
                "error": errors.pop(0),
            }


@pytest.mark.parametrize("depth", [2, 8])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_beats_and_their_tags(depth, stall, backpressure):
    rng = random.Random(depth)
    dut = PageSource(GEOMETRY, depth=depth)
    bench = Bench(dut, timeout=6000, quiet=True, stall=stall, backpressure=backpressure)
    units = requests(rng, 24)
    page_words, tail_words, wanted, wanted_back, wanted_ops = [], [], [], [], []
    for unit in units:
        flash = unit["source"] in (FLASH, READBACK)
        words = [rng.getrandbits(64) for _ in range(unit["tokens"] * unit["beats"])]
        errors = [int(flash and rng.random() < 0.1) for _ in words]
        if flash:
            items = [{"data": w, "error": error} for w, error in zip(words, errors)]
            page_words.append(items)
            wanted_ops.append(
                {
                    "op": NandOp.READ.value,
                    "die": unit["die"],
                    "row": unit["row"],
                    "column": 4 * unit["skip"],
                    "words": len(words),
                    "tag": 0,
                }
            )
        elif unit["source"] == TAIL:
            tail_words += words
        if unit["source"] == READBACK:
            wanted_back += items
        else:
            wanted += beats(unit, words, errors)
    bench.source(dut.i, units)
    answers = bench.source(dut.i_words)

    def sensed(_):  # words come only after their operation went out
        answers.items.extend(page_words.pop(0))

    ops = bench.sink(dut.o_ops, then=sensed)
    bench.source(dut.i_tail, tail_words)
    out = bench.sink(dut.o)
    back = bench.sink(dut.o_readback)
    bench.run(
        lambda: len(out.items) >= len(wanted) and len(back.items) >= len(wanted_back), idle=40
    )
    assert [{name: got[name] for name in beat} for got, beat in zip(out.items, wanted)] == wanted
    assert len(out.items) == len(wanted)
    assert back.items == wanted_back
    assert ops.items == wanted_ops


def test_a_beat_a_clock_across_pages():
    dut = PageSource(GEOMETRY, depth=8)
    bench = Bench(dut)
    unit = {"source": FLASH, "tokens": 4, "beats": 4, "last": 0}
    bench.source(dut.i, [unit] * 6)
    bench.sink(dut.o_ops)
    bench.source(dut.i_words, [{"data": n} for n in range(6 * PAGE_WORDS)])
    # Source drives a new word in the clock after the last was taken, so one a clock is possible.
    out = bench.sink(dut.o)
    bench.run(lambda: len(out.items) == 6 * PAGE_WORDS)
    assert out.clocks[-1] - out.clocks[0] == 6 * PAGE_WORDS - 1


def test_quiet_while_the_die_senses():
    dut = PageSource(GEOMETRY, depth=8)
    bench = Bench(dut, quiet=True)
    bench.source(dut.i, [{"source": FLASH, "tokens": 4, "beats": 4}] * 3)
    ops = bench.sink(dut.o_ops)
    bench.sink(dut.o)
    bench.run(lambda: bench.clock == 150)
    assert len(ops.items) == 3 and bench.still > 60


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_tails_reach_their_channel(channels, stall, backpressure):
    rng = random.Random(channels)
    dut = TailReader(channels)
    bench = Bench(dut, quiet=True, stall=stall, backpressure=backpressure)
    memory = bench.memory(dut.read, 1 << 14, latency=7)
    memory.put(0, rng.randbytes(1 << 14))
    items, wanted = [], [[] for _ in range(channels)]
    for _ in range(10):
        channel = rng.randrange(channels)
        address, words = 8 * rng.randrange(1900), rng.randint(1, 60)
        items.append({"address": address, "words": words, "channel": channel})
        wanted[channel] += memory.words(address, words)
    bench.source(dut.i, items)
    sinks = [bench.sink(port) for port in dut.o]
    pulses = bench.watch(dut.word)
    bench.run(lambda: all(len(s.items) == len(w) for s, w in zip(sinks, wanted)), idle=40)
    assert [sink.items for sink in sinks] == wanted
    assert sum(pulse for (pulse,) in pulses) == sum(map(len, wanted))


def test_a_waiting_channel_leaves_the_memory_to_others():
    dut = TailReader(2)
    bench = Bench(dut, quiet=True)
    memory = bench.memory(dut.read, 1 << 14)
    bench.source(dut.i, [{"address": 0, "words": 300, "channel": 0}])
    bench.sink(dut.o[0], gate=lambda: bench.clock > 700)
    bench.sink(dut.o[1])
    bench.run(lambda: bench.clock == 600)
    assert memory.blocked == 0 and bench.still > 200
