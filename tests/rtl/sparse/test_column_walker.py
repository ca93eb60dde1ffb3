"""The column walker: columns of all units, K of tokens beyond them, against their places."""

import random

import pytest

from hls_attention.beats import Kind
from hls_attention.top_channels import mask_layout
from rtl.config import DriveConfig
from rtl.drive.drive import engine_config
from rtl.pages.requests import Source
from rtl.sparse.column_walker import ColumnWalker
from tests.rtl.sparse.heads import BOUNDED_DRIVES, DRIVES, Dram, Grant, Head, drive, shown
from tests.rtl.streams_bench import CROSS, Bench

SIZE = 1 << 15
FLASH, TAIL, NULL = Source.FLASH.value, Source.TAIL.value, Source.NULL.value


def walker(config):
    return ColumnWalker(config, mask_layout(engine_config(config)))


def mask(head, chosen):
    """The chosen channels as rows of four."""
    rows = head.head_dim // 4
    for row in range(rows):
        bits = sum(1 << i for i in range(4) if 4 * row + i in chosen)
        yield {"row": row, "mask": bits, "last": int(row == rows - 1)}


def definition(head, chosen, place, bad):
    """What each flash channel must get, and the words of the tail that are wanted; words of device
    DRAM at addresses ``bad`` cannot be read."""
    config = head.config
    channels = config.channels
    words = config.codeword_bytes // 8
    codewords = config.flash.geometry.page_bytes // config.codeword_bytes
    dealt, tails = [[] for _ in range(channels)], []

    def lost(page):
        return int((place["columns"] + 4 * page) // 8 * 8 in bad)

    for unit in range(head.units if head.bounds else 0):
        row, die = head.columns[unit]
        dealt[(head.channel + unit) % channels].append(
            {
                "source": FLASH,
                "kind": Kind.BOUNDS.value,
                "row": row,
                "die": die,
                "skip": 0,
                "tokens": head.unit_tokens // 4,
                "beats": head.head_dim // 8,
                "job": unit * head.unit_tokens // config.pass_tokens,
                "error": lost(unit),
            }
        )
    for unit in range(0 if head.bounds else head.units):
        for element in sorted(chosen):
            page = unit * head.unit_groups + element // codewords
            row, die = head.columns[page]
            dealt[(head.channel + unit) % channels].append(
                {
                    "source": FLASH,
                    "kind": Kind.COLUMN.value,
                    "row": row,
                    "die": die,
                    "skip": element % codewords,
                    "tokens": 1,
                    "beats": words,
                    "token": element,
                    "job": unit * config.unit_tokens // config.pass_tokens,
                    "error": lost(page),
                }
            )
    for group in range(head.in_units, head.groups + (head.tail_tokens > 0)):
        channel = (head.channel + group) % channels
        token = group * head.group_tokens
        request = {
            "source": FLASH,
            "kind": Kind.ESTIMATE.value,
            "skip": 0,
            "tokens": head.group_tokens,
            "beats": head.head_dim // 4,
            "token": token,
            "job": token // config.pass_tokens,
            "error": int(group < head.groups and place["map"] + 8 * group in bad),
        }
        if group < head.groups:
            page = head.pages[group]
            request |= {"row": page["k_row"], "die": page["k_die"]}
        else:
            request |= {"source": TAIL, "tokens": head.tail_tokens}
            count = head.tail_tokens * head.head_dim // 4
            tails.append({"address": head.tail, "words": count, "channel": channel})
        dealt[channel].append(request)
    for requests in dealt:
        for request in requests:
            request |= {"sparse": 0, "last": 0, "format": place["format"]}
        requests.append({"source": NULL, "kind": Kind.COLUMN.value, "last": 1, "error": 0})
    return dealt, tails


def shapes(rng, config, head_dim):
    """Heads without units, without groups beyond them, without a tail, and with all of it."""
    group = config.flash.geometry.page_bytes // (2 * head_dim)
    most = 3 if config.flash.geometry.page_bytes > 512 else 2
    yield 0, 0, rng.randrange(1, group)
    yield 1, 0, 0
    yield most, rng.randrange(1, 4), 0
    yield 0, 2 * config.channels + 1, rng.randrange(1, group)
    yield most + 1, config.channels, group - 1


def pick(rng, head_dim):
    """Few channels, few in a row, or all of them."""
    start = rng.randrange(head_dim - 4)
    few = rng.sample(range(head_dim), rng.randrange(1, 12))
    return set(rng.choice([few, range(start, start + 4), few, range(head_dim)]))


@pytest.mark.parametrize("page, codeword, head_dim", DRIVES)
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_columns_and_what_lies_beyond(channels, page, codeword, head_dim):
    rng = random.Random(channels * page + codeword)
    stall, backpressure = rng.choice(CROSS)
    run(rng, drive(channels, page, codeword), head_dim, stall, backpressure)


@pytest.mark.parametrize("page, codeword, head_dim", BOUNDED_DRIVES)
@pytest.mark.parametrize("channels", [1, 4])
def test_pages_of_bounds(channels, page, codeword, head_dim):
    """Whole ones, whatever the mask; walks of columns in between."""
    rng = random.Random(channels * page + head_dim)
    run(rng, drive(channels, page, codeword, bounds=True), head_dim, *rng.choice(CROSS), True)


@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_nothing_is_lost_when_others_wait(stall, backpressure):
    run(random.Random(5), drive(2, 4096, 1024), 128, stall, backpressure)


def run(rng, config, head_dim, stall, backpressure, bounds=False):
    dut = walker(config)
    bench = Bench(dut, timeout=20000, quiet=True, stall=stall, backpressure=backpressure)
    memory = bench.memory(dut.read, SIZE, latency=6)
    memory.bad = {8 * n for n in range(SIZE // 8) if rng.random() < 0.1}
    dram = Dram(memory)
    walks, masks, tails = [], [], []
    wanted = [[] for _ in range(config.channels)]
    for units, beyond, tail_tokens in shapes(rng, config, head_dim):
        head = Head(config, head_dim, units, beyond, tail_tokens, rng, bounds and units != 1)
        chosen = pick(rng, head_dim)
        place = head.place(dram)
        columns = head.place_columns(dram)
        walks.append({**place, "columns": columns, "tail_tokens": tail_tokens})
        walks[-1] |= {"bounds": 1} if head.bounds else {}
        masks += mask(head, chosen)
        dealt, words = definition(head, chosen, walks[-1], memory.bad)
        tails += words
        for requests, more in zip(wanted, dealt):
            requests += more
    bench.source(dut.i, walks)
    bench.source(dut.i_mask, masks)
    grant = Grant(bench, dut)
    sinks = [bench.sink(port, name=f"o[{n}]", then=grant.check) for n, port in enumerate(dut.o)]
    tail = bench.sink(dut.o_tail, then=grant.check)
    bench.run(lambda: all(len(s.items) >= len(w) for s, w in zip(sinks, wanted)), idle=40)
    for sink, requests in zip(sinks, wanted):
        assert shown(sink.items, requests) == requests
        assert len(sink.items) == len(requests)
    assert tail.items == tails


@pytest.mark.parametrize("spread", [1, 16])
def test_a_request_a_clock(spread):
    """Channels chosen one after the other, or one for each page."""
    config = drive(2, 16384, 1024)
    head = Head(config, 128, 3, 5, 0, random.Random(3))
    dut = walker(config)
    bench = Bench(dut)
    dram = Dram(bench.memory(dut.read, SIZE, latency=10))
    bench.source(dut.i, [{**head.place(dram), "columns": head.place_columns(dram)}])
    bench.source(dut.i_mask, mask(head, {spread * n for n in range(8)}))
    sinks = [bench.sink(port) for port in dut.o]
    requests = 3 * 8 + 5 + 2
    bench.run(lambda: sum(len(sink.items) for sink in sinks) == requests)
    clocks = sorted(clock for sink in sinks for clock in sink.clocks)
    empty = 0 if spread == 16 else 3 * 7  # pages
    assert clocks[-1] - clocks[0] == requests - 1 + empty + 1
    assert clocks[0] <= 5 + head.head_dim // 4


def test_quiet_while_a_channel_is_full():
    config = drive(2, 4096, 1024)
    dut = walker(config)
    bench = Bench(dut, quiet=True)
    head = Head(config, 64, 2, 3, 0, random.Random(3))
    dram = Dram(bench.memory(dut.read, SIZE))
    bench.source(dut.i, [{**head.place(dram), "columns": head.place_columns(dram)}])
    bench.source(dut.i_mask, mask(head, range(64)))
    for port in dut.o:
        bench.sink(port, gate=lambda: bench.clock > 350)
    bench.run(lambda: bench.clock == 300)
    assert bench.still > 100


def test_units_larger_than_passes_are_refused():
    config = DriveConfig.preset("tiny", pass_tokens=128)
    with pytest.raises(ValueError, match="at least 256"):
        walker(config)
