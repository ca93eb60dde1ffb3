"""A channel on the bench: controller, dies, array server, and drivers for its streams."""

import dataclasses
import random

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from flash_model.array import NandArray
from flash_model.array_port import ArrayPortSignature
from flash_model.array_server import ArrayServer
from flash_model.monitor import ProtocolMonitor
from flash_model.package import ChannelDies
from flash_model.profiles import profile
from flash_model.timing import cycles
from rtl.nand.controller import ChannelController
from rtl.nand.operations import Activity, Cause, NandOp, done_layout

NO_EVENT = 0xFFFF_FFFF
DEFAULTS = {"die": 0, "row": 0, "column": 0, "words": 1, "tag": 0}
FIELDS = ("op", *DEFAULTS)
PHY_OUTPUTS = ("die", "cycle", "strobe", "w_data")


class Channel(wiring.Component):
    """Controller and dies, joined at the PHY boundary.

    Data may come later by some clocks (``latency``), and R/B# fall as late as tWB after a
    confirmation (``late_busy``; the dies' falls at once).
    """

    def __init__(self, profile, clock_hz, depth, latency=0, late_busy=False, **options):
        self.latency = latency
        self.t_wb = cycles(profile.timing.t_wb_ns, clock_hz) if late_busy else 0
        self.controller = ChannelController(profile, clock_hz, depth, **options)
        self.package = ChannelDies(profile, clock_hz)
        dies = profile.geometry.dies
        super().__init__(
            {
                "array": Out(ArrayPortSignature(dies)),
                "skip": In(32),
                "next_event": Out(32),
                "hang": In(dies),
                "write_protect": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = self.controller
        m.submodules.package = self.package
        bus, dies = self.controller.phy, self.package.phy
        m.d.comb += [getattr(dies, name).eq(getattr(bus, name)) for name in PHY_OUTPUTS]
        answer = Cat(dies.r_valid, dies.r_data)
        for stage in range(self.latency):
            later = Signal(len(answer), name=f"answer_{stage}")
            m.d.sync += later.eq(answer)
            answer = later
        ready = dies.ready
        before = dies.ready
        for clock in range(self.t_wb):
            later = Signal(len(dies.ready), init=(1 << len(dies.ready)) - 1, name=f"ready_{clock}")
            m.d.sync += later.eq(before)
            # R/B# stays low for longer than tWB: what was high so lately has only just fallen.
            ready, before = ready | later, later
        m.d.comb += [Cat(bus.r_valid, bus.r_data).eq(answer), bus.ready.eq(ready)]
        wiring.connect(m, wiring.flipped(self.array), self.package.array)
        events = self.package.next_event, self.controller.next_event
        m.d.comb += [
            self.package.skip.eq(self.skip),
            self.package.hang.eq(self.hang),
            self.package.write_protect.eq(self.write_protect),
            self.controller.skip.eq(self.skip),
            self.next_event.eq(Mux(events[0] < events[1], *events)),
        ]
        return m


class Bench:
    """Runs a list of operations and collects what comes back.

    Parameters
    ----------
    dies, clock_hz, depth, timing, geometry
        Changes to profile ``tiny``. The low default clock keeps busy times short in clocks; the
        data rate is chosen so that a word takes 1 3/7 clocks then.
    stalls : float
        Share of clocks in which the drivers of ``ops``, ``w_data``, ``r_data`` and ``done`` rest.
    skip : bool
        Skip idle stretches.
    latency : int
        Clocks that the PHY takes to answer, besides the dies' one.
    reader_from : int
        Clock from which on ``r_data`` is taken.
    faults : callable, optional
        From the geometry to the `Faults` of the cells.
    hang : dict of int to (int, int)
        Dies whose time stands still from a clock on, until they have got so many resets (-1: for
        ever).
    write_protect : bool
        WP# is low.
    watched : dict, optional
        Changes of timing that the protocol monitor wants kept, but the controller knows nothing of.
    options
        Further options of `Channel` and of the controller.
    """

    def __init__(
        self,
        dies=2,
        clock_hz=100_000_000,
        depth=8,
        stalls=0.0,
        skip=False,
        seed=1,
        timing=None,
        geometry=None,
        latency=0,
        reader_from=0,
        faults=None,
        watched=None,
        hang=None,
        write_protect=False,
        **options,
    ):
        base = profile("tiny")
        self.profile = dataclasses.replace(
            base,
            geometry=dataclasses.replace(
                base.geometry, **{**(geometry or {}), "channels": 1, "dies": dies}
            ),
            timing=dataclasses.replace(base.timing, **{"rate_mts": 560, **(timing or {})}),
        )
        self.clock_hz = clock_hz
        flash = self.profile.geometry
        self.array = NandArray(flash, faults=faults and faults(flash))
        self.dut = Channel(self.profile, clock_hz, depth, latency, **options)
        self.stalls = stalls
        self.skip = skip
        self.reader_from = reader_from
        self.seed = seed
        self.watched = watched or {}
        self.hang = hang or {}
        self.write_protect = write_protect

    def run(self, ops, write_words=(), timeout=60_000, broken=()):
        """Run until every operation has answered; ``ops`` are dicts of operation fields.

        ``at`` is the clock from which an operation is there, 0 if not given.

        The protocol monitor finds the rules ``broken`` (a set), and nothing else.
        """
        dut = self.dut
        c = dut.controller
        self.reads, self.done = [], []  # lists of words; completions
        self.causes = []  # of each read: those of its words
        self.op_times, self.read_times, self.done_times = [], [], []  # clock of each transfer
        self.activity = {kind: 0 for kind in Activity}
        self.pulses = {"page_read": 0, "page_programmed": 0, "block_erased": 0}
        watched = dataclasses.replace(self.profile.timing, **self.watched)
        self.rules = ProtocolMonitor(
            dataclasses.replace(self.profile, timing=watched), self.clock_hz
        )
        self.symbols = []  # (clock, cycle, strobe, byte, R/B# of all dies) of each simulated clock
        self.clock = 0  # drive clocks passed
        self.steps = 0  # simulated clocks
        wanted_reads = sum(op["op"] in (NandOp.READ, NandOp.READ_ID) for op in ops)
        wanted_done = len(ops) - wanted_reads
        waiting = list(ops)
        words = list(write_words)
        rng = random.Random(self.seed)

        async def drive(ctx):
            def rests():
                return self.stalls and rng.random() < self.stalls

            def on_change(*signals):
                """Setting a pin costs even if it stays as it is."""
                before = [None] * len(signals)

                def apply(ctx, *values):
                    for index, (signal, value) in enumerate(zip(signals, values)):
                        if before[index] != value:
                            ctx.set(signal, value)
                            before[index] = value

                return apply

            drive_pins = on_change(c.ops.valid, c.w_data.valid, c.r_data.ready, c.done.ready)
            drive_skip = on_change(dut.skip)
            hangs, to_hang = {}, dict(self.hang)  # die -> resets; die -> clock, resets
            drive_hang = on_change(dut.hang)
            ctx.set(dut.write_protect, self.write_protect)
            tick = ctx.tick().sample(
                c.ops.ready,
                c.w_data.ready,
                c.r_data.valid,
                Value.cast(c.r_data.payload),
                c.done.valid,
                Value.cast(c.done.payload),
                c.activity,
                Cat(c.page_read, c.page_programmed, c.block_erased),
                c.phy.die,
                Cat(c.phy.cycle, c.phy.strobe, c.phy.w_data[:8]),
                dut.package.phy.ready,
            )
            current, causes = [], set()
            op_on = word_on = False
            skip = 0
            while len(self.reads) < wanted_reads or len(self.done) < wanted_done:
                arrives = waiting[0].get("at", 0) if waiting and not op_on else 0
                if waiting and not op_on and arrives <= self.clock and not rests():
                    op_on = True
                    fields = {name: waiting[0].get(name, DEFAULTS.get(name)) for name in FIELDS}
                    ctx.set(c.ops.payload, fields)
                if words and not word_on and not rests():
                    word_on = True
                    ctx.set(c.w_data.payload, words[0])
                r_ready = self.clock >= self.reader_from and not rests()
                d_ready = not rests()
                drive_pins(ctx, op_on, word_on, r_ready, d_ready)
                for die, (begin, resets) in list(to_hang.items()):
                    if begin <= self.clock:
                        hangs[die] = resets
                        del to_hang[die]
                drive_hang(ctx, sum(1 << die for die in hangs))
                skip = 0
                if self.skip and ctx.get(c.quiet):
                    skip = ctx.get(dut.next_event) - 1
                    if self.clock < self.reader_from:
                        skip = min(skip, self.reader_from - self.clock - 1)
                    if skip == NO_EVENT - 1:
                        skip = 0
                    if to_hang:
                        skip = min(skip, min(to_hang.values())[0] - self.clock - 1)
                    if arrives > self.clock:
                        skip = min(skip or NO_EVENT, arrives - self.clock - 1)
                drive_skip(ctx, skip)
                _, _, op_ready, word_ready, r_valid, r, d_valid, d, activity, *rest = await tick
                pulses, die, symbol, ready = rest
                cycle, strobe, byte = symbol & 7, symbol >> 3 & 1, symbol >> 4
                self.rules.observe(self.clock, die, cycle, strobe, byte, ready, self.write_protect)
                if die in hangs and strobe and (cycle, byte) == (1, 0xFF):
                    hangs[die] -= 1
                    if hangs[die] == 0:
                        del hangs[die]
                self.symbols.append((self.clock, cycle, strobe, byte, ready))
                self.activity[activity] += skip + 1
                for name, pulse in zip(self.pulses, (1, 2, 4)):
                    self.pulses[name] += bool(pulses & pulse)
                if op_on and op_ready:
                    self.op_times.append(self.clock)
                    waiting.pop(0)
                    op_on = False
                if word_on and word_ready:
                    words.pop(0)
                    word_on = False
                if r_valid and r_ready:
                    current.append(r & 0xFFFF_FFFF_FFFF_FFFF)
                    self.read_times.append(self.clock)
                    causes.add(Cause(r >> 65))
                    if r >> 64 & 1:
                        self.reads.append(current)
                        self.causes.append(causes)
                        current, causes = [], set()
                if d_valid and d_ready:
                    self.done_times.append(self.clock)
                    self.done.append(done_layout(self.profile.geometry.dies).from_bits(d))
                self.clock += skip + 1
                self.steps += 1
                if self.steps > timeout:
                    raise TimeoutError(f"no end after {timeout} clocks: {self.reads=} {self.done=}")
            self.left = (current, words, waiting)

        sim = Simulator(dut)
        sim.add_clock(1e-6)
        sim.add_testbench(ArrayServer(self.array, 0, dut.array).run, background=True)
        sim.add_testbench(drive)
        sim.run()
        assert self.left == ([], [], [])
        if {violation.rule for violation in self.rules.violations} != set(broken):
            self.rules.check()
            raise AssertionError(f"the monitor did not see {broken}")
        return self

    def words(self, data):
        """Bytes as 64-bit words."""
        return [int(w) for w in np.frombuffer(bytes(data), "<u8")]


@pytest.fixture
def bench():
    """The bench's class."""
    return Bench
