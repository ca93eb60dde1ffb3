"""What surrounds the drive, for cocotb: memories and flash arrays, clock for clock as in the native
lane (cosim/native/memory.h and nand.h keep the same rules)."""

from collections import deque

import numpy as np
from cocotb.triggers import RisingEdge

from flash_model.array_port import ArrayOp
from rtl.memory_port import MemoryPortSignature, burst_layout

from .bfm import pack, unpack

__all__ = ["ArrayPort", "MemoryPort"]

_W = MemoryPortSignature().members["w"].signature.members["payload"].shape
_R = MemoryPortSignature().members["r"].signature.members["payload"].shape
_B = MemoryPortSignature().members["b"].signature.members["payload"].shape


class MemoryPort:
    """A memory behind a memory port: in order, fixed latency, one beat a clock.

    Parameters
    ----------
    dut : handle
    name : str
        ``"host"`` or ``"dram"``.
    contents : numpy.ndarray
        uint8, served in place.
    base : int
        Address of its first byte.
    read_latency, write_latency : int
        Clocks, see `EnvironmentTiming`.
    outstanding : int
        Bursts accepted before the first is done, reads and writes apart.
    """

    def __init__(self, dut, name, contents, *, base=0, read_latency, write_latency, outstanding=16):
        self.edge = RisingEdge(dut.clk)
        self.contents, self.base = contents, base
        self.read_latency, self.write_latency = read_latency, write_latency
        self.outstanding = outstanding
        self.streams = {
            stream: {
                part: getattr(dut, f"{name}__{stream}__{part}")
                for part in ("valid", "ready", "payload")
            }
            for stream in ("ar", "r", "aw", "w", "b")
        }
        self.cycle = 0
        self.forget()

    @property
    def idle(self):
        """Whether nothing is under way."""
        return not (self.reads or self.writes or self.responses)

    def forget(self):
        """Drop all that is under way, as in a reset."""
        self.reads, self.writes, self.responses = deque(), deque(), deque()
        self._drive()

    async def run(self):
        """Serve for ever; start it with ``cocotb.start_soon``."""
        while True:
            await self.edge
            self._sample()
            self.cycle += 1
            self._drive()

    def _moved(self, stream):
        handles = self.streams[stream]
        if handles["valid"].value and handles["ready"].value:
            return int(handles["payload"].value)
        return None

    def _sample(self):
        if (word := self._moved("ar")) is not None:
            self.reads.append(self._burst(word, due=self.cycle + self.read_latency))
        if self._moved("r") is not None:
            self.reads[0]["done"] += 1
            if self.reads[0]["done"] == self.reads[0]["beats"]:
                self.reads.popleft()
        if self._moved("b") is not None:
            self.responses.popleft()
        if (word := self._moved("w")) is not None:
            self._write(unpack(_W, word))
        if (word := self._moved("aw")) is not None:
            self.writes.append(self._burst(word))

    def _burst(self, word, due=None):
        burst = unpack(burst_layout(), word)
        address, beats = burst["address"], burst["beats"]
        assert 1 <= beats <= 256 and address % 8 == 0 and address % 4096 + 8 * beats <= 4096, (
            f"burst of {beats} beats at {address:x} breaks the rules of rtl.memory_port"
        )
        offset = address - self.base
        error = not 0 <= offset <= len(self.contents) - 8 * beats
        return {"offset": offset, "beats": beats, "done": 0, "due": due, "error": error}

    def _write(self, beat):
        burst = self.writes[0]
        last = burst["done"] + 1 == burst["beats"]
        assert beat["last"] == last, "write data with `last` at the wrong beat"
        if not burst["error"]:
            at = burst["offset"] + 8 * burst["done"]
            for lane, byte in enumerate(beat["data"].to_bytes(8, "little")):
                if beat["strobe"] >> lane & 1:
                    self.contents[at + lane] = byte
        burst["done"] += 1
        if last:
            burst["due"] = self.cycle + self.write_latency
            self.responses.append(self.writes.popleft())

    def _drive(self):
        s = self.streams
        s["ar"]["ready"].value = int(len(self.reads) < self.outstanding)
        s["aw"]["ready"].value = int(len(self.writes) + len(self.responses) < self.outstanding)
        s["w"]["ready"].value = int(bool(self.writes))
        shows = bool(self.reads) and self.reads[0]["due"] <= self.cycle
        s["r"]["valid"].value = int(shows)
        if shows:
            burst = self.reads[0]
            at = burst["offset"] + 8 * burst["done"]
            data = (
                0
                if burst["error"]
                else int.from_bytes(self.contents[at : at + 8].tobytes(), "little")
            )
            s["r"]["payload"].value = pack(
                _R, data=data, error=burst["error"], last=burst["done"] + 1 == burst["beats"]
            )
        shows = bool(self.responses) and self.responses[0]["due"] <= self.cycle
        s["b"]["valid"].value = int(shows)
        if shows:
            s["b"]["payload"].value = pack(_B, error=self.responses[0]["error"])


class ArrayPort:
    """Serves the array port of one channel from a `NandArray`.

    Parameters
    ----------
    dut : handle
    name : str
        Path of the port, ``"array__0"``.
    array : flash_model.array.NandArray
    channel : int
        Channel of ``array``.
    """

    def __init__(self, dut, name, array, channel):
        self.edge = RisingEdge(dut.clk)
        self.array, self.channel = array, channel
        self.clock = 0
        self.port = {
            field: getattr(dut, f"{name}__{field}")
            for field in (
                "op_valid",
                "op",
                "op_die",
                "op_row",
                "op_plane",
                "op_planes",
                "op_clocks",
                "op_failed",
                "reg_read",
                "reg_write",
                "reg_die",
                "reg_plane",
                "reg_column",
                "reg_w_data",
                "reg_r_data",
            )
        }
        self.port["reg_r_data"].value = 0
        self.port["op_failed"].value = 0

    async def run(self):
        """Serve for ever; start it with ``cocotb.start_soon``."""
        p = self.port
        self.array.settle(self.channel)
        shown = 0
        while True:
            await self.edge
            failed = 0
            if p["op_valid"].value:
                op = ArrayOp(int(p["op"].value))
                failed = self.array.serve(
                    op,
                    self.channel,
                    self._get("op_die"),
                    self._get("op_row"),
                    plane=self._get("op_plane"),
                    planes=self._get("op_planes"),
                    clock=self.clock,
                    clocks=self._get("op_clocks"),
                )
            self.clock += 1
            if failed != shown:
                p["op_failed"].value = shown = failed
            if not (p["reg_write"].value or p["reg_read"].value):
                continue
            column = self._get("reg_column")
            register = self.array.register(
                self.channel, self._get("reg_die"), self._get("reg_plane")
            )
            word = register[column : column + 8]
            if p["reg_write"].value:
                word[:] = np.frombuffer(self._get("reg_w_data").to_bytes(8, "little"), np.uint8)
            if p["reg_read"].value:
                p["reg_r_data"].value = int.from_bytes(word.tobytes(), "little")

    def _get(self, field):
        return int(self.port[field].value)
