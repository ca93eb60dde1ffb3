"""Sequences, values and an allocator for the append path, and a model of what it leaves behind."""

import dataclasses

import numpy as np

from flash_model.profiles import profile
from rtl.append.path import AppendPath
from rtl.tables import (
    program_slots,
)
from tests.rtl.streams_bench import Bench

HEADS, MAP, PASSES, TAIL, BUFFER = 0x1000, 0x2000, 0x3000, 0x8000, 0xC000
KV_HEADS, LAYERS, GROUPS = 3, 2, 8
PASS_TOKENS = 8
PASS_ENTRIES = 5
FIRST_CHANNEL, FIRST_DIE = 3, 1
STREAMS, STREAM = 8, 5


def geometry(channels=2):
    return dataclasses.replace(profile("tiny").geometry, channels=channels, page_bytes=128)


SEGMENT = 0xABCDE


def sequence(head_dim, page_bytes, format=0):
    group_tokens = page_bytes // (2 * head_dim)
    return dict(
        state=1,
        format=format,
        head_dim=head_dim,
        kv_heads=KV_HEADS,
        layers=LAYERS,
        max_tokens=GROUPS * group_tokens,
        groups=GROUPS,
        heads=HEADS,
        map=MAP,
        tail=TAIL,
        group_tokens=group_tokens,
        pass_groups=PASS_TOKENS // group_tokens,
        pass_rest=PASS_TOKENS % group_tokens,
        pass_entries=PASS_ENTRIES,
        passes=PASSES,
        first_channel=FIRST_CHANNEL,
        first_die=FIRST_DIE,
        stream=STREAM,
    )


FRACTION_BITS, TOP_FIELD = {0: 10, 1: 7}, {0: 31, 1: 255}


def values(rng, tokens, head_dim, format=0, bad=False):
    """Bit patterns of K or V of some tokens, over a random range of exponents."""
    fraction, most = FRACTION_BITS[format], TOP_FIELD[format]
    top = rng.integers(0, most)
    bits = (
        rng.integers(0, 2, (tokens, head_dim)) << 15
        | rng.integers(max(0, top - 6), top + 1, (tokens, head_dim)) << fraction
        | rng.integers(0, 1 << fraction, (tokens, head_dim))
    ).astype(np.uint16)
    if bad:
        special = rng.choice([0, 1 << 15, 1]) | most << fraction
        bits[rng.integers(tokens), rng.integers(head_dim)] = special
    return bits


def numbers(bits, format):
    """The values of bit patterns, as float64."""
    if format:
        return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return bits.view(np.float16).astype(np.float64)


def block_exponent(bits, format):
    """From the values themselves: floor(log2) of the largest finite one, as an exponent field."""
    x = np.abs(numbers(bits, format))
    largest = np.max(x[np.isfinite(x)], initial=0)
    bias = 127 if format else 15
    return max(int(np.floor(np.log2(largest))) + bias, 1) - 1 if largest else 0


class Model:
    """What device DRAM, allocator and flash must look like; one head at a time."""

    def __init__(self, seq, geo):
        self.seq, self.geo = seq, geo
        self.heads = {}  # index -> dict: tokens, flash_groups, kinds: uint16 [tokens][d] stored
        self.programs = []  # (channel, die, row, bytes)
        self.dealt = [0] * geo.channels
        self.map = {}

    def page(self, channel, index, kind, group):
        """Pages as this test's allocator deals them: on the die wanted.

        The passes of all layers in the order of reading begin a die apart, and another one after
        each round of the dies; the pages of a pass lie apart as their numbers' bits, reversed.
        """
        n = self.dealt[channel]
        self.dealt[channel] += 1
        layer, head = divmod(index, self.seq["kv_heads"])
        number = group // self.geo.channels
        last = self.seq["kv_heads"] - 1
        order = [(0, 0)] + [(h + 1 - k, k) for h in range(last) for k in (0, 1)] + [(last, 1)]
        before = len(order) * layer
        bits = (self.geo.dies - 1).bit_length()
        apart = int(f"{number % (1 << bits):0{bits}b}"[::-1], 2) if bits else 0
        die = before + before // (1 << bits) + order.index((head, kind)) + apart + FIRST_DIE
        return die % self.geo.dies, 1000 * (channel + 1) + n

    def head(self, index):
        empty = np.zeros((0, self.seq["head_dim"]), np.uint16)
        return self.heads.setdefault(index, {"groups": 0, "kv": [empty, empty]})

    def program(self, index, kind, group):
        tokens = self.seq["group_tokens"]
        channel = (group + 3 * index + FIRST_CHANNEL) % self.geo.channels
        die, row = self.page(channel, index, kind, group)
        page = self.head(index)["kv"][kind][group * tokens : (group + 1) * tokens]
        self.programs.append((channel, die, row, page.tobytes()))
        self.map[index, group, kind] = (row, die)

    def append(self, index, k, v, defer):
        head = self.head(index)
        size = self.seq["group_tokens"]
        start = head["groups"]
        head["kv"] = [np.concatenate([old, new]) for old, new in zip(head["kv"], (k, v))]
        total = len(head["kv"][0])
        groups = total // size
        due = bool(len(k) and defer and total % size == 0)  # the last group stays in the tail
        for kind in (0, 1):
            for group in range(start, groups - due):
                self.program(index, kind, group)
        head["groups"] = groups - due
        return due

    def flush(self, index):
        head = self.head(index)
        for kind in (0, 1):
            self.program(index, kind, head["groups"])
        head["groups"] += 1

    def entry(self, index):
        head = self.head(index)
        total = len(head["kv"][0])
        rest = total // PASS_TOKENS * PASS_TOKENS
        return dict(
            tokens=total,
            flash_groups=head["groups"],
            tail_tokens=total - head["groups"] * self.seq["group_tokens"],
            **self.facts(index, slice(rest, total)),
        )

    def facts(self, index, tokens):
        """Block exponents and marks of some tokens of a head."""
        facts = {}
        for name, x in zip("kv", self.head(index)["kv"]):
            facts[f"{name}_bad"] = not np.isfinite(numbers(x[tokens], self.seq["format"])).all()
            facts[f"{name}_exp"] = block_exponent(x[tokens], self.seq["format"])
        return facts

    def full_passes(self, index):
        """The pass entries of a head."""
        total = len(self.head(index)["kv"][0])
        return [
            self.facts(index, slice(at, at + PASS_TOKENS))
            for at in range(0, total // PASS_TOKENS * PASS_TOKENS, PASS_TOKENS)
        ]


def build(seq, geo, **changes):
    dut = AppendPath(geo, PASS_TOKENS, STREAMS)
    bench = Bench(dut, timeout=20000, **changes)
    read = bench.memory(dut.read, 1 << 16, latency=4)
    write = bench.memory(dut.write, 1 << 16, latency=4)
    read.bytes = write.bytes  # one DRAM
    return dut, bench, write


def allocator(bench, dut, geo, available=lambda: True):
    """Answers each wish with the channel's next row on the die wanted; slots come in turn."""
    bench.source(dut.slot, [n % program_slots(geo) for n in range(200)])
    dealt = [0] * geo.channels

    class Driver:
        signals = [dut.o_wish.valid, dut.o_wish.ready, dut.page.valid, dut.page.ready]
        wish = None

        def drive(self, ctx, frozen):
            if ctx.get(dut.o_wish.valid):
                wish = ctx.get(dut.o_wish.payload)
                assert wish.stream == STREAM
                self.offered = (wish.channel, wish.die)
            ctx.set(dut.o_wish.ready, self.wish is None)
            if self.wish:
                channel, die = self.wish
                row = 1000 * (channel + 1) + dealt[channel]
                ctx.set(dut.page.payload, {"die": die, "row": row})
            ctx.set(dut.page.valid, bool(self.wish) and available())

        def observe(self, clock, wish_valid, wish_ready, valid, ready):
            if wish_valid and wish_ready:
                self.wish = self.offered
            elif valid and ready:
                dealt[self.wish[0]] += 1
                self.wish = None
            return bool(wish_valid and wish_ready or valid and ready)

    bench.drivers.append(Driver())


def same(entry, wanted, index):
    got = {name: entry[name] for name in wanted}
    for kind in "kv":
        if wanted[f"{kind}_bad"]:  # the exponent means nothing then
            got[f"{kind}_exp"] = wanted[f"{kind}_exp"]
    assert got == {name: int(value) for name, value in wanted.items()}, f"head {index}"
