"""A memory behind an AXI4 bus: cocotbext-axi's subordinate on a numpy array.

It answers what lies outside, or in a window that is said to be bad, with SLVERR, and can be made to
stall each of its five channels. A reset of the design drops what is under way.
"""

import random

import numpy as np
from cocotbext.axi import AxiBus, AxiResp, AxiSlave

from .bfm import stalls

__all__ = ["AxiMemory"]


class AxiMemory:
    """Serves a bus of the design as soon as it is made.

    Parameters
    ----------
    dut : handle
    prefix : str
        Of the bus's ports, without the underscore that follows.
    contents : numpy.ndarray
        uint8, served in place.
    base : int
        Address of its first byte.
    stall : float
        Share of clocks in which a channel waits.
    seed : int
    decode_error : bool
        Errors are DECERR, not SLVERR.
    inverted : bool
        The contents are kept inverted, as those of `flash_model.array.NandArray` are.
    reset : handle, optional
        Of the design, active high.

    Attributes
    ----------
    decode_error : bool
        May be changed.
    bad, bad_reads, bad_writes : list of range
        Addresses that answer with an error, or do if they are read, or written.
    """

    def __init__(
        self,
        dut,
        prefix,
        contents,
        clock,
        *,
        base=0,
        stall=0.0,
        seed=0,
        decode_error=False,
        inverted=False,
        reset=None,
    ):
        self.contents, self.base = contents, base
        self._flips = np.uint8(0xFF if inverted else 0)
        self.bad, self.bad_reads, self.bad_writes = [], [], []
        self.decode_error = decode_error
        self.slave = AxiSlave(AxiBus.from_prefix(dut, prefix), clock, reset, target=self)
        write, read = self.slave.write_if, self.slave.read_if
        self.channels = {
            "aw": write.aw_channel,
            "w": write.w_channel,
            "b": write.b_channel,
            "ar": read.ar_channel,
            "r": read.r_channel,
        }
        for part in (write, read):
            part.log.setLevel("ERROR")  # a line for each burst otherwise
        self._rng = random.Random(seed)
        self.stall(stall)
        for name, field in (("b", "bresp"), ("r", "rresp")):
            self._send_other(self.channels[name], field)

    def stall(self, share):
        """From now on each channel waits in this share of clocks."""
        for channel in self.channels.values():
            channel.set_pause_generator(stalls(self._rng, share) if share else None)
            channel.pause = False  # without a generator it stays what it was

    def _send_other(self, channel, field):
        send = channel.send

        async def other(answer):
            if self.decode_error and getattr(answer, field) == AxiResp.SLVERR:
                setattr(answer, field, AxiResp.DECERR)
            await send(answer)

        channel.send = other

    def _place(self, address, length, bad):
        start = address - self.base
        if not 0 <= start <= start + length <= len(self.contents):
            raise ValueError(f"{address:#x} is outside of the memory")
        if any(address < part.stop and part.start < address + length for part in bad):
            raise ValueError(f"{address:#x} is bad")
        return slice(start, start + length)

    async def read(self, address, length):
        """What the subordinate reads."""
        bad = self.bad + self.bad_reads
        return (self.contents[self._place(address, length, bad)] ^ self._flips).tobytes()

    async def write(self, address, data):
        """What the subordinate writes."""
        bad = self.bad + self.bad_writes
        place = self._place(address, len(data), bad)
        self.contents[place] = np.frombuffer(data, np.uint8) ^ self._flips
