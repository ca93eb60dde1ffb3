"""Heads that are attended sparsely, for tests of the engine: what goes in, what must come out."""

import random

import ml_dtypes
import numpy as np
from amaranth.hdl import Value
from amaranth.sim import Simulator

from hls_attention import bounds_code, sparse_twin, twin
from hls_attention.beats import Kind, beat_layout, job_layout
from hls_attention.config import EngineConfig
from hls_attention.engine import Engine
from hls_attention.selector import selection_layout
from tests.hls_attention.engine_bench import element_format, pack, words

__all__ = ["BF16", "GROUP", "Head", "simulate", "small"]

TIMEOUT = 40000
GROUP = 4
BF16 = ml_dtypes.bfloat16


class Head:
    """A head that is attended sparsely: what goes in, and what must come out.

    From ``r`` channels, or from bounds of units of ``bounds`` tokens, so many of them as ``units``
    says. With ``nan`` K has one; of ``error`` the beat of the first channel's estimate cannot be
    read: then any tokens are kept.
    """

    def __init__(
        self,
        rng,
        config,
        *,
        tokens,
        heads,
        kept,
        r=None,
        bounds=0,
        units=None,
        dtype=np.float16,
        head_dim=64,
        **how,
    ):
        self.config, self.tokens, self.r, self.kept = config, tokens, r or head_dim, kept
        self.bounds = bounds
        self.q = (2 * rng.standard_normal((heads, head_dim))).astype(dtype)
        self.k = (rng.standard_normal((tokens, head_dim)) * rng.uniform(0.1, 2, head_dim)).astype(
            dtype
        )
        self.v = rng.standard_normal((tokens, head_dim)).astype(dtype)
        if how.pop("ties", False):
            self.k[:] = self.k[0]
        self.nan, self.error = how.pop("nan", False), how.pop("error", None)
        if self.nan:
            self.k[tokens // 2, 5] = np.nan
        self.channel = int(rng.integers(config.channels))
        self.unit, self.size = bounds or config.unit_tokens, config.pass_tokens
        self.units = units
        if units is None:
            self.units = int(rng.integers(min(1, tokens // self.unit), tokens // self.unit + 1))
        self.how = {"sinks": 2, "window": 3} | how
        self.scale = head_dim**-0.5
        estimated = {"bounded": self.units * self.unit} if bounds else {"channels": r}
        how = {**estimated, "kept": kept, **self.how, "pass_tokens": self.size}
        self.result = sparse_twin.attend(self.q, self.k, self.v, self.scale, **how)
        self.known = not self.nan and self.error is None
        if self.known:
            self.choice = sparse_twin.choose(self.q, self.k, self.scale, **how)
        else:
            any_keep, all_channels = np.arange(tokens) < kept, np.ones(head_dim, bool)
            self.choice = sparse_twin.Choice(all_channels, None, None, any_keep)

    @property
    def cuts(self):
        return twin.pass_cuts(self.tokens, self.size)

    def lane_tokens(self):
        """Tokens of each channel in the order of their scores."""
        lanes = [[] for _ in range(self.config.channels)]
        in_units = self.units * self.unit
        for token in range(self.tokens):
            number = token // self.unit if token < in_units else token // GROUP
            lanes[(self.channel + number) % self.config.channels].append(token)
        return lanes

    def selection(self):
        mant, exp = twin.encode_scale(self.scale)
        exps = [twin.block_exponent(self.k[cut]) + bool(self.bounds) for cut in self.cuts]
        channels = self.config.channels
        fields = {
            "heads": len(self.q),
            "beats": self.q.shape[1] // 4,
            "format": element_format(self.k).value,
            "q_format": element_format(self.q).value,
            "channels": self.r,
            "kept": self.kept,
            "tokens": self.tokens,
            "group_tokens": GROUP,
            "first_channel": (self.channel + self.units * self.unit // GROUP) % channels,
            "in_units": self.units * self.unit,
            "unit_channel": self.channel,
            "scale_mant": mant,
            "scale_exp": exp,
            **self.how,
        }
        if self.config.bounds:
            fields |= {"bounds": bool(self.bounds), "unit_tokens": self.unit}
        layout = selection_layout(self.config)
        word = pack(fields, [item for item in layout if item[0] != "k_exp"])
        for number, value in enumerate(exps):
            word |= value << layout["k_exp"].offset + 8 * number
        return word

    def jobs(self, tag):
        mant, exp = twin.encode_scale(self.scale)
        for number, cut in enumerate(self.cuts):
            yield pack(
                {
                    "tag": (tag + number) % 16,
                    "first": number == 0,
                    "last": number == len(self.cuts) - 1,
                    "together": 1,
                    "heads": len(self.q),
                    "beats": self.q.shape[1] // 4,
                    "format": element_format(self.k).value,
                    "q_format": element_format(self.q).value,
                    "k_exp": twin.block_exponent(self.k[cut]),
                    "v_exp": twin.block_exponent(self.v[cut]),
                    "k_bad": not twin.finite(self.k[cut]).all(),
                    "scale_mant": mant,
                    "scale_exp": exp,
                },
                job_layout(self.config.max_heads),
            )

    def _vector(self, x, page=False, **tags):
        unit = words(x)
        for row, word in enumerate(unit):
            last = row == len(unit) - 1
            edges = {"first_of_unit": row == 0, "last_of_unit": last, "last_of_page": last and page}
            yield beat(**tags, **edges, lanes=15, format=element_format(self.k)) | word

    def estimate_beats(self, lane):
        """Columns or bounds of the channel's units, K of its other tokens, the end."""
        beats = list(self._estimate_beats(lane))
        if self.error is not None and lane == self.channel:
            beats[self.error] |= beat(error=1)
        return beats

    def _estimate_beats(self, lane):
        for unit in range(self.units):
            if (self.channel + unit) % self.config.channels != lane:
                continue
            tokens = slice(unit * self.unit, (unit + 1) * self.unit)
            if self.bounds:
                tags = {"kind": Kind.BOUNDS, "job": unit * self.unit // self.size}
                for codes in bounds_code.encode(self.k[tokens]):
                    yield from self._vector(codes, **tags)
                continue
            for channel in np.flatnonzero(self.choice.channels):
                column = np.ascontiguousarray(self.k[tokens, channel])
                tags = {"kind": Kind.COLUMN, "token": channel, "job": unit * self.unit // self.size}
                yield from self._vector(column, **tags)
        for token in self.lane_tokens()[lane]:
            if token >= self.units * self.unit:
                ends = (token + 1) % GROUP == 0 or token + 1 == self.tokens
                tags = {"kind": Kind.ESTIMATE, "job": token // self.size}
                yield from self._vector(self.k[token], **tags, page=ends)
        yield beat(kind=Kind.COLUMN, last_of_pass=1)

    def pass_beats(self, lane, tag):
        """K and V of the tokens kept, pass by pass; they lie in groups."""
        for number, cut in enumerate(self.cuts):
            for kind, x in ((Kind.K, self.k), (Kind.V, self.v)):
                tags = {"kind": kind, "job": (tag + number) % 16}
                for token in range(*cut.indices(self.tokens)):
                    owner = (self.channel + token // GROUP) % self.config.channels
                    if self.choice.keep[token] and owner == lane:
                        yield from self._vector(x[token], **tags)
                yield beat(**tags, last_of_pass=1, error=kind == Kind.K and self.error is not None)

    def verdict_quads(self):
        for lane, tokens in enumerate(self.lane_tokens()):
            keep = self.choice.keep[tokens]
            for quad in range(-(-self.config.select.lane_rows // 4)):
                bits = keep[4 * quad : 4 * quad + 4]
                yield lane, quad, sum(int(bit) << n for n, bit in enumerate(bits))


def beat(**fields):
    values = {name: getattr(value, "value", value) for name, value in fields.items()}
    return pack(values, beat_layout())


def simulate(config, heads, *, stall=0.0, seed=1):
    """Run heads one after the other; checks masks and verdicts, returns outputs."""
    dut = Engine(config)
    tags, tag = [], 0
    for head in heads:
        tags.append(tag)
        tag += len(head.cuts)
    verdicts_read, outputs = [0], []

    def send(port, items, rng, gate=None):
        async def bench(ctx):
            for number, item in items:
                while rng.random() < stall or (gate and not gate(number)):
                    await ctx.tick()
                ctx.set(Value.cast(port.payload), item)
                ctx.set(port.valid, 1)
                await ctx.tick().until(port.ready)
                ctx.set(port.valid, 0)

        return bench

    def numbered(items_of):
        return [(n, item) for n, head in enumerate(heads) for item in items_of(n, head)]

    masks_seen = [0]

    async def masks(ctx):
        for number, head in enumerate(heads):
            mask = []
            ctx.set(dut.o_mask.ready, 1)
            while len(mask) < head.q.shape[1]:
                _, _, valid, payload = await ctx.tick().sample(dut.o_mask.valid, dut.o_mask.payload)
                if valid:
                    mask += [bool(payload.mask >> lane & 1) for lane in range(4)]
            ctx.set(dut.o_mask.ready, 0)
            assert mask == list(head.choice.channels)
            masks_seen[0] = number + 1

    async def verdicts(ctx):
        port = dut.verdicts
        for number, head in enumerate(heads):
            await ctx.tick().until(port.ready)
            assert ctx.get(port.poisoned) == (head.error is not None)
            for lane, quad, keep in head.verdict_quads() if head.known else ():
                ctx.set(port.lane, lane)
                ctx.set(port.quad, quad)
                await ctx.tick()
                assert ctx.get(port.keep) == keep, (number, lane, quad)
            verdicts_read[0] = number + 1
            ctx.set(port.release, 1)
            await ctx.tick()
            ctx.set(port.release, 0)

    async def receive(ctx):
        ctx.set(dut.o.ready, 1)
        for head in heads:
            got = []
            while len(got) < head.q.size // 4:
                _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
                if valid:
                    got.append(payload)
            outputs.append([word.data for word in got])
            assert got[-1].last and got[-1].poisoned == (head.error is not None)
            assert got[-1].nonfinite == head.nan
        await ctx.tick().repeat(60)
        assert ctx.get(dut.quiet) and not ctx.get(dut.busy)

    async def watch(ctx):
        clock = 0
        async for _ in ctx.tick():
            clock += 1
            if clock > TIMEOUT:
                raise TimeoutError(f"{len(outputs)} of {len(heads)} heads after {TIMEOUT} clocks")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    rng = random.Random(seed)
    sources = [
        (dut.i_selections, numbered(lambda n, head: [head.selection()]), None),
        (dut.i_selection_q, numbered(lambda n, head: words(head.q)), None),
        (dut.i_jobs, numbered(lambda n, head: head.jobs(tags[n])), None),
        (dut.i_q, numbered(lambda n, head: words(head.q) * len(head.cuts)), None),
    ]
    for lane in range(config.channels):
        # the next estimate begins before the passes of this head, as walkers may have it
        beats = [(0, 0, b) for b in heads[0].estimate_beats(lane)]
        for n, head in enumerate(heads):
            if n + 1 < len(heads):
                beats += [(n + 1, 0, b) for b in heads[n + 1].estimate_beats(lane)]
            beats += [(n, 1, b) for b in head.pass_beats(lane, tags[n])]
        items = [((n, of_pass), b) for n, of_pass, b in beats]

        def gate(place):
            number, of_pass = place
            return (verdicts_read if of_pass else masks_seen)[0] > number

        sources.append((dut.i_beats[lane], items, gate))
    for port, items, gate in sources:
        sim.add_testbench(send(port, items, random.Random(rng.random()), gate))
    for bench in (masks, verdicts, receive):
        sim.add_testbench(bench)
    sim.add_testbench(watch, background=True)
    sim.run()
    return outputs


def small(channels, heads, **changes):
    sizes = dict(max_head_dim=64, pass_tokens=32, group_tokens=GROUP, sparse_tokens=128)
    return EngineConfig(
        channels=channels, max_heads=heads, **{**sizes, "unit_tokens": 16, **changes}
    )
