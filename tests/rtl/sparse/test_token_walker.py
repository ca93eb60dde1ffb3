"""The token walker: K and V of the tokens kept, against where the tokens and their verdicts lie."""

import random

import pytest

from hls_attention.beats import Kind
from rtl.pages.codeword_masks import CodewordMasks
from rtl.pages.codeword_runs import CodewordRuns
from rtl.pages.requests import Source
from rtl.sparse.token_walker import TokenWalker
from tests.rtl.sparse.heads import BOUNDED_DRIVES, DRIVES, Dram, Grant, Head, drive, shown
from tests.rtl.streams_bench import CROSS, Bench, _Inputs

SIZE = 1 << 15
ROWS = 4096
FLASH, TAIL, NULL = Source.FLASH.value, Source.TAIL.value, Source.NULL.value
K, V = Kind.K.value, Kind.V.value


def quads_of(head, kept):
    """Verdicts as the channels have them: those of their tokens in the order they are dealt."""
    channels = head.config.channels
    lanes = [[] for _ in range(channels)]
    for unit in range(head.units):
        size = head.unit_tokens
        lanes[(head.channel + unit) % channels] += kept[unit * size : (unit + 1) * size]
    for group in range(head.in_units, head.groups + 1):
        size = head.group_tokens
        lanes[(head.channel + group) % channels] += kept[group * size : (group + 1) * size]
    return [
        [sum(bit << n for n, bit in enumerate(lane[at : at + 4])) for at in range(0, len(lane), 4)]
        for lane in lanes
    ]


class Verdicts(_Inputs):
    """The verdicts of one head after the other: ready after a while, gone after a release."""

    def __init__(self, bench, port, heads, rng, dealt=None):
        super().__init__()
        self.port, self.heads, self.rng, self.dealt = port, list(heads), rng, dealt
        self.signals = [port.lane, port.quad, port.release]
        self.keep, self.wait, self.ready = 0, 20, False
        self.released = 0
        bench.drivers.append(self)

    def drive(self, ctx, frozen):
        if not frozen:
            self.wait = max(0, self.wait - 1)
        if not self.wait and self.heads and not self.ready:
            self.ready = True
            self._put(ctx, self.port.poisoned, self.heads[0][1])
        self._put(ctx, self.port.ready, self.ready)
        self._put(ctx, self.port.keep, self.keep)

    def observe(self, clock, lane, quad, release):
        self.keep = 0 if self.ready else 15
        if self.ready and lane < len(self.heads[0][0]) and quad < len(self.heads[0][0][lane]):
            self.keep = self.heads[0][0][lane][quad]
        if release:
            assert self.ready
            self.heads.pop(0)
            self.ready, self.wait = False, self.rng.randrange(1, 30)
            self.released += 1
            if self.dealt:
                self.dealt(self.released)
        return bool(release)


def mask_of(bits):
    return sum(bit << n for n, bit in enumerate(bits))


def runs_of(bits, codeword):
    """First token and end of each stretch of codewords with a token kept, 32 tokens at most."""
    runs = []
    for skip in range(0, len(bits), codeword):
        end = min(skip + codeword, len(bits))
        if not any(bits[skip:end]):
            continue
        if runs and runs[-1][1] == skip and skip + codeword - runs[-1][0] <= 32:
            runs[-1][1] = end
        else:
            runs.append([skip, end])
    return runs


def definition(head, kept, walk, poisoned, bad=()):
    """What each flash channel must get for a pass, and the words of the tail that are wanted;
    entries of the map at addresses ``bad`` cannot be read."""
    config = head.config
    channels = config.channels
    beats, size = head.head_dim // 4, head.group_tokens
    codeword = config.codeword_bytes // (2 * head.head_dim)
    dealt, tails = [[] for _ in range(channels)], []
    for kind in (K, V):
        for group in range(walk["first"], walk["last"] + 1):
            stop = walk["end_tokens"] if group == walk["last"] else size
            channel = (head.channel + group) % channels
            bits = kept[group * size : group * size + stop]
            for skip, end in runs_of(bits, codeword):
                tokens = end - skip
                request = {
                    "kind": kind,
                    "sparse": 1,
                    "mask": mask_of(bits[skip:end]),
                    "skip": skip,
                    "tokens": tokens,
                    "beats": beats,
                    "job": walk["tag"],
                    "format": walk["format"],
                    "token": (group - walk["first"]) * size + skip,
                    "last": 0,
                    "error": 0,
                }
                if group < head.groups:
                    page, name = head.pages[group], "kv"[kind]
                    request |= {
                        "source": FLASH,
                        "row": page[f"{name}_row"],
                        "die": page[f"{name}_die"],
                        "error": int(walk["map"] + 8 * group in bad),
                    }
                else:
                    request["source"] = TAIL
                    address = head.tail + config.flash.geometry.page_bytes * kind + 8 * skip * beats
                    tails.append({"address": address, "words": tokens * beats, "channel": channel})
                dealt[channel].append(request)
        error = poisoned if kind == K else 0
        for requests in dealt:
            requests.append(
                {"source": NULL, "kind": kind, "job": walk["tag"], "last": 1, "error": error}
            )
    return dealt, tails


def walks_of(head, place, cuts, tag):
    """Passes between cuts, which are numbers of groups."""
    total = head.groups * head.group_tokens + head.tail_tokens
    borders = [cut for cut in sorted(set(cuts)) if 0 < cut * head.group_tokens < total]
    for number, first in enumerate([0, *borders]):
        end = [cut * head.group_tokens for cut in borders] + [total]
        last = (end[number] - 1) // head.group_tokens
        yield {
            **place,
            "tag": (tag + number) % 16,
            "first": first,
            "last": last,
            "end_tokens": end[number] - last * head.group_tokens,
            "ends": int(number == len(borders)),
        }


def shapes(rng, config, head_dim):
    """Heads of a tail, of units, of groups, and of all of it: units, groups beyond, tail, cuts."""
    group = config.flash.geometry.page_bytes // (2 * head_dim)
    groups = config.unit_tokens // group
    some = rng.randrange(1, group)
    yield 0, 0, some, []
    yield config.channels % 5, 0, 0, [config.pass_tokens // group]
    yield 0, 2 * config.channels + 1, some, [config.channels]
    yield 3, config.channels + 2, group - 1, [rng.randrange(1, 3 * groups + 3) for _ in range(3)]


def verdicts_on(rng, tokens):
    """Kept: few, most, all or none; or a few in a row."""
    share = rng.choice([0.03, 0.03, 0.3, 0.9, 1.0, 0.0])
    kept = [int(rng.random() < share) for _ in range(tokens)]
    for n in range(start := rng.randrange(tokens), min(tokens, start + 9)):
        kept[n] = 1
    return kept


def run(rng, config, head_dim, stall, backpressure, bounds=False):
    dut = TokenWalker(config, ROWS)
    bench = Bench(dut, timeout=30000, quiet=True, stall=stall, backpressure=backpressure)
    memory = bench.memory(dut.read, SIZE, latency=6)
    memory.bad = {8 * n for n in range(SIZE // 8) if rng.random() < 0.1}
    dram = Dram(memory)
    walks, heads, tails, ends = [], [], [], []
    wanted = [[] for _ in range(config.channels)]
    for units, beyond, tail_tokens, cuts in shapes(rng, config, head_dim):
        head = Head(config, head_dim, units, beyond, tail_tokens, rng, bounds)
        kept = verdicts_on(rng, head.groups * head.group_tokens + tail_tokens)
        poisoned = rng.randrange(2)
        heads.append((quads_of(head, kept), poisoned))
        for walk in walks_of(head, head.place(dram), cuts, len(walks)):
            walks.append(walk)
            dealt, words = definition(head, kept, walk, poisoned, memory.bad)
            tails += words
            for requests, more in zip(wanted, dealt):
                requests += more
        ends.append([len(requests) for requests in wanted])
    bench.source(dut.i, walks)
    grant = Grant(bench, dut)
    sinks = [bench.sink(port, name=f"o[{n}]", then=grant.check) for n, port in enumerate(dut.o)]
    tail = bench.sink(dut.o_tail, then=grant.check)

    def dealt(heads_done):
        assert [len(sink.items) for sink in sinks] == ends[heads_done - 1], "released too early"

    verdicts = Verdicts(bench, dut.verdicts, heads, rng, dealt)
    bench.run(lambda: verdicts.released == len(ends), idle=40)
    for sink, requests in zip(sinks, wanted):
        assert shown(sink.items, requests) == requests
        assert len(sink.items) == len(requests)
    assert tail.items == tails


@pytest.mark.parametrize("page, codeword, head_dim", DRIVES)
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_tokens_kept_on_their_channels(channels, page, codeword, head_dim):
    rng = random.Random(channels * page + codeword)
    stall, backpressure = rng.choice(CROSS)
    run(rng, drive(channels, page, codeword), head_dim, stall, backpressure)


@pytest.mark.parametrize("page, codeword, head_dim", BOUNDED_DRIVES)
@pytest.mark.parametrize("channels", [1, 4])
def test_units_of_bounds(channels, page, codeword, head_dim):
    """They are smaller, so that more of them lie on each channel."""
    rng = random.Random(channels * page + head_dim)
    run(rng, drive(channels, page, codeword, bounds=True), head_dim, *rng.choice(CROSS), True)


@pytest.mark.parametrize("codeword", [512, 1024])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_nothing_is_lost_when_others_wait(codeword, stall, backpressure):
    run(random.Random(5), drive(2, 4096, codeword), 128, stall, backpressure)


@pytest.mark.parametrize("page, codeword, head_dim", DRIVES)
def test_all_tokens_without_verdicts(page, codeword, head_dim):
    """None are asked for, and none released, where a walk says that all tokens are kept."""
    rng = random.Random(page + head_dim)
    config = drive(2, page, codeword)
    dut = TokenWalker(config, ROWS)
    bench = Bench(dut, timeout=30000, quiet=True)
    dram = Dram(bench.memory(dut.read, SIZE))
    group = config.flash.geometry.page_bytes // (2 * head_dim)
    head = Head(config, head_dim, 1, 3, rng.randrange(1, group), rng)
    kept = [1] * (head.groups * head.group_tokens + head.tail_tokens)
    walks = [{**walk, "all": 1} for walk in walks_of(head, head.place(dram), [2], 0)]
    bench.source(dut.i, walks)
    grant = Grant(bench, dut)
    sinks = [bench.sink(port, then=grant.check) for port in dut.o]
    bench.sink(dut.o_tail, then=grant.check)
    verdicts = Verdicts(bench, dut.verdicts, [], rng)
    wanted = [[], []]
    for walk in walks:
        for requests, more in zip(wanted, definition(head, kept, walk, 0)[0]):
            requests += more
    bench.run(lambda: all(len(s.items) >= len(w) for s, w in zip(sinks, wanted)), idle=40)
    for sink, requests in zip(sinks, wanted):
        # of a codeword's mask only the bits of its tokens mean something
        got = [{**i, "mask": i["mask"] & (1 << i["tokens"]) - 1} for i in sink.items]
        assert shown(got, requests) == requests
    assert not verdicts.released


@pytest.mark.parametrize("page, codeword, head_dim", DRIVES)
def test_a_codeword_a_clock(page, codeword, head_dim):
    """With all tokens kept, a clock for each codeword, or for each four tokens of a larger one."""
    config = drive(2, page, codeword)
    head = Head(config, head_dim, 1, 4, 0, random.Random(3))
    dut = TokenWalker(config, ROWS)
    bench = Bench(dut)
    dram = Dram(bench.memory(dut.read, SIZE, latency=10))
    tokens = head.groups * head.group_tokens
    bench.source(dut.i, walks_of(head, head.place(dram), [], 0))
    sinks = [bench.sink(port) for port in dut.o]
    verdicts = Verdicts(bench, dut.verdicts, [(quads_of(head, [1] * tokens), 0)], random.Random(2))
    bench.run(lambda: verdicts.released)
    of_codeword = codeword // (2 * head_dim)
    taken = sorted(c for s in sinks for c, item in zip(s.clocks, s.items) if item["kind"] == K)
    runs = head.groups * -(-head.group_tokens // 32)
    assert len(taken) == runs + 2
    # each takes a clock for each of its codewords; one that is cut waits for the next codeword
    of_run = min(32, head.group_tokens) // min(4, of_codeword)
    assert taken[runs - 1] - taken[0] == of_run * (runs - 1) - (head.group_tokens > 32)


@pytest.mark.parametrize("tokens", [1, 2, 4, 8])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_runs_of_codewords(tokens, stall, backpressure):
    rng = random.Random(tokens)
    dut = CodewordRuns()
    bench = Bench(dut, stall=stall, backpressure=backpressure)
    codewords, wanted = [], []
    for _ in range(40):
        size = tokens * rng.randrange(1, 24)
        share = rng.choice([0.1, 0.5, 0.9])
        bits = [int(rng.random() < share) for _ in range(size)]
        runs = [
            {"skip": skip, "tokens": end - skip, "mask": mask_of(bits[skip:end]), "last": 0}
            for skip, end in runs_of(bits, tokens)
        ]
        kept = [
            {"skip": skip, "mask": mask_of(bits[skip : skip + tokens]), "last": 0}
            for skip in range(0, size, tokens)
            if any(bits[skip : skip + tokens])
        ]
        if not kept or rng.random() < 0.3:  # the end is told by an empty one
            kept.append({"skip": size, "mask": 0, "last": 0})
            runs = runs or [{"mask": 0, "last": 1}]
        for items in (kept, runs):
            items[-1]["last"] = 1
        codewords += kept
        wanted += runs
    bench.source(dut.i, codewords)
    out = bench.sink(dut.o)

    def script(ctx):
        ctx.set(dut.tokens, tokens)
        yield

    bench.script(script)
    bench.run(lambda: len(out.items) >= len(wanted), idle=20)
    assert shown(out.items, wanted) == wanted


@pytest.mark.parametrize("tokens", [1, 2, 4, 8])
@pytest.mark.parametrize("stall, backpressure", CROSS)
def test_codewords_of_quads(tokens, stall, backpressure):
    rng = random.Random(tokens)
    dut = CodewordMasks()
    bench = Bench(dut, stall=stall, backpressure=backpressure)
    quads, wanted = [], []
    for _ in range(30):
        count = rng.randrange(1, 6)
        keeps = [rng.choice([0, rng.getrandbits(4)]) for _ in range(count)]
        quads += [{"keep": k, "last": int(n == count - 1)} for n, k in enumerate(keeps)]
        bits = sum(k << 4 * n for n, k in enumerate(keeps))
        # the group's end is told with its last quad's last codeword, or on its own
        end = 4 * (count - 1) // tokens * tokens
        found = [
            (skip, bits >> skip & (1 << tokens) - 1)
            for skip in range(0, max(4 * count, tokens), tokens)
        ]
        found = [item for item in found if item[1]]
        if not found or found[-1][0] < end:
            found.append((None, 0))
        wanted += [(*item, int(n == len(found) - 1)) for n, item in enumerate(found)]
    bench.source(dut.i, quads)
    out = bench.sink(dut.o)

    def script(ctx):
        ctx.set(dut.tokens, tokens)
        yield

    bench.script(script)
    bench.run(lambda: len(out.items) >= len(wanted), idle=20)
    got = [(i["skip"] if i["mask"] else None, i["mask"], i["last"]) for i in out.items]
    assert got == wanted


def test_quiet_while_a_channel_is_full_and_verdicts_are_awaited():
    config = drive(2, 4096, 1024)
    head = Head(config, 64, 1, 3, 0, random.Random(3))
    dut = TokenWalker(config, ROWS)
    bench = Bench(dut, quiet=True)
    dram = Dram(bench.memory(dut.read, SIZE))
    kept = [1] * head.groups * head.group_tokens
    bench.source(dut.i, walks_of(head, head.place(dram), [], 0))
    verdicts = Verdicts(bench, dut.verdicts, [(quads_of(head, kept), 0)], random.Random(2))
    verdicts.wait = 150
    for port in dut.o:
        bench.sink(port, gate=lambda: bench.clock > 450)
    bench.run(lambda: bench.clock == 400)
    assert bench.still > 100 + 200
