r"""ONFI's asynchronous SDR timing modes, and what they are in clocks.

Times in ns of modes 0 to 5 (ONFI, "SDR timing modes"; the figures are those of Linux's
``nand_timings.c`` but for tCR, which it has not). A time is rounded up to whole clocks by itself.

::

    CE_n  ~~\________________________________________        select: of write and of read cycles
    CLE   ________/~~~~~~~~~~~~~~~~~~\_______________        with the cycle: tCLS, tALS, tDS are
    DQ    --------<      a byte      >----------<=  >-       within its low time, the holds within
    WE_n  ~~~~~~~~\__________/~~~~~~~~~~~~~~~~~~~~~~~        its high time
                   write_low  write_high
    RE_n  ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~\______/~~~~~
                                         read_low read_high
                                         |-- sample --> DQ is taken
"""

from dataclasses import dataclass
from fractions import Fraction

from flash_model.timing import cycles

__all__ = ["SDR_MODES", "SdrClocks", "sdr_clocks", "sdr_time"]

SDR_MODES = {
    "t_wp": (50, 25, 17, 15, 12, 10),
    "t_wh": (30, 15, 15, 10, 10, 7),
    "t_wc": (100, 45, 35, 30, 25, 20),
    "t_cls": (50, 25, 15, 10, 10, 10),
    "t_clh": (20, 10, 10, 5, 5, 5),
    "t_als": (50, 25, 15, 10, 10, 10),
    "t_alh": (20, 10, 10, 5, 5, 5),
    "t_ds": (40, 20, 15, 10, 10, 7),
    "t_dh": (20, 10, 5, 5, 5, 5),
    "t_cs": (70, 35, 25, 25, 20, 15),
    "t_ch": (20, 10, 10, 5, 5, 5),
    "t_rp": (50, 25, 17, 15, 12, 10),
    "t_reh": (30, 15, 15, 10, 10, 7),
    "t_rc": (100, 50, 35, 30, 25, 20),
    "t_rea": (40, 30, 25, 20, 20, 16),  # at most, as the next
    "t_cea": (100, 45, 30, 25, 25, 25),
    "t_chz": (100, 50, 50, 50, 30, 30),  # at most
    "t_rhoh": (0, 15, 15, 15, 15, 15),
    "t_rloh": (0, 0, 0, 0, 5, 5),
    "t_cr": (10, 10, 10, 10, 10, 10),
    "t_wb": (200, 100, 100, 100, 100, 100),  # at most
    "t_rr": (40, 20, 20, 20, 20, 20),
    "t_whr": (120, 80, 80, 80, 80, 80),
    "t_rhw": (200, 100, 100, 100, 100, 100),
    "t_adl": (400, 400, 400, 400, 400, 400),
    "t_rst": (250_000_000, *[500_000] * 5),  # at most
}
"""Name -> ns in modes 0 to 5."""


def sdr_time(name, mode):
    """A time of a mode, in ns."""
    if mode not in range(6):
        raise ValueError(f"SDR timing mode {mode!r} does not exist: choose 0..5")
    return SDR_MODES[name][mode]


@dataclass(frozen=True, kw_only=True)
class SdrClocks:
    """A timing mode in clocks; the picture above has what is meant.

    Parameters
    ----------
    write_low, write_high, read_low, read_high : int
        WE_n and RE_n of a byte.
    select_write, select_read : int
        CE_n of another die, before the first of them falls.
    sample : int
        RE_n falls to the clock edge that takes DQ.
    """

    write_low: int
    write_high: int
    read_low: int
    read_high: int
    select_write: int
    select_read: int
    sample: int

    @property
    def write(self):
        """Clocks of a byte to the die."""
        return self.write_low + self.write_high

    @property
    def read(self):
        """Clocks of a byte from the die."""
        return self.read_low + self.read_high


def sdr_clocks(mode, clock_hz, *, skew_ns=0, round_trip_ns=4):
    """A timing mode in clocks.

    Parameters
    ----------
    mode : int
        0..5.
    clock_hz : int
        Core clock.
    skew_ns : float
        Most that one pin may be late against another: added to all setup, hold and pulse times.
    round_trip_ns : float
        Most that read data may be late besides tREA: pads and board there and back, setup here.

    Returns
    -------
    SdrClocks
    """
    for name, value in (("skew_ns", skew_ns), ("round_trip_ns", round_trip_ns)):
        if not 0 <= value <= 50:
            raise ValueError(f"{name} = {value!r} is not possible: choose 0..50 ns")

    def ns(name):
        return sdr_time(name, mode)

    def clocks(*names, more=0):
        return cycles(Fraction(max(map(ns, names))) + Fraction(str(more)), clock_hz)

    def whole(name):
        return ns(name) * clock_hz // 10**9

    write_low = clocks("t_wp", "t_cls", "t_als", "t_ds", more=skew_ns)
    write_high = clocks("t_wh", "t_clh", "t_alh", "t_dh", "t_ch", more=skew_ns)
    # Data stay for tRHOH after RE_n has risen, and for tRLOH after it falls again.
    sample = clocks("t_rea", more=round_trip_ns)
    read_low = max(clocks("t_rp", more=skew_ns), sample - whole("t_rhoh"))
    read_high = max(clocks("t_reh", more=skew_ns), sample - read_low - whole("t_rloh"))
    return SdrClocks(
        write_low=write_low,
        write_high=max(write_high, clocks("t_wc") - write_low),
        read_low=read_low,
        read_high=max(read_high, clocks("t_rc") - read_low),
        select_write=max(0, clocks("t_cs", more=skew_ns) - write_low),
        # The die selected before may drive DQ for tCHZ.
        select_read=max(
            clocks("t_cr", "t_chz", more=skew_ns), clocks("t_cea", more=round_trip_ns) - sample
        ),
        sample=sample,
    )
