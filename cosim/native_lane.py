"""The native lane: the Verilated drive with its memories and flash arrays, run until an event.

::

    csr_write / csr_read --+                         +-- host memory (numpy, mapped at HOST_BASE)
                           |   Verilated SimTop in C  |
    run() -> Event --------+   clocks never leave C   +-- device DRAM (numpy)
                                                     +-- NAND arrays (flash_model.array.NandArray)

An array with faults carries out its page operations itself, in Python, called from C.
Pages in a memory (`DriveConfig.page_store`) are the array's cells, behind one port for each channel
with the latencies of device DRAM; the array then knows nothing of programs, wear and faults.
Time is counted in clock cycles. Stretches in which nothing but a flash timer runs are jumped over
(``skip_idle``); the cycle count is the same as without.
"""

import ctypes
from dataclasses import dataclass

import numpy as np

from .array_view import nand_view
from .bus_record import bus_sink
from .environment import HOST_BASE, EnvironmentTiming
from .native_build import native_library

__all__ = ["HOST_BASE", "Event", "LaneError", "NativeLane", "TRACE_DTYPE", "TRACE_KINDS"]

TRACE_DTYPE = np.dtype(
    [("cycle", "u8"), ("clocks", "u4"), ("channel", "u2"), ("die", "u1"), ("kind", "u1")],
    align=True,
)
"""A trace event: ``clocks`` is the length of a transfer, 0 for an array operation (how long those
take is in the flash profile)."""

TRACE_KINDS = {0: "sense", 1: "program", 2: "erase", 4: "data out", 5: "data in"}

_IRQ, _MAILBOX, _STUCK, _CYCLES, _SLICE, _VIOLATION = (1 << n for n in range(6))
_SLICE_CLOCKS = 200_000
"""Clocks per call into C, so that Ctrl-C and progress reports are served in between."""


class LaneError(RuntimeError):
    """The drive broke a rule of its surroundings: a burst across 4096 bytes, a missing row."""


@dataclass(frozen=True)
class Event:
    """Why `NativeLane.run` returned.

    Parameters
    ----------
    cycle : int
        The cycle that comes next.
    irqs : int
        Interrupts since the last event that reported any.
    mailbox : bool
        A command waits for the firmware.
    stuck : bool
        Nothing can happen any more: everything is quiet and no timer runs.
    timeout : bool
        The cycle limit was reached.
    """

    cycle: int
    irqs: int = 0
    mailbox: bool = False
    stuck: bool = False
    timeout: bool = False


class NativeLane:
    """A simulated drive.

    Parameters
    ----------
    config : DriveConfig
        What the drive is built as.
    array : flash_model.array.NandArray
        Contents of the flash; served in place. Its faults, if it has any, are carried out.
    host_bytes : int
        Host memory, a multiple of 4096.
    dram_bytes : int, optional
        Device DRAM; that of ``config`` if not given.
    skip_idle : bool
        Jump over stretches in which only a flash timer runs.
    trace : bool
        Record what the flash does, see `trace`.
    timing : EnvironmentTiming, optional
        Latencies of the memories.
    top : wiring.Component, optional
        A design with the ports of `cosim.top.SimTop`, which is what is simulated otherwise.
    watch : callable, optional
        Called with what the channels' buses show, as arrays of `cosim.bus_record.BUS_DTYPE`, again
        and again, and before any call of the lane returns: `cosim.bus_monitors.BusMonitors`. The
        drive is another model then, compiled apart.
    announce : callable, optional
        Called with a line of text when something has to be compiled.

    Attributes
    ----------
    host, dram : numpy.ndarray
        uint8 contents of the memories; host memory begins at address `HOST_BASE`.
    """

    def __init__(
        self,
        config,
        array,
        *,
        host_bytes=64 << 20,
        dram_bytes=None,
        skip_idle=True,
        trace=False,
        timing=None,
        top=None,
        watch=None,
        announce=print,
    ):
        timing = timing or EnvironmentTiming()
        dram_bytes = config.dram_bytes if dram_bytes is None else dram_bytes
        for name, size in (("host_bytes", host_bytes), ("dram_bytes", dram_bytes)):
            if size < 4096 or size % 4096:
                raise ValueError(f"{name} = {size} is not possible: choose a multiple of 4096")
        self.config = config
        self.array = array
        self.host = np.zeros(host_bytes, np.uint8)
        self.dram = np.zeros(dram_bytes, np.uint8)
        self._library, channels = native_library(
            config if top is None else top, announce, watch is not None
        )
        geometry = array.geometry
        if geometry.channels != channels:
            raise ValueError(
                f"the array has {geometry.channels} channels, the design {channels}: "
                "build both from one configuration"
            )
        self._raised: list[BaseException] = []  # by the array, called from C
        self._watch_raised: list[BaseException] = []  # by ``watch``, called from C
        self._watched = watch is not None
        view, sink = nand_view(array, self._raised), bus_sink(watch, self._watch_raised)
        settings = _Settings(
            HOST_BASE,
            host_bytes,
            dram_bytes,
            config.page_base,
            array.buffers["cells"].nbytes,
            *(timing.clocks(name, config.clock_hz) for name in ("host_read", "host_write")),
            timing.outstanding,
            *(timing.clocks(name, config.clock_hz) for name in ("dram_read", "dram_write")),
            timing.outstanding,
            skip_idle,
            trace,
        )
        self._made_of = settings, view, sink
        self._power_on()

    def _power_on(self):
        for channel in range(self.array.geometry.channels):
            self.array.settle(channel)
        settings, view, sink = self._made_of
        self._lane = self._library.lane_new(
            ctypes.byref(settings),
            self.host.ctypes.data,
            self.dram.ctypes.data,
            ctypes.byref(view),
            sink,
        )
        self._status = self._library.lane_status(self._lane).contents

    def power_cut(self, seed=0):
        """The power goes now and comes back: a fresh drive, at cycle 0, on what the flash holds.

        Device DRAM is zeroed, host memory stays.

        Parameters
        ----------
        seed : int
            What is left of programs and erases in progress follows from it.

        Returns
        -------
        list of flash_model.power_cut.Interrupted
            The programs and erases that were in progress.
        """
        interrupted = self.array.power_cut(self.cycle, seed)
        self.close()
        self.dram[:] = 0
        self._raised.clear()
        self._power_on()
        return interrupted

    def close(self):
        """Free the simulated drive; its memories stay."""
        if lane := self.__dict__.pop("_lane", None):
            del self._status
            self._library.lane_delete(lane)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        self.close()

    @property
    def cycle(self):
        """Clock cycles since reset."""
        return self._status.cycle

    @property
    def simulated_clocks(self):
        """Clocks that were evaluated: cycles less those jumped over."""
        return self._status.evaluated

    @property
    def mailbox(self):
        """Whether a command waits for the firmware."""
        return bool(self._library.lane_run(self._lane, _MAILBOX, 0, 0) & _MAILBOX)

    def csr_read(self, address):
        """Read a register; costs three clocks."""
        value = self._library.lane_csr_read(self._lane, self._csr(address))
        self._check()
        return value

    def csr_write(self, address, value):
        """Write a register; costs two clocks."""
        if not 0 <= value < 1 << 32:
            raise ValueError(f"value = {value:#x} is not possible: registers have 32 bits")
        self._library.lane_csr_write(self._lane, self._csr(address), value)
        self._check()

    def run(self, until_irq=True, until_mailbox=True, max_cycles=1 << 40, progress=None):
        """Run until something happens.

        Parameters
        ----------
        until_irq, until_mailbox : bool
            What to return for. An interrupt that came earlier and was not reported returns at
            once.
        max_cycles : int
            Cycles after which to give up.
        progress : callable, optional
            Called with the lane every 200,000 evaluated clocks.

        Returns
        -------
        Event
        """
        stop = until_irq * _IRQ | until_mailbox * _MAILBOX | _STUCK
        why = self._advance(stop, self.cycle + max_cycles, progress)
        irqs = self._status.irqs if why & _IRQ else 0
        if irqs:
            self._status.irqs = 0
        return Event(
            self.cycle, irqs, bool(why & _MAILBOX), bool(why & _STUCK), bool(why & _CYCLES)
        )

    def idle(self, cycles):
        """Let exactly so many cycles pass, whatever happens in them."""
        if cycles < 0:
            raise ValueError(f"cycles = {cycles} is not possible: choose 0 or more")
        self._advance(0, self.cycle + cycles, None)

    def spoil_pages(self, start=0, stop=0):
        """Has bursts of the page memory that touch these bytes of it answered with an error, and
        no others."""
        base = self.config.page_base
        self._library.lane_spoil_pages(self._lane, base + start, base + stop)

    def trace(self):
        """What the flash did so far, as an array of `TRACE_DTYPE` by order of begin; forgets it."""
        count = self._status.trace_events
        events = np.empty(count, TRACE_DTYPE)
        if count:
            ctypes.memmove(events.ctypes.data, self._library.lane_trace(self._lane), events.nbytes)
        self._library.lane_trace_clear(self._lane)
        return events

    def _advance(self, stop, until, progress):
        while True:
            why = self._library.lane_run(self._lane, stop, until, _SLICE_CLOCKS)
            self._show_buses()
            if why & _VIOLATION:
                self._check()
            if why != _SLICE:
                return why
            if progress:
                progress(self)

    def _csr(self, address):
        if not 0 <= address < 1 << 16 or address % 4:
            raise ValueError(
                f"address = {address:#x} is not possible: choose a multiple of 4 below 10000h"
            )
        return address

    def _show_buses(self):
        if self._watched:
            self._library.lane_bus_flush(self._lane)
            if self._watch_raised:
                error = self._watch_raised[0]
                self._watch_raised.clear()
                raise error

    def _check(self):
        self._show_buses()
        if self._raised and not isinstance(self._raised[0], Exception):
            raise self._raised.pop()  # Ctrl-C
        if text := self._library.lane_violation(self._lane):
            cause = self._raised[0] if self._raised else None
            raise LaneError(f"cycle {self.cycle}: {text.decode()}") from cause


class _Settings(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("host_base", "host_bytes", "dram_bytes", "page_base", "page_bytes")
    ] + [
        (name, ctypes.c_uint32)
        for name in (
            "host_read",
            "host_write",
            "host_outstanding",
            "dram_read",
            "dram_write",
            "dram_outstanding",
            "skip_idle",
            "trace",
        )
    ]
