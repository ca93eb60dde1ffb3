"""Whether the bus moves data or gives commands next.

From data output to a command the bus turns around, which costs tRHW; data of another die follow
data, and anything follows a command, without a loss. So the bus takes turns:

- Data: pages are moved as long as the next one in order is there, until a command has waited for
  ``patience`` data phases or the bus will soon have to wait for one.
- Commands: all that can be given, before the next page is moved. They cost no turn when the bus
  has nothing to move either.

While planes of a die are given their rows one after another (`rtl.nand.planes`), a bus that has
turned to commands stays with them: tDBSY is short beside a page's data, for which tR would have to
wait once for each plane. If that die hangs the data of others wait until it is reset.

A page that the bus could move at no loss of time lets the next read of its die go first: the array
is idle meanwhile, and if arrays are what a stream of reads waits for, it would be idle for the data
phase too.

Share of the bus bound (data and seven tWC cycles a page) on the profile ``paper``, 16 dies, 250
MHz, whole pages, by ``pytest -s -m soak tests/rtl/nand/test_line_rate.py``:

=============================  ======  ======  ======  ======  ======
patience                            0       1       2       3       4
=============================  ======  ======  ======  ======  ======
dies in turn                   0.9595  0.9744  0.9794  0.9821  0.9812
passes of 64 from random dies  0.9629  0.9757  0.9803  0.9816  0.9801
16 dies in any order           0.9688  0.9773  0.9792  0.9787  0.9727
=============================  ======  ======  ======  ======  ======

Without turnarounds it would be 0.9899: a page's preamble is left. More patience leaves dies idle
that a stream in irregular order waits for later.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PATIENCE", "Turns"]

PATIENCE = 2
"""Data phases that a command waits for."""


class Turns(wiring.Component):
    """Choice between data and commands.

    Parameters
    ----------
    patience : int
        Data phases a command waits for while there are data to move, 0..15.

    Members
    -------
    page : In(1)
        The next page in order can be moved. A clock late in the choice, as what else it rests on.
    reads_on : In(1)
        Its die could start its next read.
    command : In(1)
        A command can be given ...
    urgent : In(1)
        ... that the bus would soon wait for.
    turned : In(1)
        A command costs no turnaround now.
    gathers : In(1)
        A command that can be given soon is part of one begun.
    chosen : In(1)
        The choice is taken: there may be another page.
    first_read : Out(1)
        The next read of the page's die is to be the next command.
    moves : Out(1)
        Choose the page's data phase; else a command, if there is one.
    valid : Out(1)
        There is one or the other. Known before ``moves``.
    wants : Out(1)
        There may be a data phase. Known before ``valid``.
    quiet : Out(1)
        Nothing here changes at the coming clock edge, if nothing is chosen.
    """

    page: In(1)
    reads_on: In(1)
    command: In(1)
    urgent: In(1)
    turned: In(1)
    gathers: In(1)
    chosen: In(1)
    first_read: Out(1)
    moves: Out(1)
    valid: Out(1)
    wants: Out(1)
    quiet: Out(1)

    def __init__(self, patience=PATIENCE):
        if not 0 <= patience <= 15:
            raise ValueError(f"patience = {patience} is not possible: choose 0..15 data phases")
        self._patience = patience
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        waited = Signal(range(self._patience + 1))  # data phases chosen before a command
        page = Signal()
        reads_on = Signal()
        interrupts = Signal()
        stays = Signal()  # with commands
        m.d.sync += [page.eq(self.page & ~self.chosen), reads_on.eq(self.reads_on)]
        m.d.comb += [
            interrupts.eq(self.turned | self.urgent | (waited == self._patience)),
            self.first_read.eq(page & self.turned & reads_on),
            stays.eq((self.command & interrupts) | (self.gathers & self.turned)),
            self.wants.eq(page),
            self.moves.eq(page & ~self.first_read & ~stays),
            self.valid.eq(self.command | (page & ~self.first_read & ~(self.gathers & self.turned))),
            self.quiet.eq((page == self.page) & (reads_on == self.reads_on)),
        ]
        with m.If(self.chosen & ~self.moves):
            m.d.sync += waited.eq(0)
        with m.Elif(self.chosen & self.command & (waited != self._patience)):
            m.d.sync += waited.eq(waited + 1)
        return m
