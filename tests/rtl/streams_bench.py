"""A clocked bench for pysim: stream drivers, a memory behind a port, the rules of both checked.

One loop for everything around a component. Each clock: drivers set inputs, the clock edge samples
all signals just before it, drivers look at what they saw. So read data of a request come one clock
later at the earliest, as in the other simulation lanes::

    Source --> i  DUT  o --> Sink          every output stream: valid and payload held until taken
                  port <--> MemoryModel    every burst: aligned, 1..256 beats, inside 4096 bytes

With ``quiet=True`` the bench checks what idle skipping relies on: after `QUIET_CLOCKS` quiet
clocks without a change at an input or a response of a memory to come, nothing is transferred, no
output moves and quiet stays. With stalls and backpressure it also freezes all inputs now and then,
to give that rule something to bite on.
"""

import enum
import random
from collections import deque

from amaranth.hdl import Cat, Shape, Value
from amaranth.lib import data
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from rtl.drive.drive import QUIET_CLOCKS

__all__ = ["Bench", "CROSS", "MemoryModel", "Sink", "Source", "encode", "decode"]

CROSS = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.4)]
"""{no stalls, stalls} x {no backpressure, backpressure}."""

FREEZE = 3 * QUIET_CLOCKS
"""Clocks of a freeze."""


def _bits(shape):
    return Shape.cast(shape).width


def encode(shape, value):
    """A payload as an integer; fields that a dict leaves out are 0."""
    if isinstance(value, enum.Enum):
        value = value.value
    if not isinstance(value, dict):
        return int(value)
    word = 0
    for name, item in value.items():
        field = shape[name]
        width = _bits(field.shape)
        item = encode(field.shape, item)
        assert -(1 << width - 1) <= item < 1 << width, f"{name} = {item} does not fit {width} bits"
        word |= (item & (1 << width) - 1) << field.offset
    return word


def decode(shape, word):
    """A payload as a dict of integers (of a `StructLayout`) or as an integer."""
    if not isinstance(shape, data.StructLayout):
        return word
    return {
        name: decode(field.shape, word >> field.offset & (1 << _bits(field.shape)) - 1)
        for name, field in shape
    }


def _raw(payload):
    """The payload's Value, whatever its shape."""
    return Value.cast(payload)


def _shape(payload):
    return payload.shape()


class _Inputs:
    """Sets inputs that changed: each assignment settles the whole design."""

    def __init__(self):
        self._last = {}

    def _put(self, ctx, signal, value):
        key = id(signal)
        if key not in self._last or self._last[key][0] != value:
            self._last[key] = (value, signal)
            ctx.set(signal, value)


class Source(_Inputs):
    """Offers items to a stream input, resting in a share ``stall`` of the clocks."""

    def __init__(self, port, items=(), stall=0.0, rng=None):
        super().__init__()
        self.port, self.items, self.stall = port, deque(items), stall
        self.rng = rng or random.Random(1)
        self.taken = 0
        self.active = False
        self.signals = [port.valid, port.ready]
        self.shape = _shape(port.payload)

    @property
    def pending(self):
        """Something it could still do by itself."""
        return bool(self.items) and not self.active

    def drive(self, ctx, frozen):
        if not self.active and self.items and not frozen and self.rng.random() >= self.stall:
            self.active = True
            self._put(ctx, _raw(self.port.payload), encode(self.shape, self.items[0]))
        self._put(ctx, self.port.valid, self.active)

    def observe(self, clock, valid, ready):
        if valid and ready:
            self.items.popleft()
            self.taken += 1
            self.active = False
            return True
        return False


class Sink(_Inputs):
    """Takes items from a stream output, not ready in a share ``backpressure`` of the clocks.

    ``gate`` (a callable) closes it while it returns False; ``then`` is called with every item.
    """

    def __init__(self, port, backpressure=0.0, rng=None, gate=None, then=None, name=""):
        super().__init__()
        self.port, self.backpressure, self.gate, self.then = port, backpressure, gate, then
        self.rng = rng or random.Random(2)
        self.items, self.clocks = [], []
        self.held = None
        self.signals = [port.valid, port.ready, _raw(port.payload)]
        self.shape = _shape(port.payload)
        self.name = name
        self.pending = False

    def drive(self, ctx, frozen):
        if not frozen:
            is_open = self.gate is None or self.gate()
            self._put(ctx, self.port.ready, is_open and self.rng.random() >= self.backpressure)

    def observe(self, clock, valid, ready, payload):
        if self.held is not None:
            assert valid and payload == self.held, (
                f"{self.name}: valid dropped or payload changed before it was taken"
            )
        self.held = payload if valid and not ready else None
        if valid and ready:
            item = decode(self.shape, payload)
            self.items.append(item)
            self.clocks.append(clock)
            if self.then:
                self.then(item)
            return True
        return False


class _Held:
    """The stream rule for one output stream of a memory port."""

    def __init__(self, name):
        self.name = name
        self.last = None

    def check(self, valid, ready, payload):
        assert self.last is None or (valid and payload == self.last), (
            f"{self.name}: valid dropped or payload changed before it was taken"
        )
        self.last = payload if valid and not ready else None


class MemoryModel(_Inputs):
    """Host memory or device DRAM behind a `MemoryPortSignature`.

    Parameters
    ----------
    port : interface
    size : int
        Bytes.
    latency : int
        Clocks from a burst's request to its first word, or from its last word to its response.
    stall : float
        Share of clocks in which it accepts nothing and sends nothing.
    bad : set of int
        Addresses of words whose reads and writes are answered with an error.
    """

    def __init__(self, port, size, *, latency=4, stall=0.0, rng=None, bad=()):
        super().__init__()
        self.port, self.latency, self.stall = port, latency, stall
        self.bytes = bytearray(size)
        self.rng = rng or random.Random(3)
        self.bad = set(bad)
        self.reads, self.writes = [], []  # bursts seen: (address, beats)
        self.moved = 0  # words read
        self._read, self._write, self._respond = deque(), deque(), deque()
        self._r_on = self._b_on = False
        self._clock = 0
        self.blocked = 0  # clocks in which r waited for the drive
        self._rules = [_Held(name) for name in ("ar", "aw", "w")]
        self.signals = [
            port.ar.valid,
            port.ar.ready,
            _raw(port.ar.payload),
            port.r.valid,
            port.r.ready,
            port.aw.valid,
            port.aw.ready,
            _raw(port.aw.payload),
            port.w.valid,
            port.w.ready,
            _raw(port.w.payload),
            port.b.valid,
            port.b.ready,
        ]

    @property
    def pending(self):
        return bool(self._read or self._write or self._respond)

    def word(self, address):
        return int.from_bytes(self.bytes[address : address + 8], "little")

    def words(self, address, count):
        return [self.word(address + 8 * n) for n in range(count)]

    def put(self, address, raw):
        self.bytes[address : address + len(raw)] = raw

    def drive(self, ctx, frozen):
        port = self.port

        def go():
            return self.rng.random() >= self.stall

        if not frozen:
            for stream in (port.ar, port.aw, port.w):
                self._put(ctx, stream.ready, go())
        if not self._r_on and self._read and self._read[0][0] <= self._clock and go():
            _, address, left = self._read[0]
            self._r_on = True
            self._put(
                ctx,
                _raw(port.r.payload),
                encode(
                    _shape(port.r.payload),
                    {"data": self.word(address), "last": left == 1, "error": address in self.bad},
                ),
            )
        if not self._b_on and self._respond and self._respond[0][0] <= self._clock and go():
            self._b_on = True
            self._put(ctx, _raw(port.b.payload), self._respond[0][1])
        self._put(ctx, port.r.valid, self._r_on)
        self._put(ctx, port.b.valid, self._b_on)

    def _burst(self, word):
        burst = decode(_shape(self.port.ar.payload), word)
        address, beats = burst["address"], burst["beats"]
        assert address % 8 == 0 and 1 <= beats <= 256, burst
        assert address // 4096 == (address + 8 * beats - 1) // 4096, f"crosses 4096 bytes: {burst}"
        assert address + 8 * beats <= len(self.bytes), f"outside the memory: {burst}"
        return address, beats

    def observe(
        self,
        clock,
        ar_valid,
        ar_ready,
        ar,
        r_valid,
        r_ready,
        aw_valid,
        aw_ready,
        aw,
        w_valid,
        w_ready,
        w,
        b_valid,
        b_ready,
    ):
        self._clock = clock + 1
        for rule, seen in zip(
            self._rules, ((ar_valid, ar_ready, ar), (aw_valid, aw_ready, aw), (w_valid, w_ready, w))
        ):
            rule.check(*seen)
        if ar_valid and ar_ready:
            address, beats = self._burst(ar)
            self.reads.append((address, beats))
            self._read.append([clock + self.latency, address, beats])
        self.blocked += r_valid and not r_ready
        if r_valid and r_ready:
            self._r_on = False
            self.moved += 1
            burst = self._read[0]
            burst[1] += 8
            burst[2] -= 1
            if not burst[2]:
                self._read.popleft()
        if aw_valid and aw_ready:
            address, beats = self._burst(aw)
            self.writes.append((address, beats))
            self._write.append([address, beats, 0])
        if w_valid and w_ready:
            word = decode(_shape(self.port.w.payload), w)
            burst = self._write[0]
            address = burst[0]
            raw = word["data"].to_bytes(8, "little")
            for lane in range(8):
                if word["strobe"] >> lane & 1:
                    self.bytes[address + lane] = raw[lane]
            burst[2] |= address in self.bad
            burst[0] += 8
            burst[1] -= 1
            assert word["last"] == (burst[1] == 0), "w.last is not at the last beat"
            if not burst[1]:
                self._write.popleft()
                self._respond.append((clock + self.latency, burst[2]))
        if b_valid and b_ready:
            self._b_on = False
            self._respond.popleft()
        return bool(
            (ar_valid and ar_ready)
            or (r_valid and r_ready)
            or (aw_valid and aw_ready)
            or (w_valid and w_ready)
            or (b_valid and b_ready)
        )


class Bench:
    """Runs a component among its drivers.

    Parameters
    ----------
    dut : wiring.Component
    timeout : int
        Clocks after which a run fails.
    quiet : bool
        Check the ``quiet`` output.
    stall, backpressure : float
        Defaults for sources, memories and sinks.
    """

    def __init__(self, dut, *, timeout=4000, seed=1, quiet=False, stall=0.0, backpressure=0.0):
        self.dut, self.timeout, self.check_quiet = dut, timeout, quiet
        self.stall, self.backpressure = stall, backpressure
        self.freezes = quiet and bool(stall and backpressure)
        self.rng = random.Random(seed)
        self.drivers, self.scripts, self.watched = [], [], []
        self.clock = 0
        self.still = 0  # clocks in which the quiet rule was in force
        flat = [(member.flow, Value.cast(value)) for _, member, value in dut.signature.flatten(dut)]
        self._ins = Cat(value for flow, value in flat if flow == In)
        self._outs = Cat(value for flow, value in flat if flow != In)

    def _rng(self):
        return random.Random(self.rng.random())

    def source(self, port, items=(), **changes):
        driver = Source(port, items, **{"stall": self.stall, "rng": self._rng(), **changes})
        self.drivers.append(driver)
        return driver

    def sink(self, port, **changes):
        driver = Sink(port, **{"backpressure": self.backpressure, "rng": self._rng(), **changes})
        self.drivers.append(driver)
        return driver

    def memory(self, port, size, **changes):
        driver = MemoryModel(port, size, **{"stall": self.stall, "rng": self._rng(), **changes})
        self.drivers.append(driver)
        return driver

    def script(self, function):
        """``function(ctx)`` is a generator: it sets inputs, and each ``yield`` is a clock."""
        self.scripts.append(function)

    def watch(self, *signals):
        """List that will hold one tuple of samples of the signals per clock."""
        rows = []
        self.watched.append((signals, rows))
        return rows

    def run(self, until=None, *, idle=0):
        """Until ``until()`` is true and all scripts have ended, then ``idle`` clocks more."""
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)

        async def bench(ctx):
            await self._run(ctx, until or (lambda: True), idle)

        sim.add_testbench(bench)
        sim.run()
        return self

    async def _run(self, ctx, until, idle):
        scripts = [function(ctx) for function in self.scripts]
        quiet = self.dut.quiet if self.check_quiet else self._outs[:0]
        signals = [self._ins, self._outs, quiet]
        for driver in self.drivers:
            signals += driver.signals
        for watched, _ in self.watched:
            signals += watched
        frozen = steady = 0
        before = None
        rests = idle > 0
        while scripts or not until() or idle:
            if until() and not scripts:
                idle -= 1
            if self.freezes:
                frozen = frozen - 1 if frozen else FREEZE * (self.rng.random() < 0.04)
            for driver in self.drivers:
                driver.drive(ctx, frozen > 0)
            if not frozen:
                scripts = [script for script in scripts if _goes_on(script)]
            _, _, ins, outs, is_quiet, *seen = await ctx.tick().sample(*signals)
            moved = False
            for driver in self.drivers:
                count = len(driver.signals)
                moved |= driver.observe(self.clock, *seen[:count])
                seen = seen[count:]
            for watched, rows in self.watched:
                rows.append(tuple(seen[: len(watched)]))
                seen = seen[len(watched) :]
            waits = any(isinstance(d, MemoryModel) and d.pending for d in self.drivers)
            unchanged = before is not None and before[0] == ins and not waits
            if steady >= QUIET_CLOCKS and unchanged:
                assert is_quiet, f"quiet fell by itself in clock {self.clock}"
                assert not moved, f"a transfer in quiet clock {self.clock}"
                assert before[1] == outs, f"an output moved in quiet clock {self.clock}"
                self.still += 1
            steady = steady + 1 if is_quiet and unchanged else 0
            before = (ins, outs)
            self.clock += 1
            if self.clock > self.timeout:
                raise TimeoutError(f"no end after {self.timeout} clocks")
        if self.check_quiet and rests:
            assert is_quiet, "not quiet with nothing left to do"


def _goes_on(script):
    try:
        next(script)
    except StopIteration:
        return False
    return True
