"""A channel compiled with Verilator, for streams of page reads too long for pysim."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from cosim.native_build import kept_verilog
from cosim.verilator import build_model
from flash_model.array_port import ArrayOp
from flash_model.package import ChannelDies
from hls_attention.verilog import to_verilog
from rtl.nand.controller import ChannelController

__all__ = ["CompiledChannel", "FIELDS"]

TOP = "channel"

FIELDS = ("die", "row", "column", "words")
"""Of a read, in the order of the harness."""


class _Reads(wiring.Component):
    """Controller and dies, without the contents of pages: READs in, ends of their data out."""

    def __init__(self, controller, package):
        self._controller, self._package = controller, package
        op = controller.ops.payload
        super().__init__(
            {
                "op_valid": In(1),
                "op_ready": Out(1),
                **{f"op_{name}": In(op[name].shape()) for name in FIELDS},
                "last": Out(1),
                "sense": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = c = self._controller
        m.submodules.package = package = self._package
        for name in ("die", "cycle", "strobe", "w_data"):
            m.d.comb += getattr(package.phy, name).eq(getattr(c.phy, name))
        for name in ("r_valid", "r_data", "ready"):
            m.d.comb += getattr(c.phy, name).eq(getattr(package.phy, name))
        for name in FIELDS:
            m.d.comb += c.ops.payload[name].eq(getattr(self, f"op_{name}"))
        array = package.array
        is_cache_read = array.op == ArrayOp.READ_CACHE
        m.d.comb += [
            c.ops.valid.eq(self.op_valid),  # op 0 is READ
            self.op_ready.eq(c.ops.ready),
            c.r_data.ready.eq(1),
            self.last.eq(c.r_data.valid & c.r_data.payload.last),
            self.sense.eq(array.op_valid & ((array.op == ArrayOp.READ) | is_cache_read)),
        ]
        return m


@cache
def _library(profile, clock_hz, depth, options, announce):
    def generate():
        controller = ChannelController(profile, clock_hz, depth, **dict(options))
        return to_verilog(_Reads(controller, ChannelDies(profile, clock_hz)), TOP)

    here = Path(__file__)
    design = repr((profile.geometry, profile.timing, clock_hz, depth, options)) + here.read_text()
    text = kept_verilog(TOP, design, generate, announce)
    harness = here.with_name("channel.cpp")
    return ctypes.CDLL(str(build_model(text, TOP, [harness], announce=announce)))


class _Progress(ctypes.Structure):
    _fields_ = [("clock", ctypes.c_uint64), ("senses", ctypes.c_uint64)]


class CompiledChannel:
    """One channel of a flash profile, as it is.

    Parameters
    ----------
    profile : Profile
    clock_hz, depth : int
    announce : callable
        Called with a line of text when something has to be compiled.
    options
        Further options of the controller.
    """

    def __init__(self, profile, clock_hz, depth, *, announce=print, **options):
        self._library = _library(profile, clock_hz, depth, tuple(options.items()), announce)
        self._progress = _Progress()

    @property
    def cycle(self):
        """Clocks of the run in progress, or of the last one."""
        return self._progress.clock

    @property
    def senses(self):
        """Array reads in them."""
        return self._progress.senses

    def timed(self, reads, in_flight=None, limit=1 << 27):
        """Clocks at which each of ``reads`` was taken, and at which its last word had come.

        Parameters
        ----------
        reads : sequence of (die, row, column, words)
            Columns and words count 8 bytes.
        in_flight : int, optional
            Most reads taken whose last word has not come; what the controller takes, if not given.
        limit : int
            Most clocks.

        Returns
        -------
        takes, lasts : ndarray of int64
        """
        operations = np.array(reads, np.uint32).reshape(-1, len(FIELDS))
        takes, lasts = (np.zeros(len(operations), np.uint64) for _ in range(2))
        done = self._library.run(
            operations.ctypes.data_as(ctypes.c_void_p),
            len(operations),
            in_flight or len(operations),
            ctypes.c_uint64(limit),
            takes.ctypes.data_as(ctypes.c_void_p),
            lasts.ctypes.data_as(ctypes.c_void_p),
            ctypes.byref(self._progress),
        )
        if done < len(operations):
            raise TimeoutError(f"{done} of {len(operations)} reads have come within {limit} clocks")
        return takes.astype(np.int64), lasts.astype(np.int64)

    def run(self, reads, limit=1 << 27):
        """Clocks at which the data of each of ``reads`` have come: a list."""
        return self.timed(reads, limit=limit)[1].tolist()
