"""Page source and tail reader: requests in, tagged beats out, words from where they belong."""

import dataclasses
import random

import pytest

from flash_model.profiles import profile
from hls_attention.beats import Kind
from rtl.nand.operations import NandOp
from rtl.pages.requests import Source
from rtl.pages.source import PageSource
from rtl.tail_reader import TailReader
from tests.rtl.streams_bench import CROSS, Bench

PAGE_WORDS = 16
GEOMETRY = dataclasses.replace(profile("tiny").geometry, page_bytes=8 * PAGE_WORDS)
FLASH, TAIL = Source.FLASH.value, Source.TAIL.value
NULL, READBACK = Source.NULL.value, Source.READBACK.value


def requests(rng, count):
    """Random units: pages of 4 tokens of 4 beats, parts of them, tails, nulls, pages read back, and
    pages of 8 tokens of 2 beats of which only some are wanted."""
    items = []
    for _ in range(count):
        source = rng.choice([FLASH, FLASH, TAIL, NULL, READBACK])
        sparse = int(source in (FLASH, TAIL) and rng.random() < 0.4)
        page = 8 if sparse else 4
        skip = rng.choice([0, 0, rng.randrange(page)]) if source in (FLASH, TAIL) else 0
        tokens = rng.choice([page - skip, rng.randint(1, page - skip)])
        items.append(
            {
                "source": source,
                "die": rng.randrange(2),
                "row": rng.getrandbits(24),
                "kind": rng.randrange(2) if sparse else rng.randrange(4),
                "format": 0,
                "job": rng.randrange(16),
                "token": 4 * rng.randrange(1000),
                "skip": skip,
                "tokens": tokens,
                "beats": PAGE_WORDS // page,
                "sparse": sparse,
                "mask": rng.getrandbits(8),
                "error": int(rng.random() < {NULL: 0.5, TAIL: 0}.get(source, 0.15)),
                "last": 1 if source == NULL else 0 if sparse else rng.randrange(2),
            }
        )
    return items


def beats(unit, words, errors, missed):
    """The definition: a beat for each word wanted, tags from its place in the unit.

    ``missed`` is a list of the errors of words that were not wanted: the next beat of a pass bears
    them, one of an estimate does not.
    """

    def borne(error):
        if unit["kind"] < Kind.COLUMN.value:
            error |= int(any(missed))
            missed.clear()
        return error

    if unit["source"] == NULL:
        tags = {"kind": unit["kind"], "job": unit["job"], "error": borne(unit["error"])}
        yield {**tags, "lanes": 0, "last_of_pass": 1}
        return
    for token in range(unit["tokens"]):
        for beat in range(unit["beats"]):
            word, error = words.pop(0), errors.pop(0)
            if unit["sparse"] and not unit["mask"] >> token & 1:
                missed.append(error)
                continue
            error = borne(error)
            page_end = token == unit["tokens"] - 1 and beat == unit["beats"] - 1
            yield {
                "data": word,
                "lanes": 15,
                "kind": unit["kind"],
                "format": 0,
                "job": unit["job"],
                "token": unit["token"] + token,
                "first_of_unit": int(beat == 0),
                "last_of_unit": int(beat == unit["beats"] - 1),
                "last_of_page": int(page_end),
                "last_of_pass": int(page_end and unit["last"]),
                "error": error,
            }


@pytest.mark.parametrize("depth", [2, 8])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_beats_and_their_tags(depth, stall, backpressure):
    rng = random.Random(depth)
    dut = PageSource(GEOMETRY, depth=depth)
    bench = Bench(dut, timeout=6000, quiet=True, stall=stall, backpressure=backpressure)
    units = requests(rng, 32)
    page_words, tail_words, wanted, wanted_back, wanted_ops, missed = [], [], [], [], [], []
    for unit in units:
        flash = unit["source"] in (FLASH, READBACK)
        words = [rng.getrandbits(64) for _ in range(unit["tokens"] * unit["beats"])]
        errors = [int(rng.random() < 0.1) for _ in words]
        if flash and unit["error"]:  # it is not known where they are
            words, errors = [0] * len(words), [1] * len(words)
            items = [{"data": 0, "error": 1} for _ in words]
        elif flash:
            items = [{"data": w, "error": error} for w, error in zip(words, errors)]
            page_words.append(items)
            wanted_ops.append(
                {
                    "op": NandOp.READ.value,
                    "die": unit["die"],
                    "row": unit["row"],
                    "column": unit["beats"] * unit["skip"],
                    "words": len(words),
                    "tag": 0,
                }
            )
        elif unit["source"] == TAIL:
            tail_words += [{"data": w, "error": error} for w, error in zip(words, errors)]
        if unit["source"] == READBACK:
            wanted_back += items
        else:
            wanted += beats(unit, words, errors, missed)
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


def test_words_of_tokens_not_wanted_take_a_clock_each():
    dut = PageSource(GEOMETRY, depth=8)
    bench = Bench(dut)
    unit = {"source": FLASH, "tokens": 8, "beats": 2, "sparse": 1, "mask": 0b1000_0001}
    bench.source(dut.i, [unit] * 3)
    bench.sink(dut.o_ops)
    bench.source(dut.i_words, [{"data": n} for n in range(3 * PAGE_WORDS)])
    out = bench.sink(dut.o)
    bench.run(lambda: len(out.items) == 12)
    assert [beat["data"] % PAGE_WORDS for beat in out.items] == [0, 1, 14, 15] * 3
    assert out.clocks[-1] - out.clocks[0] == 3 * PAGE_WORDS - 1


def test_columns_are_codewords():
    dut = PageSource(dataclasses.replace(GEOMETRY, page_bytes=16384), depth=8)
    bench = Bench(dut, quiet=True)
    units = [{"source": FLASH, "kind": Kind.COLUMN.value, "tokens": 1, "beats": 128} for _ in "123"]
    places = [(0, 112), (15, 127), (3, 255)]
    for unit, (skip, channel) in zip(units, places):
        unit |= {"skip": skip, "token": channel, "job": 3}
    bench.source(dut.i, units)
    ops = bench.sink(dut.o_ops)
    bench.source(dut.i_words, [{"data": n} for n in range(3 * 128)])
    out = bench.sink(dut.o)
    bench.run(lambda: len(out.items) == 3 * 128, idle=20)
    assert [(op["column"], op["words"]) for op in ops.items] == [
        (128 * skip, 128) for skip, _ in places
    ]
    for n, beat in enumerate(out.items):
        word = n % 128
        assert (beat["data"], beat["token"], beat["job"]) == (n, places[n // 128][1], 3)
        assert (beat["first_of_unit"], beat["last_of_unit"]) == (word == 0, word == 127)
        assert beat["kind"] == Kind.COLUMN.value and not beat["last_of_pass"]


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
    memory.bad = {8 * rng.randrange(1 << 11) for _ in range(100)}
    items, wanted = [], [[] for _ in range(channels)]
    for _ in range(10):
        channel = rng.randrange(channels)
        address, words = 8 * rng.randrange(1900), rng.randint(1, 60)
        items.append({"address": address, "words": words, "channel": channel})
        wanted[channel] += [
            {"data": memory.word(at), "error": int(at in memory.bad)}
            for at in range(address, address + 8 * words, 8)
        ]
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
