"""The request merge: nothing lost, order of every walker kept, tails in the order of channels."""

import random

import pytest

from flash_model.profiles import profile
from hls_attention.top_channels import mask_layout
from rtl.drive.drive import engine_config
from rtl.pages.requests import Source
from rtl.request_merge import RequestMerge
from rtl.sparse.column_walker import ColumnWalker
from rtl.sparse.token_walker import TokenWalker
from tests.rtl.sparse.heads import drive
from tests.rtl.streams_bench import CROSS, Bench

FLASH, TAIL = Source.FLASH.value, Source.TAIL.value
WALKERS = ["dense", "columns", "tokens"]


@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_every_walker_in_its_order(stall, backpressure):
    rng = random.Random(3)
    dut = RequestMerge(profile("tiny").geometry)
    bench = Bench(dut, quiet=True, stall=stall, backpressure=backpressure)
    given = {
        (name, channel): [{"row": rng.getrandbits(20) << 2 | number} for _ in range(30)]
        for number, name in enumerate(WALKERS)
        for channel in range(len(dut.o))
    }
    tails = {
        name: [{"address": rng.getrandbits(20) << 2 | number} for _ in range(30)]
        for number, name in enumerate(WALKERS)
    }
    for (name, channel), items in given.items():
        bench.source(getattr(dut, name)[channel], items)
    for name, items in tails.items():
        bench.source(getattr(dut, f"{name}_tail"), items)
    sinks = [bench.sink(port) for port in dut.o]
    tail = bench.sink(dut.o_tail)
    bench.run(lambda: all(len(sink.items) == 90 for sink in (*sinks, tail)), idle=20)
    for channel, sink in enumerate(sinks):
        for number, name in enumerate(WALKERS):
            rows = [{"row": item["row"]} for item in sink.items if item["row"] % 4 == number]
            assert rows == given[name, channel]
    for number, name in enumerate(WALKERS):
        got = [i["address"] for i in tail.items if i["address"] % 4 == number]
        assert got == [item["address"] for item in tails[name]]
    if not stall and not backpressure:
        assert sinks[0].clocks[-1] - sinks[0].clocks[0] == 89, "a request a clock"


@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_tails_come_in_the_order_of_their_pages(stall, backpressure):
    """Two walkers that ask, with other requests between: each number is of a page and its words."""
    rng = random.Random(4)
    dut = RequestMerge(profile("tiny").geometry)
    channels = len(dut.o)
    bench = Bench(dut, timeout=8000, quiet=True, stall=stall, backpressure=backpressure)
    asked = bench.watch(dut.columns_ask, dut.tokens_ask, dut.columns_grant, dut.tokens_grant)
    sources = {
        name: [bench.source(port) for port in getattr(dut, name)] for name in ("columns", "tokens")
    }
    words = {name: bench.source(getattr(dut, f"{name}_tail")) for name in ("columns", "tokens")}

    def walker(name, first):
        def script(ctx):
            ask, grant = getattr(dut, f"{name}_ask"), getattr(dut, f"{name}_grant")
            for number in range(first, first + 20):
                channel = rng.randrange(channels)
                page = sources[name][channel]
                if rng.random() < 0.5:
                    page.items.append({"source": FLASH, "row": number})
                ctx.set(ask, 1)
                while not ctx.get(grant):
                    yield
                page.items.append({"source": TAIL, "row": number})
                words[name].items.append({"words": number, "channel": channel})
                while page.items or words[name].items:
                    yield
                ctx.set(ask, 0)
                for _ in range(rng.randrange(1, 4)):
                    yield

        return script

    bench.script(walker("columns", 100))
    bench.script(walker("tokens", 200))
    sinks = [bench.sink(port) for port in dut.o]
    tail = bench.sink(dut.o_tail)
    bench.run(lambda: len(tail.items) == 40, idle=20)
    for channel, sink in enumerate(sinks):
        pages = [item["row"] for item in sink.items if item["source"] == TAIL]
        assert pages == [item["words"] for item in tail.items if item["channel"] == channel]
    assert all(not (columns and tokens) for *_, columns, tokens in asked)
    assert {row[2:] for row in asked} == {(0, 0), (1, 0), (0, 1)}


def test_the_walkers_fit():
    """Ports of walkers and of the merge have one shape."""
    config = drive(2, 512, 512)
    merge = RequestMerge(config.flash.geometry)
    columns = ColumnWalker(config, mask_layout(engine_config(config)))
    tokens = TokenWalker(config, 1024)
    for name, walker in (("columns", columns), ("tokens", tokens)):
        for port, inlet in zip(walker.o, getattr(merge, name), strict=True):
            assert port.payload.shape() == inlet.payload.shape()
        assert walker.o_tail.payload.shape() == getattr(merge, f"{name}_tail").payload.shape()
