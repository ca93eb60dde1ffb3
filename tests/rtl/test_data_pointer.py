"""PRP pairs and lists: pieces against the closed form, bad pointers refused."""

import random

import pytest

from rtl.data_pointer import DataPointer
from tests.rtl.streams_bench import CROSS, Bench

PAGE = 4096
HOST = 64 * PAGE
WINDOW = (4 * PAGE, 60 * PAGE)


def start(bench, dut, prp1, prp2, length, window=WINDOW, times=1):
    """Sets the inputs, loads, waits for ``loaded``."""

    def script(ctx):
        ctx.set(dut.prp1, prp1)
        ctx.set(dut.prp2, prp2)
        ctx.set(dut.bytes, length)
        ctx.set(dut.window_base, window[0])
        ctx.set(dut.window_end, window[1])
        for _ in range(times):
            yield
            ctx.set(dut.start, 1)
            yield
            ctx.set(dut.start, 0)
            yield
            while not ctx.get(dut.loaded):
                yield
        bench.verdict = (ctx.get(dut.misaligned), ctx.get(dut.outside), ctx.get(dut.unreadable))

    bench.script(script)


def pointer(memory, pages, list_page=5 * PAGE):
    """PRP1 and PRP2 for these pages, the list written to host memory if one is needed."""
    if len(pages) <= 2:
        return (*pages, 0)[:2]
    for n, page in enumerate(pages[1:]):
        memory.put(list_page + 8 * n, page.to_bytes(8, "little"))
    return pages[0], list_page


def pieces(pages, offset, words):
    """What the range must become, from the definition: word by word, joined inside pages."""
    out = []
    for byte in range(offset, offset + 8 * words, 8):
        address = pages[byte // PAGE] + byte % PAGE
        if out and byte % PAGE:
            out[-1]["words"] += 1
        else:
            out.append({"address": address, "words": 1})
    return out


@pytest.mark.parametrize("count", [1, 2, 3, 20])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_ranges_become_pieces_inside_pages(count, stall, backpressure):
    rng = random.Random(count)
    dut = DataPointer()
    bench = Bench(dut, quiet=True, stall=stall, backpressure=backpressure)
    memory = bench.memory(dut.port, HOST, latency=6)
    pages = [PAGE * n for n in rng.sample(range(6, 60), count)]
    length = count * PAGE - 8 * rng.randrange(500)
    start(bench, dut, *pointer(memory, pages), length)
    ranges = [(0, length // 8)]
    for _ in range(3):
        offset = 8 * rng.randrange(length // 8)
        ranges.append((offset, rng.randint(1, (length - offset) // 8)))
    source = bench.source(dut.i)
    sink = bench.sink(dut.o)
    wanted = [piece for offset, words in ranges for piece in pieces(pages, offset, words)]

    def ask(ctx):
        while not ctx.get(dut.loaded):
            yield
        source.items += [{"offset": offset, "words": words} for offset, words in ranges]

    bench.script(ask)
    bench.run(lambda: len(sink.items) == len(wanted), idle=30)
    assert bench.verdict == (0, 0, 0)
    assert sink.items == wanted


@pytest.mark.parametrize(
    "what, verdict",
    [
        ("fine", (0, 0)),
        ("prp1 misaligned", (1, 0)),
        ("prp2 misaligned", (1, 0)),
        ("prp1 below", (0, 1)),
        ("prp2 above", (0, 1)),
        ("prp2 beyond 48 bits", (0, 1)),
        ("list misaligned", (1, 0)),
        ("list outside", (0, 1)),
        ("entry misaligned", (1, 0)),
        ("entry outside", (0, 1)),
        ("last page of the window", (0, 0)),
        ("list cannot be read", (0, 0)),
    ],
)
def test_bad_pointers_are_refused_whole(what, verdict):
    dut = DataPointer()
    bench = Bench(dut, quiet=True)
    memory = bench.memory(dut.port, HOST, bad={5 * PAGE + 8} if "cannot" in what else ())
    pages = [10 * PAGE, 30 * PAGE, 20 * PAGE, 40 * PAGE]
    if "list" not in what and "entry" not in what:
        pages = pages[:2]
    change = {
        "prp1 misaligned": (0, 10 * PAGE + 8),
        "prp2 misaligned": (1, 30 * PAGE + 2048),
        "prp1 below": (0, 3 * PAGE),
        "prp2 above": (1, 60 * PAGE),
        "prp2 beyond 48 bits": (1, 30 * PAGE + (1 << 48)),
        "entry misaligned": (3, 40 * PAGE + 4),
        "entry outside": (2, 63 * PAGE),
        "last page of the window": (1, 59 * PAGE),
    }
    if what in change:
        place, page = change[what]
        pages[place] = page
    prp1, prp2 = pointer(memory, pages)
    prp2 = {"list misaligned": prp2 + 8, "list outside": 2 * PAGE}.get(what, prp2)
    start(bench, dut, prp1, prp2, len(pages) * PAGE)
    bench.run()
    assert bench.verdict == (*verdict, "cannot" in what)
    if what.startswith("list") and "cannot" not in what:
        assert not memory.reads, "nothing may be read through a list pointer that is refused"


def test_a_second_load_forgets_the_first():
    dut = DataPointer()
    bench = Bench(dut)
    memory = bench.memory(dut.port, HOST)
    verdicts = []

    def script(ctx):
        ctx.set(dut.window_base, WINDOW[0])
        ctx.set(dut.window_end, WINDOW[1])
        for pages in ([0, 8 * PAGE + 8], [9 * PAGE], [7 * PAGE + 16]):
            prp1, prp2 = pointer(memory, pages)
            ctx.set(dut.prp1, prp1)
            ctx.set(dut.prp2, prp2)
            ctx.set(dut.bytes, len(pages) * PAGE)
            ctx.set(dut.start, 1)
            yield
            ctx.set(dut.start, 0)
            while not ctx.get(dut.loaded):
                yield
            verdicts.append((ctx.get(dut.misaligned), ctx.get(dut.outside)))

    bench.script(script)
    bench.run()
    assert verdicts == [(1, 1), (0, 0), (1, 0)]
