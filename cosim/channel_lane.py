"""The channel lane: one channel of the drive with its dies and array, given whole pages, in C.

::

    jobs, slots --> Channel (error correction, controller) --> dies --> array port --> NandArray
                     '--> completions, words of pages                     cosim/native/nand.h

For what happens to pages, over runs too long for pysim; the drive around a channel belongs to
`cosim.native_lane`. Each run begins with a channel after reset, on what the array holds.
"""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from flash_model.array_port import ROW_BITS, ArrayPortSignature
from flash_model.package import ChannelDies
from hls_attention.verilog import to_verilog
from rtl.channel import Channel
from rtl.memory_port import ADDRESS_BITS, burst_layout
from rtl.nand.operations import NandOp, done_layout
from rtl.pages.requests import Source
from rtl.program_feeder import order_layout
from rtl.tables import program_slots

from .array_view import NandView, nand_view
from .bus_record import BusSink, bus_sink, taps
from .native_glue import GLUE_NAME, WRAPPER, wrapper
from .verilator import build_model

__all__ = ["ChannelLane", "JOB", "NEVER"]

JOB = np.dtype(
    [
        ("op", "u4"),  # NandOp.READ, PROGRAM or ERASE
        ("die", "u4"),
        ("row", "u4"),  # of an erase: any of its block
        ("after", "u4"),  # a job that has to be done before this one is given; its own number: none
        ("taken", "u8"),  # the clock in which it was, or NEVER
        ("done", "u8"),  # that of its completion, or of its last word
        (
            "failed",
            "u4",
        ),  # of a program or erase its completion says so, of a read a word is marked
        ("spare", "u4"),
    ]
)
"""Something to do. channel_lane.cpp has the same layout."""

NEVER = 2**64 - 1

_SOURCES = Path(__file__).with_name("native_channel")
_SHARED = [Path(__file__).with_name("native") / name for name in ("bus.h", "memory.h", "nand.h")]
_TOP = "channel_lane"


class _Pages(wiring.Component):
    """A channel and its dies: a page at a time, all of it."""

    def __init__(self, config):
        self._config = config
        geometry = config.flash.geometry
        done = done_layout(geometry.dies)
        super().__init__(
            {
                **{name: In(1) for name in ("reads", "programs", "erases")},
                "die": In(done["die"].shape),
                "row": In(ROW_BITS),
                "ready": Out(1),
                "slot": In(order_layout(geometry)["slot"].shape),
                "read_valid": Out(1),
                "read_address": Out(ADDRESS_BITS),
                "read_beats": Out(burst_layout()["beats"].shape),
                "beat_valid": In(1),
                "beat": In(64),
                "beat_last": In(1),
                "beat_ready": Out(1),
                "word_valid": Out(1),
                "word": Out(64),
                "word_error": Out(1),
                "done_valid": Out(1),
                **{f"done_{name}": Out(done[name].shape) for name in ("op", "die", "failed")},
                "array": Out(ArrayPortSignature(geometry.dies)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        words = config.flash.geometry.page_bytes // 8
        m.submodules.channel = channel = Channel(config)
        m.submodules.dies = dies = ChannelDies(config.flash, config.clock_hz)
        connect(m, channel.phy, dies.phy)
        connect(m, dies.array, flipped(self.array))
        requests, programs, erases = channel.i_requests, channel.i_order, channel.i_management
        for wanted, to in (
            (self.reads, requests),
            (self.programs, programs),
            (self.erases, erases),
        ):
            m.d.comb += [to.valid.eq(wanted), to.payload.die.eq(self.die)]
            with m.If(wanted):
                m.d.comb += self.ready.eq(to.ready)
        m.d.comb += [
            requests.payload.source.eq(Source.READBACK),
            requests.payload.tokens.eq(words),
            requests.payload.beats.eq(1),
            requests.payload.row.eq(self.row),
            programs.payload.row.eq(self.row),
            programs.payload.slot.eq(self.slot),
            erases.payload.op.eq(NandOp.ERASE),
            erases.payload.row.eq(self.row),
            self.read_valid.eq(channel.read.ar.valid),
            self.read_address.eq(channel.read.ar.payload.address),
            self.read_beats.eq(channel.read.ar.payload.beats),
            channel.read.ar.ready.eq(1),
            channel.read.r.valid.eq(self.beat_valid),
            channel.read.r.payload.data.eq(self.beat),
            channel.read.r.payload.last.eq(self.beat_last),
            self.beat_ready.eq(channel.read.r.ready),
            channel.o_readback.ready.eq(1),
            self.word_valid.eq(channel.o_readback.valid),
            self.word.eq(channel.o_readback.payload.data),
            self.word_error.eq(channel.o_readback.payload.error),
            channel.done.ready.eq(1),
            self.done_valid.eq(channel.done.valid),
            self.done_op.eq(channel.done.payload.op),
            self.done_die.eq(channel.done.payload.die),
            self.done_failed.eq(channel.done.payload.failed),
        ]
        return m


class ChannelLane:
    """A simulated channel.

    Parameters
    ----------
    config : rtl.config.DriveConfig
        Of the drive that it is a channel of, or what has the same properties.
    announce : callable, optional
        Called with a line of text when something has to be compiled.
    """

    def __init__(self, config, *, announce=print):
        self._geometry = config.flash.geometry
        pages, bus = _Pages(config), taps(["dies"], config.flash.geometry.dies)
        verilog = to_verilog(pages, _TOP) + wrapper(pages, _TOP, bus, registered=False)
        self._run = _library(verilog, announce)

    def run(self, jobs, data, array, *, limit=1 << 26, complete=True, watch=None):
        """Carry out jobs on an array, from reset.

        Parameters
        ----------
        jobs : array of `JOB`
            Given in this order; ``taken``, ``done`` and ``failed`` are filled in.
        data : uint64 array [jobs, words]
            User words of the page: of each program; those of each read are put here.
        array : flash_model.array.NandArray
            Of one channel.
        limit : int
            Most clocks.
        complete : bool
            Whether it is an error if not all is done by then.
        watch : callable, optional
            Called with what the bus shows, see `cosim.native_lane.NativeLane`.

        Returns
        -------
        errors : bool array [jobs, words]
            Words of reads that are marked.
        clocks : int
            Those that have passed.
        """
        g, words = array.geometry, self._geometry.page_bytes // 8
        if g.channels != 1 or g != self._geometry:
            raise ValueError(f"an array of {g} is not one of {self._geometry}: make it of this one")
        if data.shape != (len(jobs), words) or data.dtype != np.uint64:
            raise ValueError(
                f"data of {data.dtype} {list(data.shape)} do not fit: give uint64 "
                f"{[len(jobs), words]}"
            )
        array.settle(0)
        errors = np.zeros(data.shape, np.uint8)
        jobs["taken"] = jobs["done"] = NEVER
        jobs["failed"] = 0
        raised: list[BaseException] = []
        view, text = nand_view(array, raised), ctypes.create_string_buffer(200)
        sink = bus_sink(watch, raised)
        clocks = self._run(
            jobs.ctypes.data,
            len(jobs),
            data.ctypes.data,
            errors.ctypes.data,
            words,
            program_slots(g),
            limit,
            ctypes.byref(view),
            sink,
            text,
            len(text),
        )
        if raised:
            raise raised[0]
        if text.value:
            raise RuntimeError(f"clock {clocks}: {text.value.decode()}")
        left = int((jobs["done"] == NEVER).sum())
        if complete and left:
            raise TimeoutError(f"{left} of {len(jobs)} jobs are not done after {clocks} clocks")
        return errors.astype(bool), clocks


@cache
def _library(verilog, announce):
    path = build_model(
        verilog,
        WRAPPER,
        [*sorted(_SOURCES.iterdir()), *_SHARED],
        texts={GLUE_NAME: "#define CHANNELS 1\n#define WATCHED\n"},
        announce=announce,
    )
    run = ctypes.CDLL(str(path)).channel_run
    run.restype = ctypes.c_uint64
    p, u32 = ctypes.c_void_p, ctypes.c_uint32
    view = ctypes.POINTER(NandView)
    run.argtypes = [p, u32, p, p, u32, u32, ctypes.c_uint64, view, BusSink, p, u32]
    return run
