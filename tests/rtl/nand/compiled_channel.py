"""A channel compiled with Verilator, for streams of page reads too long for pysim."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from cosim.verilator import build_model
from flash_model.package import ChannelDies
from hls_attention.verilog import to_verilog
from rtl.nand.controller import ChannelController

__all__ = ["CompiledChannel"]

FIELDS = ("die", "row", "column", "words")


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
        m.d.comb += [
            c.ops.valid.eq(self.op_valid),  # op 0 is READ
            self.op_ready.eq(c.ops.ready),
            c.r_data.ready.eq(1),
            self.last.eq(c.r_data.valid & c.r_data.payload.last),
        ]
        return m


@cache
def _library(profile, clock_hz, depth, options):
    controller = ChannelController(profile, clock_hz, depth, **dict(options))
    text = to_verilog(_Reads(controller, ChannelDies(profile, clock_hz)), "top")
    harness = Path(__file__).with_name("compiled_channel.cpp")
    return ctypes.CDLL(str(build_model(text, "top", [harness])))


class CompiledChannel:
    """One channel of a flash profile, as it is.

    Parameters
    ----------
    profile : Profile
    clock_hz, depth : int
    options
        Further options of the controller.
    """

    def __init__(self, profile, clock_hz, depth, **options):
        self._library = _library(profile, clock_hz, depth, tuple(options.items()))

    def run(self, reads, limit=1 << 27):
        """Clocks at which the data of each of ``reads`` (die, row, column, words) have come."""
        operations = np.array(reads, np.uint32)
        lasts = np.zeros(len(reads), np.uint64)
        done = self._library.run(
            operations.ctypes.data_as(ctypes.c_void_p),
            len(reads),
            ctypes.c_uint64(limit),
            lasts.ctypes.data_as(ctypes.c_void_p),
        )
        if done < len(reads):
            raise TimeoutError(f"{done} of {len(reads)} reads have come within {limit} clocks")
        return lasts.astype(int).tolist()
