"""Bus models for cocotb: streams, the control bus, packed payloads.

All keep one rule: ``await RisingEdge`` returns with the values from before the edge, and what is
written then is seen in the clock that begins.
"""

import itertools
import random
from functools import cache

from amaranth.hdl import Shape
from cocotb.triggers import RisingEdge

__all__ = ["CsrMaster", "StreamSink", "StreamSource", "pack", "stalls", "unpack"]


def stalls(rng, share):
    """Endless flags for `StreamSource` and `StreamSink`: True, a pause, with odds ``share``."""
    rng = random.Random(rng) if isinstance(rng, int) else rng
    return iter(lambda: rng.random() < share, None) if share else itertools.repeat(False)


@cache
def _fields(layout):
    return {
        name: (field.offset, Shape.cast(field.shape).width, Shape.cast(field.shape).signed)
        for name, field in layout
    }


def pack(layout, **values):
    """Value of a `StructLayout` as an integer; fields that are not given are 0."""
    word = 0
    fields = _fields(layout)
    for name, value in values.items():
        offset, width, signed = fields[name]
        value = int(getattr(value, "value", value))
        low = -(1 << width - 1) if signed else 0
        if not low <= value < low + (1 << width):
            raise ValueError(f"{name} = {value} does not fit its {width} bits")
        word |= (value & (1 << width) - 1) << offset
    return word


def unpack(layout, word):
    """Fields of an integer as a dict, the reverse of `pack`."""
    values = {}
    for name, (offset, width, signed) in _fields(layout).items():
        value = word >> offset & (1 << width) - 1
        values[name] = value - (1 << width) if signed and value >> width - 1 else value
    return values


class _Stream:
    def __init__(self, dut, name, pause=None, clock="clk"):
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.payload = getattr(dut, f"{name}__payload")
        self.pause = pause or itertools.repeat(False)
        self.edge = RisingEdge(getattr(dut, clock))


class StreamSource(_Stream):
    """Drives a stream input of the design.

    Parameters
    ----------
    dut : handle
    name : str
        Path of the port, joined by ``__``.
    pause : iterator of bool, optional
        Before each word: True waits a clock and asks again.
    """

    def __init__(self, dut, name, pause=None, clock="clk"):
        super().__init__(dut, name, pause, clock)
        self.valid.value = 0

    async def send(self, words):
        """Send integers, in order; returns when the last was taken."""
        for word in words:
            while next(self.pause):
                self.valid.value = 0
                await self.edge
            self.valid.value = 1
            self.payload.value = word
            await self.edge
            while not self.ready.value:
                await self.edge
        self.valid.value = 0


class StreamSink(_Stream):
    """Takes from a stream output of the design; the same parameters as `StreamSource`."""

    def __init__(self, dut, name, pause=None, clock="clk"):
        super().__init__(dut, name, pause, clock)
        self.ready.value = 0

    async def receive(self, count):
        """The next ``count`` words."""
        words = []
        while len(words) < count:
            go = not next(self.pause)
            self.ready.value = int(go)
            await self.edge
            if go and self.valid.value:
                words.append(int(self.payload.value))
        self.ready.value = 0
        return words


class CsrMaster:
    """Reads registers in three clocks, writes them in two, like the native lane."""

    def __init__(self, dut, clock="clk"):
        self.edge = RisingEdge(getattr(dut, clock))
        self.addr, self.w_data, self.w_en, self.r_en, self.r_data = (
            getattr(dut, f"csr__{name}") for name in ("addr", "w_data", "w_en", "r_en", "r_data")
        )
        for signal in (self.addr, self.w_data, self.w_en, self.r_en):
            signal.value = 0

    async def write(self, address, value):
        """Write a register."""
        await self.edge
        self.addr.value, self.w_data.value, self.w_en.value = address, value, 1
        await self.edge
        self.w_en.value = 0

    async def read(self, address):
        """Read a register."""
        await self.edge
        self.addr.value, self.r_en.value = address, 1
        await self.edge
        self.r_en.value = 0
        await self.edge
        return int(self.r_data.value)
