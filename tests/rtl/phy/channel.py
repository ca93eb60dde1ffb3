"""A channel with pins on the bench: controller, PHY, pins, dies, array."""

import dataclasses
import random
from abc import ABC, abstractmethod
from fractions import Fraction

import numpy as np
from amaranth.hdl import Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator

from flash_model.array import NandArray
from flash_model.array_port import ArrayPortSignature
from flash_model.array_server import ArrayServer
from flash_model.package import ChannelDies
from flash_model.profiles import profile
from rtl.nand.controller import ChannelController
from rtl.nand.operations import NandOp, done_layout, operation_layout
from rtl.nand.phy_report import phy_report_layout
from tests.rtl.phy.wires import Wires

__all__ = ["PinBench", "small_part", "words"]

COMMAND, READ = 1, 4
CONFIRM_PROGRAM, RESETS = 0x10, (0xFF, 0xFA, 0xFC)
_FIELDS = tuple(operation_layout(1).members)


def words(data):
    """Bytes as 64-bit words."""
    return [int(word) for word in np.frombuffer(bytes(data), "<u8")]


def small_part(dies, planes, fastest):
    """A profile with pages of 64 bytes and short array times; ``fastest`` gives the others."""
    base = profile("tiny")
    geometry = dataclasses.replace(
        base.geometry, channels=1, dies=dies, planes=planes, page_bytes=64, spare_bytes=0
    )
    times = dataclasses.replace(base.timing, t_r_ns=400, t_prog_ns=600, t_bers_ns=800)
    return dataclasses.replace(base, geometry=geometry, timing=fastest(times))


class Channel(wiring.Component):
    """Controller and PHY; the dies hang on what is between their pins, in Python."""

    def __init__(self, part, phy, clock_hz):
        self.controller = ChannelController(part, clock_hz, 8)
        self.phy = phy
        self.package = ChannelDies(part, clock_hz)
        self.reset = Signal()  # of the FPGA, which dies know nothing of
        super().__init__({"array": Out(ArrayPortSignature(part.geometry.dies))})

    def elaborate(self, platform):
        m = Module()
        held = self.reset | ~self.phy.started
        m.submodules.controller = ResetInserter(held)(self.controller)
        m.submodules.phy = ResetInserter(self.reset)(self.phy)
        m.submodules.package = self.package
        wiring.connect(m, self.controller.phy, self.phy.phy)
        wiring.connect(m, wiring.flipped(self.array), self.package.array)
        return m


class PinBench(ABC):
    """Runs operations over the pins.

    Parameters
    ----------
    part : Profile
    phy : component
    clock_hz : int
    stalls : float
        Share of clocks in which words to program and the reader of read data rest.
    wires : Wires

    Attributes
    ----------
    started : int
        Clocks until the PHY says so.
    report : list of dict
        What it says of each die.
    """

    def __init__(self, part, phy, clock_hz, stalls, wires=None):
        self.part = part
        self.dies = part.geometry.dies
        self.array = NandArray(part.geometry)
        self.channel = Channel(part, phy, clock_hz)
        self.period_ns = Fraction(10**9, clock_hz)
        self.stalls = stalls
        self.wires = wires or Wires()
        self._read = 0  # die
        self._to_hang, self._hanging = set(self.wires.hangs), set()

    @abstractmethod
    async def board(self, ctx):
        """Between pins and dies; never ends."""

    def give_symbol(self, ctx, symbol):
        """Have the dies see a symbol (die, cycle, word) or none in this clock; whether it reads."""
        package = self.channel.package.phy
        there = symbol is not None and symbol[0] not in self.wires.missing
        ctx.set(package.strobe, there)
        if there:
            ctx.set(package.die, symbol[0])
            ctx.set(package.cycle, symbol[1])
            ctx.set(package.w_data, symbol[2])
            self._hang(ctx, *symbol)
        asks = symbol is not None and symbol[1] == READ
        if asks:
            self._read = symbol[0]
        return asks

    def _hang(self, ctx, die, cycle, byte):
        """Whether a die hangs from here on."""
        if cycle == COMMAND and byte == CONFIRM_PROGRAM and die in self._to_hang:
            self._to_hang.remove(die)
            self._hanging.add(die)
        if cycle == COMMAND and byte in RESETS:
            self._hanging.discard(die)
        ctx.set(self.channel.package.hang, sum(1 << die for die in self._hanging))

    def word(self, ctx):
        """What the die that was asked in the clock before answers."""
        return self.wires.word(self._read, ctx.get(self.channel.package.phy.r_data))

    def run(self, ops, write_words=(), timeout=30_000, reset=False):
        """Run until all have answered: lists of words read, completions.

        With ``reset`` the FPGA is reset once it has started, and starts again.
        """
        channel, c = self.channel, self.channel.controller
        reads, done = [[]], []
        wanted_reads = sum(op["op"] in (NandOp.READ, NandOp.READ_ID) for op in ops)

        rng = random.Random(1)

        def rests():
            return self.stalls and rng.random() < self.stalls

        async def give(ctx, stream, payloads):
            started, clocks = ctx.tick().sample(channel.phy.started), 0
            while not (await started)[2] or self._to_reset:
                clocks += 1
            self.started = clocks
            tick = ctx.tick().sample(stream.ready)
            for payload in payloads:
                while rests():
                    await ctx.tick()
                ctx.set(stream.payload, payload)
                ctx.set(stream.valid, 1)
                while not (await tick)[2]:
                    pass
                ctx.set(stream.valid, 0)

        self._to_reset = reset

        async def reset_once(ctx):
            await ctx.tick().until(channel.phy.started)
            await ctx.tick().repeat(50)
            ctx.set(channel.reset, 1)
            await ctx.tick().repeat(8)
            ctx.set(channel.reset, 0)
            await ctx.tick()
            self._to_reset = False

        async def give_ops(ctx):
            await give(ctx, c.ops, [{name: op.get(name, 0) for name in _FIELDS} for op in ops])

        async def give_words(ctx):
            await give(ctx, c.w_data, write_words)

        async def collect(ctx):
            ctx.set(c.done.ready, 1)
            payloads = Value.cast(c.r_data.payload), Value.cast(c.done.payload)
            tick = ctx.tick().sample(c.r_data.valid, c.done.valid, *payloads)
            clocks = 0
            while len(reads) - 1 < wanted_reads or len(done) < len(ops) - wanted_reads:
                r_ready = not rests()
                ctx.set(c.r_data.ready, r_ready)
                _, _, r_valid, d_valid, word, completion = await tick
                if r_valid and r_ready:
                    reads[-1].append(word & 0xFFFF_FFFF_FFFF_FFFF)
                    if word >> 64 & 1:
                        reads.append([])
                if d_valid:
                    done.append(done_layout(self.dies).from_bits(completion))
                clocks += 1
                if clocks > timeout:
                    raise TimeoutError(f"no end after {timeout} clocks: {reads=} {done=}")

            asked = channel.phy.report
            self.report = []
            for die in range(self.dies):
                ctx.set(asked.die, die)
                await ctx.tick().repeat(2)
                state = ctx.get(asked.state)
                self.report.append({n: state[n] for n in phy_report_layout().members})

        sim = Simulator(channel)
        sim.add_clock(1e-6)
        sim.add_testbench(ArrayServer(self.array, 0, channel.array).run, background=True)
        sim.add_testbench(self.board, background=True)
        if reset:
            sim.add_testbench(reset_once)
        sim.add_testbench(give_ops)
        sim.add_testbench(give_words)
        sim.add_testbench(collect)
        sim.run()
        return reads[:-1], done
