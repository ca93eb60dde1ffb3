"""Closed forms of a NAND channel: what its operations take, and the least a list of reads can take.

Each time of the interface is rounded up to whole clocks by itself, as the controller does. The
forms are written from the command sequences of ONFI and the times of the profile (docs/flash.md);
they look at nothing in ``rtl``.

==================  =======================================  =====================  ==============
operation           bus, tCS before it                       R/B# low               then
==================  =======================================  =====================  ==============
read                7 tWC                                    tWB + tR               tRR
cache_read          7 tWC                                    tWB + tRCBSY           tRR
cache_end           tWC                                      tWB + tRCBSY           tRR
column              4 tWC                                                           tCCS
read_plane          as read, more planes follow              tWB + tDBSY            tRR
column_plane        7 tWC                                                           tCCS
program             6 tWC + tADL + data in + tWC             tWB + tPROG            tRR
erase               5 tWC                                    tWB + tBERS            tRR
program_plane       as program, more planes follow           tWB + tDBSY            tRR
erase_plane         as erase, more planes follow             tWB + tDBSY            tRR
reset               tWC                                      tWB + tRST             tRR
status              tWC + tWHR + preamble + a word                                  tRHW
status_plane        4 tWC + tWHR + preamble + a word                                tRHW
read_id             2 tWC + tWHR + preamble + a word                                tRHW
data                preamble + data out, no tCS                                     tRHW
data_after_status   tWC + tWHR + preamble + data out                                tRHW
==================  =======================================  =====================  ==============

R/B# of a cache read stays low for longer where the array is still at work.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from flash_model.timing import cycles

from .bound import READ_CYCLES

__all__ = ["COLUMN_CYCLES", "ChannelClocks", "Operation", "turnaround_ns"]

COLUMN_CYCLES = 4
"""Command and address cycles of CHANGE READ COLUMN: 05h, two of column, E0h."""

PLANE_COLUMN_CYCLES = 7
"""Those of its enhanced form, which also chooses a plane: 06h, two of column, three of row, E0h."""


@dataclass(frozen=True)
class Operation:
    """What an operation takes, in clocks.

    Parameters
    ----------
    bus : int
        From chip enable to the end of its last cycle or word.
    busy : int
        R/B# low.
    then : int
        After that, until the die may be used, or, after data output, the bus for a command.
    """

    bus: int
    busy: int = 0
    then: int = 0


_clocks = cache(cycles)  # exact arithmetic is slow, and streams are long


@cache
def _data_clocks(timing, words, clock_hz):
    return timing.data_cycles(words, clock_hz)


class ChannelClocks:
    """Closed forms for a profile and a clock.

    Parameters
    ----------
    profile : Profile
    clock_hz : int
    """

    def __init__(self, profile, clock_hz):
        self.timing, self._hz = profile.timing, clock_hz

    def clocks(self, name):
        """A time of the profile: ``clocks("t_wc")``."""
        return _clocks(getattr(self.timing, f"{name}_ns"), self._hz)

    def command(self, number):
        """So many command and address cycles and the chip enable before them."""
        return self.clocks("t_cs") + number * self.clocks("t_wc")

    def words(self, words):
        """Words of data on the bus."""
        return _data_clocks(self.timing, words, self._hz)

    def data(self, words):
        """A data phase: preamble and words."""
        return self.clocks("t_preamble") + self.words(words)

    def operations(self, words=1):
        """Every operation of the controller, by the names of the table above.

        Parameters
        ----------
        words : int
            Of the data phases and of the program.
        """
        t = self.clocks
        wb, rr, rhw = t("t_wb"), t("t_rr"), t("t_rhw")
        program = self.command(6) + t("t_adl") + self.words(words) + t("t_wc")
        cached, between = wb + t("t_rcbsy"), wb + t("t_dbsy")
        return {
            "read": Operation(self.command(READ_CYCLES), wb + t("t_r"), rr),
            "cache_read": Operation(self.command(READ_CYCLES), cached, rr),
            "cache_end": Operation(self.command(1), cached, rr),
            "column": Operation(self.command(COLUMN_CYCLES), then=t("t_ccs")),
            "read_plane": Operation(self.command(READ_CYCLES), between, rr),
            "column_plane": Operation(self.command(PLANE_COLUMN_CYCLES), then=t("t_ccs")),
            "program": Operation(program, wb + t("t_prog"), rr),
            "erase": Operation(self.command(5), wb + t("t_bers"), rr),
            "program_plane": Operation(program, between, rr),
            "erase_plane": Operation(self.command(5), between, rr),
            "reset": Operation(self.command(1), wb + t("t_rst"), rr),
            "status": Operation(self.command(1) + t("t_whr") + self.data(1), then=rhw),
            "status_plane": Operation(self.command(4) + t("t_whr") + self.data(1), then=rhw),
            "read_id": Operation(self.command(2) + t("t_whr") + self.data(1), then=rhw),
            "data": Operation(self.data(words), then=rhw),
            "data_after_status": Operation(
                self.command(1) + t("t_whr") + self.data(words), then=rhw
            ),
        }

    def together(self, name, planes, words=1):
        """A program or an erase of several planes of an idle die: first command to last status.

        Parameters
        ----------
        name : str
            "program" or "erase".
        planes : int
        words : int
            Of each plane's program.
        """
        operations = self.operations(words)
        last = operations[name]
        status = operations["status_plane" if planes > 1 else "status"]
        total = last.bus + last.busy + last.then + planes * status.bus
        if planes > 1:
            more = operations[f"{name}_plane"]
            total += (planes - 1) * (more.bus + more.busy + more.then + status.then)
        return total

    def reads_together(self, planes, words=1):
        """Reads of several planes of an idle die: first command to the last word.

        Parameters
        ----------
        planes : int
            2 or more.
        words : int
            Of each plane's page.
        """
        operations = self.operations(words)
        more, last, column = (operations[name] for name in ("read_plane", "read", "column_plane"))
        data = operations["data"]
        turn = max(0, data.then - self.clocks("t_cs"))  # the column's tCS passes meanwhile
        sensed = (
            (planes - 1) * (more.bus + more.busy + more.then) + last.bus + last.busy + last.then
        )
        # READ PAGEs, then for each page its column and its data.
        return sensed + planes * (column.bus + column.then + data.bus) + (planes - 1) * turn

    def turnaround(self, words):
        """A read of ``words`` from an idle die: chip enable to its last word."""
        read = self.operations()["read"]
        return read.bus + read.busy + read.then + self.data(words)

    def bus(self, reads, planes=1):
        """The bus bound of a list of reads: data, command and address cycles.

        A page is sensed once for the reads of it that follow each other on its die. The output of a
        page begins at column 0, where its cache read puts it; a read from another column, and every
        further read of the page, changes the column. Each read of pages sensed together does.

        Parameters
        ----------
        reads : sequence of (die, row, column, words)
        planes : int
            Of each die, sensed together.
        """
        sensed, commands, data = {}, 0, 0
        change = self.command(COLUMN_CYCLES if planes == 1 else PLANE_COLUMN_CYCLES)
        for die, row, column, words in reads:
            further = sensed.get(die) == row
            commands += 0 if further else self.command(READ_CYCLES)
            commands += change if further or column or planes > 1 else 0
            sensed[die] = row
            data += self.words(words)
        return commands + data

    def paid(self, reads, planes=1):
        """The same with a preamble and tRHW for each data phase: each command turns the bus.

        Here all other waits are hidden: tR, tRCBSY, tWB and tRR behind other dies' pages, tCCS
        behind other dies' data.
        """
        each = self.clocks("t_preamble") + self.clocks("t_rhw")
        return self.bus(reads, planes) + len(reads) * each

    def arrays(self, pages, dies, planes=1, words=1):
        """What the dies allow, pages spread evenly.

        Of one plane each is sensed behind the one before it. Of several they are sensed together,
        and meanwhile nothing is moved, nor sensed while their ``words`` each are moved.
        """
        if planes > 1:
            turn = self.clocks("t_rhw") - self.clocks("t_cs")
            return pages * (self.reads_together(planes, words) + max(0, turn)) / (planes * dies)
        page = self.clocks("t_r") + self.clocks("t_rcbsy") + self.clocks("t_wb")
        return pages * page / dies


def turnaround_ns(timing, data_bytes, read_cycles=READ_CYCLES):
    """A read from an idle die in nanoseconds, nothing rounded: what `ChannelClocks.turnaround` is
    with an infinitely fast clock.

    ``tCS + read_cycles tWC + tWB + tR + tRR + tRPRE + tDQSRE + bytes / rate``

    Parameters
    ----------
    timing : Timing
    data_bytes : int
    read_cycles : int
        MQSim counts 6 command and address cycles of a read.
    """
    times = ("t_cs_ns", "t_wb_ns", "t_r_ns", "t_rr_ns", "t_preamble_ns")
    waits = sum(Fraction(str(getattr(timing, name))) for name in times)
    commands = read_cycles * Fraction(str(timing.t_wc_ns))
    return waits + commands + data_bytes * 1000 / Fraction(str(timing.rate_mts))
