"""What a power cut leaves of programs and erases that are in progress.

An array carries out its operations at once, when they are confirmed; the dies take their time over
them. So the last two of each plane are kept, with the clocks in which they begin and end::

    confirmed         previous one ends          ends
        |---- waits ---------|====== works =======|
                             |<-- share done -->| cut

An operation that waits leaves nothing. A program at work leaves a page **partly programmed**: each
bit that it was to clear is cleared with the probability of the share of its time that is over. An
erase at work leaves its block **undefined**: each bit of its pages is 0 or 1 with probability 1/2.
Both follow from the seed, the place and the clock. The array's ``programmed`` holds the truth
(`PageState`), which no die tells, until the block is erased again.

Not modelled: damage to pages that share their cells with the one that was being programmed.
"""

import enum
from typing import NamedTuple

import numpy as np

from .array_port import ArrayOp
from .draws import Draws

__all__ = ["Interrupted", "Journal", "PageState"]

_END = 3


class PageState(enum.IntEnum):
    """Values of the array's buffer ``programmed``."""

    ERASED = 0
    PROGRAMMED = 1
    PARTLY_PROGRAMMED = 2  # a program was cut off
    UNDEFINED = 3  # an erase of its block was cut off


class Interrupted(NamedTuple):
    """An operation that a power cut has ended."""

    op: ArrayOp
    channel: int
    die: int
    row: int
    share: float
    """Of its time that was over, 0..1."""


class Journal:
    """The last two programs or erases of each plane of an array.

    ``pending`` [dies, planes, 2, 5] uint64 holds operation, row, first clock, first clock after it
    and the page's state before; ``undo`` [dies, planes, 2, stride] uint8 the cells of the page
    before a program. The native lane (cosim/native/nand.h) keeps the same.

    Parameters
    ----------
    geometry : Geometry
    """

    def __init__(self, geometry):
        self.geometry = geometry
        dies = geometry.channels * geometry.dies
        self.buffers = {
            "pending": np.zeros((dies, geometry.planes, 2, 5), np.uint64),
            "undo": np.zeros((dies, geometry.planes, 2, geometry.page_total), np.uint8),
        }

    def note(self, op, unit, plane, row, clock, clocks, state, cells=None):
        """An operation of a plane of die ``unit``, confirmed in ``clock``."""
        pending = self.buffers["pending"][unit, plane]
        slot = int(pending[1, _END] < pending[0, _END])  # the older
        pending[slot] = op.value, row, clock + 1, clock + 1 + clocks, state
        if cells is not None:
            self.buffers["undo"][unit, plane, slot] = cells

    def cut(self, contents, clock, seed):
        """The power goes before ``clock``: what was in progress stops.

        Parameters
        ----------
        contents : dict of str to numpy.ndarray
            The array's buffers.
        clock : int
        seed : int

        Returns
        -------
        list of Interrupted
        """
        g, draws, found = self.geometry, Draws(seed), []
        for unit in range(g.channels * g.dies):
            entries = self.buffers["pending"][unit].reshape(-1, 5).tolist()
            undo = self.buffers["undo"][unit].reshape(-1, g.page_total)
            ends = [entry[_END] for entry in entries]
            # The last one first, as each has to find the cells as it left them.
            for slot in sorted(range(len(entries)), key=lambda slot: -ends[slot]):
                number, row, begin, end, state = entries[slot]
                if end <= clock:
                    continue
                op = ArrayOp(number)
                # It waits for what was before it; planes that work together end together.
                begin = max(begin, *(other for other in ends if other < end), 0)
                share = max(0.0, (clock - begin) / (end - begin))
                page = unit * g.rows + row
                if op == ArrayOp.PROGRAM:
                    draw = draws(0, page, clock, 0)
                    self._program(contents, page, undo[slot], share, state, draw)
                else:
                    self._erase(contents, page // g.pages, clock, draws)
                channel, die = divmod(unit, g.dies)
                found.append(Interrupted(op, channel, die, row, share))
        self.buffers["pending"][:] = 0
        return found

    def _program(self, contents, page, before, share, state, draw):
        cells = contents["cells"][page]
        if share == 0:  # it has not begun
            cells[:] = before
            contents["programmed"][page] = state
            contents["page_programs"][page] -= 1
            return
        kept = np.packbits(draw.random(8 * len(cells), np.float32) < share)
        cells[:] = before | cells & kept
        contents["programmed"][page] = max(state, PageState.PARTLY_PROGRAMMED)

    def _erase(self, contents, block, clock, draws):
        for page in range(block * self.geometry.pages, (block + 1) * self.geometry.pages):
            noise = draws(1, page, clock, 0).bytes(self.geometry.page_total)
            contents["cells"][page] = np.frombuffer(noise, np.uint8)
            contents["programmed"][page] = PageState.UNDEFINED
