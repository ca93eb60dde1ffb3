"""What a die remembers between bus symbols, and how long its operations take."""

from amaranth.lib import data, enum
from amaranth.utils import bits_for

from .array_port import PLANE_BITS, PLANES_MAX, ROW_BITS
from .timing import cycles

__all__ = [
    "Opened",
    "Pins",
    "Queue",
    "RETRY_BITS",
    "Shows",
    "Work",
    "behind_bits",
    "busy_cycles",
    "die_state",
    "timer_bits",
]

RETRY_BITS = 3
"""Read-retry levels: 0, the default, to 7."""


class Opened(enum.Enum, shape=4):  # type: ignore[call-arg]
    """The command whose address, data or confirmation is awaited."""

    NONE = 0
    READ = 1
    COLUMN = 2
    COLUMN_ENHANCED = 3
    PROGRAM = 4
    WRITE_COLUMN = 5  # inside a program
    ERASE = 6
    ID = 7
    PARAMETERS = 8
    UNIQUE_ID = 9
    GET_FEATURES = 10
    SET_FEATURES = 11
    STATUS_ENHANCED = 12
    RESET_LUN = 13
    COPYBACK = 14


class Queue(enum.Enum, shape=2):  # type: ignore[call-arg]
    """The multi-plane command that has begun."""

    NONE = 0
    READ = 1
    PROGRAM = 2
    ERASE = 3


class Shows(enum.Enum, shape=3):  # type: ignore[call-arg]
    """What data output cycles show, the status byte apart."""

    PAGE = 0  # the cache register
    PARAMETERS = 1  # its first 256 bytes, again and again
    UNIQUE_ID = 2  # its first 32 bytes, again and again
    JEDEC = 3
    ONFI = 4
    TIMING_MODE = 5
    READ_RETRY = 6
    ZERO = 7  # a feature that does not exist


class Pins(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What stands before it."""

    OUTPUT = 0
    STATUS = 1
    RELEASED = 2  # another LUN was addressed: nobody drives the bus, it reads FFh
    PLANE_STATUS = 3


class Work(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What can be suspended."""

    NONE = 0
    PROGRAM = 1
    ERASE = 2


def busy_cycles(timing, clock_hz):
    """Clocks R/B# is low, by operation, without what may be left of one behind it.

    ``read`` (also parameter page and unique ID), ``program``, ``erase``, ``reset``, ``cache`` (31h
    and 3Fh), ``cache_program`` (15h), ``plane`` (32h, 11h and D1h) and ``feature`` (GET and SET
    FEATURES).
    """
    wb = cycles(timing.t_wb_ns, clock_hz)
    return {
        "read": wb + cycles(timing.t_r_ns, clock_hz),
        "program": wb + cycles(timing.t_prog_ns, clock_hz),
        "erase": wb + cycles(timing.t_bers_ns, clock_hz),
        "reset": wb + cycles(timing.t_rst_ns, clock_hz),
        "cache": wb + cycles(timing.t_rcbsy_ns, clock_hz),
        "cache_program": wb + cycles(timing.t_pcbsy_ns, clock_hz),
        "plane": wb + cycles(timing.t_dbsy_ns, clock_hz),
        "feature": wb + cycles(timing.t_feat_ns, clock_hz),
    }


def _longest_behind(timing, clock_hz):
    return max(cycles(timing.t_r_ns, clock_hz), cycles(timing.t_prog_ns, clock_hz))


def behind_bits(timing, clock_hz):
    """Bits of a die's timer of what its array does behind a ready cache register."""
    return bits_for(_longest_behind(timing, clock_hz))


def timer_bits(timing, clock_hz):
    """Bits of a die's R/B# timer."""
    busy = busy_cycles(timing, clock_hz)
    after = max(busy[name] for name in ("cache", "cache_program", "program"))
    return bits_for(max(after + _longest_behind(timing, clock_hz), *busy.values()))


def die_state(timing, geometry, clock_hz):
    """What a die remembers between bus symbols (its timers and the array's verdict apart)."""
    independent = {
        "senses": 1,  # R/B# is low for page reads only
        # R/B#'s timer when each plane rests, which began to read before the last one did.
        "plane_rests": data.ArrayLayout(timer_bits(timing, clock_hz), geometry.planes),
    }
    return data.StructLayout(
        {
            "opened": Opened,
            "count": 3,  # address cycles taken, 7: seven or more
            "address": 40,  # the last five address bytes, newest on top
            "row": ROW_BITS,  # last one sensed, or to be programmed
            "word": 13,  # column in words
            "shows": Shows,
            "pins": Pins,
            "no_row": 1,  # the last operation's row did not exist
            "failed_before": 1,  # FAILC
            "caches": 1,  # 31h and 3Fh may follow
            "programs": 1,  # the last operation was 15h
            "work": Work,  # R/B# is low for it, or was
            "suspended": Work,
            "failed_kept": geometry.planes,  # its verdict
            "timing_mode": 8,  # P1 of feature 01h
            "retry": RETRY_BITS,
            "plane": PLANE_BITS,  # whose cache register the bus sees
            "status_plane": PLANE_BITS,  # of 78h
            "queue": Queue,
            "queued": PLANES_MAX,  # planes whose rows are noted
            "page": 14,  # that all of them share
            "wrong": 1,  # a rule for planes was broken: what is confirmed fails
            "copies": 1,  # 35h was the last operation, or its program is open
        }
        | (independent if geometry.plane_independent else {})
    )
