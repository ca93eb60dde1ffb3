"""What a die remembers between bus symbols, and how long its operations take."""

from amaranth.lib import data, enum
from amaranth.utils import bits_for

from .timing import cycles

__all__ = ["Opened", "Shows", "busy_cycles", "die_state", "sense_bits", "timer_bits"]


class Opened(enum.Enum, shape=3):  # type: ignore[call-arg]
    """The command whose address or confirmation is awaited."""

    NONE = 0
    READ = 1
    COLUMN = 2
    PROGRAM = 3
    ERASE = 4
    ID = 5


class Shows(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What data output cycles show."""

    PAGE = 0
    STATUS = 1
    JEDEC = 2
    ONFI = 3


def busy_cycles(timing, clock_hz):
    """Clocks R/B# is low, by operation: ``read``, ``program``, ``erase``, ``reset``, ``cache``.

    ``cache`` is that of 31h and 3Fh, without what may be left of a sensing.
    """
    wb = cycles(timing.t_wb_ns, clock_hz)
    return {
        "read": wb + cycles(timing.t_r_ns, clock_hz),
        "program": wb + cycles(timing.t_prog_ns, clock_hz),
        "erase": wb + cycles(timing.t_bers_ns, clock_hz),
        "reset": wb + cycles(timing.t_rst_ns, clock_hz),
        "cache": wb + cycles(timing.t_rcbsy_ns, clock_hz),
    }


def sense_bits(timing, clock_hz):
    """Bits of a die's timer of a sensing behind the cache register."""
    return bits_for(cycles(timing.t_r_ns, clock_hz))


def timer_bits(timing, clock_hz):
    """Bits of a die's R/B# timer."""
    busy = busy_cycles(timing, clock_hz)
    after_sensing = busy["cache"] + cycles(timing.t_r_ns, clock_hz)
    return bits_for(max(after_sensing, *busy.values()))


def die_state():
    """What a die remembers between bus symbols (its timers apart)."""
    return data.StructLayout(
        {
            "opened": Opened,
            "count": 3,  # address cycles taken
            "address": 40,  # the last five address bytes, newest on top
            "word": 13,  # column in words
            "shows": Shows,
            "failed": 1,
            "caches": 1,  # 31h and 3Fh may follow
        }
    )
