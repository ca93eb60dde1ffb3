"""The cells behind the dies: contents of every page of the drive, and the registers of the dies.

All state lies in plain numpy buffers, so that a server in C can work on the same memory
(``array.buffers[name].ctypes.data``). Index order is always channel, die, row (or block):

=================  ======================================  ========================================
buffer             shape, type                             meaning
=================  ======================================  ========================================
``cells``          [channels * dies * rows, stride] uint8  bytes of a page, **inverted**
``programmed``     [channels * dies * rows] uint8          `PageState`, 0: erased
``erase_counts``   [channels * dies * blocks] uint32       erases of a block
``read_counts``    [channels * dies * blocks] uint32       page reads of a block since last erase
``page_programs``  [channels * dies * rows] uint32         programs of a page
``page_reads``     [channels * dies * rows] uint32         reads of a page since last erase
``written_s``      [channels * dies * blocks] float64      time of a block's last program, seconds
``now_s``          [1] float64                             time, which only whoever sets it moves on
``registers``      [channels * dies, planes, stride] uint8 cache registers (the bus sees them)
``data_registers`` [channels * dies, planes, stride] uint8 data registers, behind them
``noted``          [channels * dies, planes] uint32        rows of multi-plane commands
``factory_pages``  [channels * dies, 2, stride] uint8      what the maker left, by `FactoryPage`
``retry_levels``   [channels * dies] uint8                 read-retry levels, 0..7
``operations``     [channels * dies, 3] uint64             page reads, programs, erases of this run
``pending, undo``  see `flash_model.power_cut`             what a power cut would end
=================  ======================================  ========================================

The buffers down to ``now_s`` outlast power, and may lie in a file.

``stride`` is page and spare bytes (a multiple of 8). Cells are stored inverted (the registers are
not), because an erased cell reads as 1 and untouched memory is 0: a drive of any size costs only
the pages that were written (anonymous memory without reservation). So a program is
``cells |= ~register``, a read is ``register = ~cells``, and an erase zeroes the programmed pages of
the block.
"""

import dataclasses

import numpy as np

from .array_port import ArrayOp, FactoryPage
from .energy import OPERATIONS
from .parameter_page import unique_id
from .power_cut import Journal, PageState
from .storage import anonymous, mapped

__all__ = ["NandArray"]


class NandArray:
    """Contents of all pages of a drive.

    Parameters
    ----------
    geometry : Geometry
        Geometry of the drive.
    parameters : bytes, optional
        What READ PARAMETER PAGE shows (`flash_model.parameter_page.parameter_page`); without, FFh.
    serial : int, optional
        Serial number of the drive, from which the dies' unique IDs are made.
    faults : Faults, optional
        What goes wrong (`flash_model.faults`).
    file : path-like, optional
        Where contents, wear and age lie, for drives larger than memory and from run to run; made
        if there is none. See `flash_model.storage`. Not for two at a time.

    Attributes
    ----------
    buffers : dict of str to numpy.ndarray
        The raw state, see the module's table.
    stride : int
        Bytes from one page to the next in ``cells`` and ``registers``.
    """

    def __init__(self, geometry, *, parameters=b"", serial=0, faults=None, file=None):
        g = geometry
        dies = g.channels * g.dies
        self.geometry = g
        self.stride = g.page_total
        self.faults = faults
        contents = {
            "cells": ((dies * g.rows, self.stride), "u1"),
            "programmed": ((dies * g.rows,), "u1"),
            "erase_counts": ((dies * g.blocks,), "<u4"),
            "read_counts": ((dies * g.blocks,), "<u4"),
            "page_programs": ((dies * g.rows,), "<u4"),
            "page_reads": ((dies * g.rows,), "<u4"),
            "written_s": ((dies * g.blocks,), "<f8"),
            "now_s": ((1,), "<f8"),
        }
        self._memory = None
        if file is None:
            stored = anonymous(contents)
        else:
            stored, self._memory = mapped(file, contents, dataclasses.asdict(g))
        self._journal = Journal(g)
        self._moment = 0, 0  # clock and clocks of the operation being served
        self.buffers = stored | {
            "registers": np.full((dies, g.planes, self.stride), 0xFF, dtype=np.uint8),
            "data_registers": np.full((dies, g.planes, self.stride), 0xFF, dtype=np.uint8),
            "noted": np.zeros((dies, g.planes), dtype=np.uint32),
            "factory_pages": np.full((dies, 2, self.stride), 0xFF, dtype=np.uint8),
            "retry_levels": np.zeros(dies, dtype=np.uint8),
            "operations": np.zeros((dies, len(OPERATIONS)), dtype=np.uint64),
            **self._journal.buffers,
        }
        pages = self.buffers["factory_pages"]
        for die in range(dies):
            for page, content in (
                (FactoryPage.PARAMETERS, parameters),
                (FactoryPage.UNIQUE_ID, unique_id(serial, die // g.dies, die % g.dies)),
            ):
                content = content[: self.stride]
                pages[die, page, : len(content)] = np.frombuffer(content, np.uint8)
        if faults is not None:
            if faults.geometry != g:
                raise ValueError("the faults are those of another geometry: make them with this")
            for page, byte in faults.marks():
                self.buffers["cells"][page, byte] = 0xFF

    @property
    def now_s(self):
        """Time in seconds, from which the age of what is stored is taken. Set it to move on."""
        return float(self.buffers["now_s"][0])

    @now_s.setter
    def now_s(self, seconds):
        if not seconds >= self.now_s:
            raise ValueError(f"now_s = {seconds!r} is not possible: it is {self.now_s} already")
        self.buffers["now_s"][0] = seconds

    def power_cut(self, clock, seed=0):
        """The power goes: registers and retry levels are lost, operations in progress cut off.

        Parameters
        ----------
        clock : int
            First clock that is not there any more, counted like those of `serve`.
        seed : int
            What is left of operations in progress follows from it, see `flash_model.power_cut`.

        Returns
        -------
        list of Interrupted
            The operations that were not complete.
        """
        interrupted = self._journal.cut(self.buffers, clock, seed)
        for name in ("registers", "data_registers"):
            self.buffers[name][:] = 0xFF
        self.buffers["retry_levels"][:] = 0
        return interrupted

    def settle(self, channel):
        """A channel's clock starts anew: what is in progress on it counts as complete."""
        dies = self.geometry.dies
        self._journal.buffers["pending"][channel * dies : (channel + 1) * dies] = 0

    def page_state(self, channel, die, row):
        """`PageState` of a page: the truth, which no die tells."""
        return PageState(self.buffers["programmed"][self._page(channel, die, row)])

    def flush(self):
        """Write what has changed to the file, if there is one."""
        if self._memory is not None:
            self._memory.flush()

    def _die(self, channel, die):
        g = self.geometry
        if not 0 <= channel < g.channels:
            raise ValueError(f"channel = {channel} does not exist: choose 0..{g.channels - 1}")
        if not 0 <= die < g.dies:
            raise ValueError(f"die = {die} does not exist: choose 0..{g.dies - 1}")
        return channel * g.dies + die

    def _page(self, channel, die, row):
        if not 0 <= row < self.geometry.rows:
            raise ValueError(f"row = {row} does not exist: choose 0..{self.geometry.rows - 1}")
        return self._die(channel, die) * self.geometry.rows + row

    def _block(self, channel, die, row):
        return self._page(channel, die, row) // self.geometry.pages

    def _count(self, operation, channel, die):
        counts = self.buffers["operations"]
        counts[self._die(channel, die), OPERATIONS.index(operation)] += 1

    def register(self, channel, die, plane=0):
        """The cache register of a plane (a view: writing to it is writing the register)."""
        return self.buffers["registers"][self._die(channel, die), plane]

    def data_register(self, channel, die, plane=0):
        """The data register of a plane (a view)."""
        return self.buffers["data_registers"][self._die(channel, die), plane]

    def clear(self, channel, die):
        """Cache registers of all planes to all FFh."""
        self.buffers["registers"][self._die(channel, die)] = 0xFF

    def read(self, channel, die, row):
        """Row to both registers of its plane."""
        self._sense(channel, die, row)
        self.show(channel, die, self.geometry.plane(row))

    def read_cache(self, channel, die, row, plane=None):
        """Data register of ``plane`` (the row's) to its cache register, row to data register."""
        self.show(channel, die, self.geometry.plane(row) if plane is None else plane)
        self._sense(channel, die, row)

    def show(self, channel, die, plane=0):
        """Data register to cache register."""
        self.register(channel, die, plane)[:] = self.data_register(channel, die, plane)

    def _sense(self, channel, die, row):
        page, b = self._page(channel, die, row), self.buffers
        block = page // self.geometry.pages
        data = self.data_register(channel, die, self.geometry.plane(row))
        np.invert(b["cells"][page], out=data)
        b["read_counts"][block] += 1
        b["page_reads"][page] += 1
        self._count("read", channel, die)
        if self.faults is not None:
            self.faults.sense(
                page,
                data,
                programmed=bool(b["programmed"][page]),
                erases=int(b["erase_counts"][block]),
                reads=int(b["read_counts"][block]),
                page_reads=int(b["page_reads"][page]) - 1,
                kept_s=float(b["now_s"][0] - b["written_s"][block]),
                level=int(b["retry_levels"][page // self.geometry.rows]),
            )

    def program(self, channel, die, row):
        """Cache register of its plane to row; returns whether it failed.

        Cells that are 0 stay 0 until they are erased.
        """
        page, block, b = self._page(channel, die, row), self._block(channel, die, row), self.buffers
        self._count("program", channel, die)
        cells, state = b["cells"][page], int(b["programmed"][page])
        unit, plane = self._die(channel, die), self.geometry.plane(row)
        self._journal.note(ArrayOp.PROGRAM, unit, plane, row, *self._moment, state, cells)
        cleared = ~self.register(channel, die, plane)
        left = None
        if self.faults is not None:
            erases, programs = int(b["erase_counts"][block]), int(b["page_programs"][page])
            left = self.faults.program(page, erases, programs)
        if left is not None:
            cleared &= ~np.frombuffer(left, np.uint8)
        cells |= cleared
        # What a power cut has left stays so until it is erased.
        b["programmed"][page] = max(state, PageState.PROGRAMMED)
        b["page_programs"][page] += 1
        b["written_s"][block] = self.now_s
        return left is not None

    def erase(self, channel, die, row):
        """Erase the block that holds ``row``. Returns whether it failed."""
        block = self._block(channel, die, row)
        pages = self.geometry.pages
        self._count("erase", channel, die)
        if self.faults is not None:
            if self.faults.erase_fails(block, int(self.buffers["erase_counts"][block])):
                return True
        unit, plane = self._die(channel, die), self.geometry.plane(row)
        self._journal.note(ArrayOp.ERASE, unit, plane, row, *self._moment, PageState.ERASED)
        first = block * pages
        for page in first + np.flatnonzero(self.buffers["programmed"][first : first + pages]):
            self.buffers["cells"][page] = 0
        self.buffers["programmed"][first : first + pages] = 0
        self.buffers["erase_counts"][block] += 1
        self.buffers["read_counts"][block] = 0
        self.buffers["page_reads"][first : first + pages] = 0
        self.buffers["written_s"][block] = 0
        return False

    def page(self, channel, die, row):
        """Contents of a page, spare included, as a new uint8 array (back door)."""
        return ~self.buffers["cells"][self._page(channel, die, row)]

    def write_page(self, channel, die, row, data):
        """Set a page's contents whatever they were (back door); ``data`` is filled up with FFh."""
        data = np.frombuffer(bytes(data), dtype=np.uint8)
        if len(data) > self.stride:
            raise ValueError(f"{len(data)} bytes do not fit a page: choose at most {self.stride}")
        page = self._page(channel, die, row)
        self.buffers["cells"][page, : len(data)] = ~data
        self.buffers["cells"][page, len(data) :] = 0
        self.buffers["programmed"][page] = PageState.PROGRAMMED
        self.buffers["written_s"][page // self.geometry.pages] = self.now_s

    def is_programmed(self, channel, die, row):
        """Whether the page was programmed, if only partly, since its block was erased."""
        return bool(self.buffers["programmed"][self._page(channel, die, row)])

    def serve(self, op, channel, die, row, *, plane=0, planes=0, clock=0, clocks=0):
        """Carry out one array operation of a die; returns a mask of the planes that have failed.

        Parameters
        ----------
        op : ArrayOp or int
        channel, die, row : int
        plane : int
            Plane whose data register a READ_CACHE or READ_CACHE_END moves.
        planes : int
            Mask of planes whose noted rows take part in a READ, PROGRAM or ERASE.
        clock : int
            The clock in which it was confirmed ...
        clocks : int
            ... and those after it that the die takes over it; both for `power_cut`.
        """
        noted, failed = self.buffers["noted"][self._die(channel, die)], 0
        rows = [row]
        if planes:
            joined = [n for n in range(self.geometry.planes) if planes >> n & 1]
            rows = [*noted[joined].tolist(), row]
        self._moment = clock, clocks
        match ArrayOp(op):
            case ArrayOp.READ:
                for each in rows:
                    self.read(channel, die, each)
            case ArrayOp.PROGRAM:
                for each in rows:
                    fails = bool(self.program(channel, die, each))
                    failed |= fails << self.geometry.plane(each)
            case ArrayOp.ERASE:
                for each in rows:
                    fails = bool(self.erase(channel, die, each))
                    failed |= fails << self.geometry.plane(each)
            case ArrayOp.CLEAR:
                self.clear(channel, die)
            case ArrayOp.READ_CACHE:
                self.read_cache(channel, die, row, plane)
            case ArrayOp.READ_CACHE_END:
                self.show(channel, die, plane)
            case ArrayOp.FACTORY_PAGE:
                pages = self.buffers["factory_pages"][self._die(channel, die)]
                self.register(channel, die)[:] = pages[row & 1]
            case ArrayOp.READ_RETRY:
                self.buffers["retry_levels"][self._die(channel, die)] = row & 7
            case ArrayOp.NOTE:
                noted[self.geometry.plane(row)] = row
        return failed
